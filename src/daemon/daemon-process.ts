import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Configuration } from '../config/configuration.ts';
import { toSnapferryError } from '../errors.ts';
import { systemClock } from '../jobs/clock.ts';
import type { Logger } from '../rpc/interfaces.ts';
import { controlServer } from './control/control-server.ts';
import type { ControlServer, ControlServerOptions } from './control/control-server.ts';
import { controlCommands } from './control-commands.ts';
import { Daemon } from './daemon.ts';
import type { DaemonOptions, ReloadOutcome } from './daemon.ts';
import { DaemonLog } from './daemon-log.ts';
import type { DaemonStatus } from './daemon-status.ts';
import { systemdManager } from './service-manager.ts';
import type { ServiceManager } from './service-manager.ts';

/** What a process that is a daemon needs; see {@link DaemonOptions}. */
export type DaemonProcessOptions = Pick<
  DaemonOptions,
  'load' | 'createJob' | 'version' | 'extensions' | 'inheritedSockets'
>;

/** How long commands of clients may take to end once the jobs have. */
const controlGraceMs = 1000;

/**
 * Is the daemon: with its log on standard error, its control socket, what systemd wants to be told, and the signals of the process.
 * SIGTERM and SIGINT stop it, a second one cancels what runs, a third ends the process; SIGHUP reloads. Resolves once it was stopped.
 * @throws ConfigurationError or SnapferryError why it could not start; then nothing of it is left
 */
export async function runDaemon(options: DaemonProcessOptions): Promise<void> {
  const first = options.load();
  const log = new DaemonLog({ settings: first.global.logging });
  const { logger } = log;
  const noteCrash = (error: Error): void =>
    logger.fatal({ err: error }, `a fault of snapferry ends it: ${error.message}`);
  process.on('uncaughtExceptionMonitor', noteCrash);
  const manager = systemdManager({ clock: systemClock, logger });
  const opened: ControlServer[] = [];
  const openSocket = async (daemon: Daemon): Promise<void> => {
    const commands = controlCommands({ daemon, tail: log.tail, reload: () => reloadTelling(daemon, manager) });
    opened.push(await openControl(first.global.control.sockpath, { version: options.version, commands, logger }));
  };
  try {
    const load = firstThen(first, options.load);
    const daemon = await Daemon.start({ ...options, load, logger }, openSocket);
    daemon.onReload(({ global }) => log.configure(global.logging));
    const stopListening = handleSignals({ daemon, logger, manager });
    logger.info({ version: options.version, pid: process.pid }, `snapferry ${options.version} runs ${first.file}`);
    tellWhatItDoes(daemon, manager);
    await manager?.ready(summaryOf(daemon.status()));
    await daemon.closed;
    logger.info('stopped');
    stopListening();
  } finally {
    for (const control of opened) await control.close(controlGraceMs);
    await manager?.close();
    process.off('uncaughtExceptionMonitor', noteCrash);
  }
}

async function openControl(path: string, options: ControlServerOptions): Promise<ControlServer> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  } catch (error) {
    throw toSnapferryError(
      error,
      'INTERNAL',
      `make the directory of the control socket ${path} (global.control.sockpath)`,
    );
  }
  return controlServer({ ...options, path });
}

/** The configuration has been read already, for the log. */
function firstThen(first: Configuration, load: () => Configuration): () => Configuration {
  let next: Configuration | null = first;
  return () => {
    const configuration = next ?? load();
    next = null;
    return configuration;
  };
}

async function reloadTelling(daemon: Daemon, manager: ServiceManager | null): Promise<ReloadOutcome> {
  await manager?.reloading();
  try {
    return await daemon.reload();
  } finally {
    await manager?.ready(summaryOf(daemon.status()));
  }
}

function tellWhatItDoes(daemon: Daemon, manager: ServiceManager | null): void {
  if (manager === null) return;
  daemon.subscribe(({ kind }) => {
    if (kind === 'runBegan' || kind === 'runEnded') manager.status(summaryOf(daemon.status()));
  });
}

/** A status in one line. Pure. */
export function summaryOf({ jobs, configuration }: DaemonStatus): string {
  const running = jobs.filter(({ runs }) => runs.length > 0).map(({ name }) => name);
  const troubled = jobs.filter(({ problems }) => problems.length > 0).map(({ name }) => name);
  const parts = [`${jobs.length} ${jobs.length === 1 ? 'job' : 'jobs'}`];
  if (running.length > 0) parts.push(`running: ${running.join(', ')}`);
  if (troubled.length > 0) parts.push(`with problems: ${troubled.join(', ')}`);
  if (configuration.reloadError !== null) parts.push('the last reload was refused');
  return parts.join('; ');
}

interface Signalled {
  readonly daemon: Daemon;
  readonly logger: Logger;
  readonly manager: ServiceManager | null;
}

/** @returns stops listening for signals */
function handleSignals({ daemon, logger, manager }: Signalled): () => void {
  let stops = 0;
  const onStop = (name: NodeJS.Signals): void => {
    stops++;
    if (stops > 2) process.exit(130);
    const { shutdownMsMax } = daemon.configuration.global;
    const withinMs = stops === 1 ? shutdownMsMax : 0;
    logger.info(stops === 1 ? `${name}: stopping; runs may finish within ${shutdownMsMax} ms` : `${name}: cancelling`);
    void manager?.stopping(stops === 1 ? 'waiting for runs to finish' : 'cancelling runs');
    void daemon.stop(withinMs);
  };
  const onReload = (): void => {
    // Why it was refused is in the log and in the status.
    reloadTelling(daemon, manager).catch(() => undefined);
  };
  process.on('SIGTERM', onStop).on('SIGINT', onStop).on('SIGHUP', onReload);
  return () => void process.off('SIGTERM', onStop).off('SIGINT', onStop).off('SIGHUP', onReload);
}

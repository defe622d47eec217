import { z } from 'zod';
import { ConfigurationError } from '../config/configuration-error.ts';
import { controlCommand, failed, ok } from './control/control-command.ts';
import type { ControlCommand, ControlCommands, ControlContext } from './control/control-command.ts';
import type { Daemon } from './daemon.ts';
import { runResultSchema } from './history-record.ts';
import { LineWriter } from './line-writer.ts';
import type { LogTail } from './log-tail.ts';

/** What the commands of the control socket are about. */
export interface ControlledDaemon {
  readonly daemon: Daemon;
  readonly tail: LogTail;
  /** Reloads and tells the service manager; default: only the former. */
  readonly reload?: (() => ReturnType<Daemon['reload']>) | undefined;
}

const followMs = 1000;

const level = z.enum(['error', 'warn', 'info', 'debug', 'trace']);
const levelNumbers: Readonly<Record<z.output<typeof level>, number>> = {
  error: 50,
  warn: 40,
  info: 30,
  debug: 20,
  trace: 10,
};

/** The commands that a running daemon answers on its control socket: see docs/daemon.md. */
export function controlCommands(controlled: ControlledDaemon): ControlCommands {
  return new Map<string, ControlCommand>([
    ['status', statusCommand(controlled)],
    ['version', versionCommand(controlled)],
    ['wakeup', jobCommand(({ job }) => ({ job, result: controlled.daemon.wakeup(job) }))],
    ['reset', jobCommand(async ({ job }) => ({ job, result: await controlled.daemon.reset(job) }))],
    ['cancel', jobCommand(async ({ job }) => ({ job, result: await cancel(controlled.daemon, job) }))],
    ['ran', noteRunCommand(controlled)],
    ['reload', reloadCommand(controlled)],
    ['log', logCommand(controlled)],
  ]);
}

async function cancel(daemon: Daemon, job: string): Promise<'cancelled' | 'idle'> {
  return (await daemon.cancel(job)) ? 'cancelled' : 'idle';
}

const jobOpts = z.strictObject({ job: z.string() });

function jobCommand(answer: (opts: z.output<typeof jobOpts>) => unknown): ControlCommand {
  return controlCommand({
    schema: jobOpts,
    short: ({ job }) => job,
    run: async (opts) => ok(await answer(opts)),
  });
}

function noteRunCommand({ daemon }: ControlledDaemon): ControlCommand {
  return controlCommand({
    schema: z.strictObject({ result: runResultSchema }),
    short: ({ result: { job, outcome } }) => `${job} ${outcome}`,
    run({ result }) {
      daemon.noteRun(result);
      return Promise.resolve(ok());
    },
  });
}

function versionCommand({ daemon }: ControlledDaemon): ControlCommand {
  return controlCommand({
    schema: z.strictObject({}),
    short: () => '',
    run() {
      const { version, pid, beganMs } = daemon.status();
      return Promise.resolve(ok({ version, pid, beganMs }));
    },
  });
}

function reloadCommand({ daemon, reload }: ControlledDaemon): ControlCommand {
  return controlCommand({
    schema: z.strictObject({}),
    short: () => '',
    async run() {
      try {
        return ok(await (reload ?? (() => daemon.reload()))());
      } catch (error) {
        if (error instanceof ConfigurationError) return failed(error.code, error.message);
        throw error;
      }
    },
  });
}

/** With `follow`, the connection is a status in JSON on each line from then on, whenever there is news. */
function statusCommand({ daemon }: ControlledDaemon): ControlCommand {
  return controlCommand({
    schema: z.strictObject({ follow: z.boolean().default(false) }),
    short: ({ follow }) => (follow ? 'follow' : ''),
    async run({ follow }, context) {
      if (!follow) return ok(daemon.status());
      await followStatus(daemon, context);
      return ok();
    },
  });
}

async function followStatus(daemon: Daemon, context: ControlContext): Promise<void> {
  const stream = await context.takeOver();
  const writer = new LineWriter(stream, context.signal);
  const show = (): void => writer.replace(() => JSON.stringify(daemon.status()));
  show();
  const stopListening = daemon.subscribe(show);
  const stopReloads = daemon.onReload(show);
  // What runs has bytes and rates that change without an event, and the time is another one.
  const ticks = setInterval(show, followMs);
  try {
    await Promise.race([writer.ended, daemon.closed]);
  } finally {
    clearInterval(ticks);
    stopReloads();
    stopListening();
  }
}

const logOpts = z.strictObject({
  lines: z.int().min(0).max(10_000).default(20),
  follow: z.boolean().default(false),
  job: z.string().optional(),
  level: level.default('trace'),
});

/** Takes over the connection: lines of the log as JSON, the oldest first, until they end or, with `follow`, the client leaves. */
function logCommand({ daemon, tail }: ControlledDaemon): ControlCommand {
  return controlCommand({
    schema: logOpts,
    short: ({ follow, job }) => [follow ? 'follow' : 'tail', job ?? ''].join(' ').trim(),
    async run(opts, context) {
      const stream = await context.takeOver();
      const writer = new LineWriter(stream, context.signal);
      const wanted = (line: string): boolean => isWanted(line, opts);
      // Between what there is and what comes, nothing may be missing.
      const addWanted = (line: string): void => {
        if (wanted(line)) writer.add(line);
      };
      const stop = opts.follow ? tail.follow(addWanted) : () => undefined;
      try {
        const lines = opts.lines === 0 ? [] : tail.lines().filter(wanted).slice(-opts.lines);
        for (const line of lines) writer.add(line);
        await (opts.follow ? Promise.race([writer.ended, daemon.closed]) : writer.drained());
      } finally {
        stop();
      }
      return ok();
    },
  });
}

function isWanted(line: string, { job, level: least }: z.output<typeof logOpts>): boolean {
  const read = JSON.parse(line) as { readonly level?: number; readonly job?: string };
  return (read.level ?? 0) >= levelNumbers[least] && (job === undefined || read.job === job);
}

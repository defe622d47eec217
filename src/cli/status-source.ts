import { z } from 'zod';
import { loadConfiguration } from '../config/load-configuration.ts';
import { JobBoard } from '../daemon/job-board.ts';
import { readHistory } from '../daemon/read-history.ts';
import type { DaemonStatus } from '../daemon/daemon-status.ts';
import type { ControlClient } from '../daemon/control/control-client.ts';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import { daemonClient } from './daemon-client.ts';
import type { DaemonFlags } from './daemon-client.ts';
import { programVersion } from './program-version.ts';

/** A status and where it is from: what `snapferry status --json` prints. */
export interface SeenStatus extends Omit<DaemonStatus, 'pid' | 'beganMs'> {
  /** Null: no daemon answers. */
  readonly pid: number | null;
  readonly beganMs: number | null;
  readonly daemon: {
    readonly isRunning: boolean;
    /** Why what is shown comes from the history instead; null: it comes from the daemon. */
    readonly reason: string | null;
  };
  /** What a person should know of how this was found out. */
  readonly notices: readonly string[];
}

/** Enough to tell that a daemon speaks of what we know; the rest is the contract of {@link DaemonStatus}. */
const daemonStatus = z.looseObject({
  version: z.string(),
  nowMs: z.number(),
  configuration: z.looseObject({ file: z.string() }),
  jobs: z.array(
    z.looseObject({
      name: z.string(),
      state: z.string(),
      runs: z.array(z.looseObject({})),
      datasets: z.array(z.looseObject({ dataset: z.string() })),
      problems: z.array(z.looseObject({ code: z.string(), message: z.string(), advice: z.string() })),
      sessions: z.array(z.looseObject({ identity: z.string() })),
    }),
  ),
});

/**
 * The status as the daemon tells it, or, where none answers, as the history has it.
 * @throws SnapferryError `CANCELLED`, or when the history cannot be read either; ConfigurationError when it is not known where they are
 */
export async function readStatus(flags: DaemonFlags, signal: AbortSignal): Promise<SeenStatus> {
  let reason: SnapferryError;
  try {
    await using client = await daemonClient(flags, signal);
    return toldStatus(await client.call('status', {}, { signal, receiveTimeoutMs: 10_000 }), client);
  } catch (error) {
    if (!(error instanceof SnapferryError) || error.code === 'CANCELLED') throw error;
    reason = error;
  }
  return rememberedStatus(flags.config, reason.message.split('\n', 1)[0] ?? '');
}

/**
 * What a daemon has told.
 * @throws SnapferryError `PROTOCOL_VERSION` for a status that is none as we know it
 */
export function toldStatus(response: unknown, { version }: Pick<ControlClient, 'version'>): SeenStatus {
  const checked = daemonStatus.safeParse(response);
  const own = programVersion();
  if (!checked.success) {
    const text = `the daemon (version ${version}) tells its status in another way than this program (version ${own}) knows`;
    throw new SnapferryError('PROTOCOL_VERSION', `${text}; restart it: systemctl restart snapferry`);
  }
  const notices =
    version === own
      ? []
      : [`the daemon has version ${version}, this program ${own}; restart it: systemctl restart snapferry`];
  const told = checked.data as unknown as DaemonStatus;
  return { ...told, daemon: { isRunning: true, reason: null }, notices };
}

/** What the history and the configuration say, changing nothing. */
async function rememberedStatus(file: string, reason: string): Promise<SeenStatus> {
  const configuration = loadConfiguration(file);
  const { stateDir } = configuration.global;
  const { fold, notices } = await readHistory(stateDir).catch((error: unknown) => {
    throw withReason(toSnapferryError(error), reason);
  });
  const nowMs = Date.now();
  const unfinished = [...fold.begun.values()].map(
    ({ job, beganMs }) =>
      `a run of ${job} began ${new Date(beganMs).toISOString()} and has no end: it was killed, or is going on`,
  );
  const board = new JobBoard(fold, nowMs);
  return {
    version: programVersion(),
    pid: null,
    beganMs: null,
    nowMs,
    configuration: { file, loadedMs: nowMs, reloadError: null },
    jobs: configuration.jobs.map((job) => board.status(job, { state: 'idle', nextRunMs: null }, nowMs)),
    daemon: { isRunning: false, reason },
    notices: [...notices, ...unfinished],
  };
}

function withReason(error: SnapferryError, reason: string): SnapferryError {
  return new SnapferryError(error.code, `${reason}; and its history cannot be read: ${error.message}`, {
    cause: error,
  });
}

/**
 * The status with one of its jobs only; all of them for null.
 * @throws SnapferryError `INVALID_REQUEST` if there is none of that name
 */
export function statusOfJob(status: SeenStatus, name: string | null): SeenStatus {
  if (name === null) return status;
  const jobs = status.jobs.filter((job) => job.name === name);
  if (jobs.length > 0) return { ...status, jobs };
  const known = status.jobs.map((job) => job.name).join(', ');
  const { file } = status.configuration;
  throw new SnapferryError('INVALID_REQUEST', `${file} has no job ${name}; it has: ${known === '' ? 'none' : known}`);
}

import type { GlobalSettings } from '../config/global-settings.ts';
import type { Job } from '../config/job.ts';
import type { Logger } from '../rpc/interfaces.ts';
import type { InheritedSocket } from '../transport/inherited-sockets.ts';
import type { Clock } from './clock.ts';
import type { JobEventListener } from './job-events.ts';
import type { LocalListeners } from './local-listeners.ts';
import type { RunCause, RunResult } from './run-result.ts';

/** What the jobs of one process share. */
export interface JobDependencies {
  readonly global: GlobalSettings;
  readonly logger: Logger;
  readonly clock: Clock;
  /** Gets the news of every run and session, also of runs that a client of a `sink` causes. */
  readonly onEvent: JobEventListener;
  /** Where jobs with `local` in `serve` and `connect` find each other: one for all jobs of a process. */
  readonly localListeners: LocalListeners;
  /** What systemd has opened for this process; none by default. */
  readonly inheritedSockets?: readonly InheritedSocket[] | undefined;
}

/** What is asked of one run. */
export interface RunRequest {
  readonly cause: RunCause;
  /**
   * Cancels the run: what has arrived is kept, what was interrupted can be continued, and the result says `cancelled`. The run
   * ends once everything it started has ended.
   */
  readonly signal: AbortSignal;
  /** Says what would be done (in the events `planned` and `pruned`, and in the result), and changes nothing. Default false. */
  readonly dryRun?: boolean | undefined;
  /** Waits for a run of the job in another process to end, instead of failing with `BUSY`. Default false. */
  readonly waitsForOthers?: boolean | undefined;
}

/** A configured job that can be carried out. Nothing is held open between runs; nothing needs to be closed. */
export interface RunnableJob {
  readonly name: string;
  readonly settings: Job;
  /**
   * Does once what the job is there for. Takes snapshots first, if its snapshotting is not `manual`, for every cause but
   * `schedule` (which is the schedule of replication); then replicates; then prunes. Of a `sink`: prunes. Never rejects: what went
   * wrong is in the result, which is also the last event. A job that is running already, in this process or another, gives
   * `BUSY` that names the other.
   */
  run(request: RunRequest): Promise<RunResult>;
  /**
   * When snapshots are due: call `run` with the cause `snapshots` then. Wall clock, ms since 1970, in the past if they are overdue;
   * null: never by itself. Periodic: the interval after the newest one there is, so it is to be asked again after each run. A
   * round that failed is due again after the interval, like one that did not.
   * @throws SnapferryError when the snapshots there are cannot be listed; ask again later
   */
  nextSnapshotMs(signal: AbortSignal): Promise<number | null>;
  /** Present for `source` and `sink`: begins to serve. At most once at a time. */
  readonly serve?: (() => JobService) | undefined;
}

/**
 * A job that serves. That it cannot listen, or no longer, is told by the event `listenFailed`, and tried again until it is stopped.
 * A push of a client into a `sink` is a run with the cause `peer`.
 */
export interface JobService {
  /** Resolves when it listens for the first time, or was stopped before it could. Never rejects. */
  readonly listening: Promise<void>;
  /**
   * Accepts nothing any more; requests under way, and runs of clients, may finish within `graceMs`, and are cancelled then. Resolves
   * when nothing of it is left. Called again, it can only get shorter. Never rejects.
   */
  stop(graceMs: number): Promise<void>;
}

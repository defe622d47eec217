import type { Backend, Job } from '../config/job.ts';
import type { TransferProgress } from '../replication/progress.ts';
import type { RunCause, RunError, RunResult, RunVersion } from '../jobs/run-result.ts';

/** What the daemon tells of itself: plain data, the answer of the control command `status`. Times: wall clock, ms since 1970. */
export interface DaemonStatus {
  /** Of snapferry. */
  readonly version: string;
  readonly pid: number;
  readonly beganMs: number;
  readonly nowMs: number;
  readonly configuration: {
    readonly file: string;
    readonly loadedMs: number;
    /** Why the last reload was refused, so that an older configuration is still at work; null: it was not. */
    readonly reloadError: string | null;
  };
  /** In the order of the configuration. */
  readonly jobs: readonly JobStatus[];
}

/** A job at this moment. */
export interface JobStatus {
  readonly name: string;
  readonly type: Job['type'];
  readonly backend: Backend;
  /** `serving`: waits for clients. `stopping`: its run is being finished or cancelled. */
  readonly state: 'idle' | 'running' | 'serving' | 'stopping';
  /** The oldest of {@link runs}. */
  readonly run: RunStatus | null;
  /** Runs that are going on; more than one only of a `sink`, whose clients may push at the same time. */
  readonly runs: readonly RunStatus[];
  /** Of the newest run that is over, also of an earlier daemon. */
  readonly lastRun: RunResult | null;
  /** When a run last ended well; null: never. */
  readonly lastSuccessMs: number | null;
  /** Null: only when woken, or by its clients. */
  readonly nextRunMs: number | null;
  readonly staleAfterMs: number | null;
  /** Every dataset known from this or earlier runs, by name. */
  readonly datasets: readonly DatasetStatus[];
  readonly sessions: readonly SessionStatus[];
  /** The worst first; empty: all is well. */
  readonly problems: readonly Problem[];
}

/** A run that is going on. */
export interface RunStatus {
  readonly run: string;
  readonly cause: RunCause;
  /** The client that pushes, for cause `peer`; else null. */
  readonly identity: string | null;
  readonly beganMs: number;
  readonly total: TransferProgress | null;
  readonly datasetsDone: number;
  readonly datasetsTotal: number | null;
  readonly retries: number;
  /** What it is waiting for before it tries again; null: it is not. */
  readonly waiting: { readonly error: RunError; readonly untilMs: number } | null;
}

/** A dataset of a job. */
export interface DatasetStatus {
  readonly dataset: string;
  /** The client of a `sink` that it belongs to; else null. Two clients may have datasets of one name. */
  readonly identity: string | null;
  readonly target: string | null;
  readonly state: 'ok' | 'failed' | 'running' | 'waiting' | 'stale';
  /** The step at work; null: none. */
  readonly step: {
    readonly from: string | null;
    readonly to: string;
    readonly stepIndex: number;
    readonly stepCount: number;
    readonly progress: TransferProgress | null;
  } | null;
  /** Newest snapshot known to have arrived (of a `snap` or `source` job: taken). */
  readonly newest: RunVersion | null;
  /** When that was found out; null: never. */
  readonly newestAtMs: number | null;
  readonly lastSuccessMs: number | null;
  /** Of the newest run; null: it went well. */
  readonly error: RunError | null;
}

/** A client that is connected. */
export interface SessionStatus {
  readonly session: string;
  readonly identity: string;
  readonly address: string;
  readonly sinceMs: number;
  /** What was last asked for; null: nothing yet. */
  readonly request: string | null;
  /** Payload of the requests that are answered. */
  readonly bytes: number;
}

/** Something a person should do something about. */
export interface Problem {
  /** An error code, `CONFLICT`, or `STALE`. */
  readonly code: string;
  /** Null: the job as a whole. */
  readonly dataset: string | null;
  /** Of the client it is about, of a `sink`; else null. */
  readonly identity: string | null;
  /** What is wrong, one line. */
  readonly message: string;
  /** The next thing to do, one line: where there is one, a command that can be copied. */
  readonly advice: string;
  readonly sinceMs: number;
}

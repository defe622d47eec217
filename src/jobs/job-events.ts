import type { TransferProgress } from '../replication/progress.ts';
import type { DatasetResult, RunCause, RunError, RunResult, RunVersion } from './run-result.ts';

/** News of a job. Names of datasets are for people, as their backend writes them. */
export type JobEvent = {
  /** Wall clock, ms since 1970. */
  readonly atMs: number;
  readonly job: string;
} & (RunEvent | SessionEvent);

/**
 * News of a run, in this order: `runBegan`, any number of others, `runEnded`. Of each dataset: `datasetBegan`, then for each step
 * `stepBegan`, any number of `bytes`, and `stepDone` unless it failed; then `datasetDone`. Datasets may interleave.
 */
export type RunEvent = { readonly run: string } & (
  | { readonly kind: 'runBegan'; readonly cause: RunCause; readonly identity: string | null }
  | { readonly kind: 'snapshotTaken'; readonly dataset: string; readonly snapshot: string }
  /** Again after a reconnect: what is left to do then. */
  | { readonly kind: 'planned'; readonly datasets: readonly PlannedDataset[]; readonly estimatedBytes: number | null }
  | { readonly kind: 'datasetBegan'; readonly dataset: string }
  | {
      readonly kind: 'stepBegan';
      readonly dataset: string;
      readonly from: string | null;
      readonly to: string;
      /** 0 for the first. */
      readonly stepIndex: number;
      readonly stepCount: number;
      readonly estimatedBytes: number | null;
      readonly resumed: boolean;
    }
  /** A few per second at most. */
  | {
      readonly kind: 'bytes';
      readonly dataset: string;
      readonly step: TransferProgress;
      readonly total: TransferProgress;
    }
  | {
      readonly kind: 'stepDone';
      readonly dataset: string;
      readonly to: RunVersion;
      readonly bytes: number;
      readonly notices: readonly string[];
    }
  /** Something that may pass has failed and is tried again after the wait. Null: the run as a whole. */
  | { readonly kind: 'retrying'; readonly dataset: string | null; readonly error: RunError; readonly waitMs: number }
  | {
      readonly kind: 'pruned';
      readonly dataset: string;
      readonly side: 'sender' | 'receiver';
      readonly destroyed: number;
      readonly kept: number;
      /** Those that should have been destroyed and were not. */
      readonly errors: readonly RunError[];
    }
  | { readonly kind: 'datasetDone'; readonly result: DatasetResult }
  | { readonly kind: 'runEnded'; readonly result: RunResult }
);

/** News of a job that serves. */
export type SessionEvent =
  | { readonly kind: 'sessionBegan'; readonly session: string; readonly identity: string; readonly address: string }
  | {
      readonly kind: 'sessionEnded';
      readonly session: string;
      readonly identity: string;
      readonly durationMs: number;
      /** Null: it ended as it should. */
      readonly error: RunError | null;
    }
  /** A request of a client was answered, or not. */
  | {
      readonly kind: 'requestDone';
      readonly session: string;
      readonly identity: string;
      readonly request: string;
      readonly bytes: number;
      readonly durationMs: number;
      readonly error: RunError | null;
    }
  /** The socket could not be listened on, or was lost; the job tries again by itself. */
  | { readonly kind: 'listenFailed'; readonly error: RunError };

/** What a run is going to do with a dataset. */
export interface PlannedDataset {
  readonly dataset: string;
  readonly target: string | null;
  /** 0: up to date. */
  readonly steps: number;
  readonly estimatedBytes: number | null;
  /** Why nothing can be done; null: it can. */
  readonly error: RunError | null;
}

/** Takes news. Must not throw. */
export type JobEventListener = (event: JobEvent) => void;

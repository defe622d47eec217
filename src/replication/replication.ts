import type { SnapferryError } from '../errors.ts';
import type { DatasetPath, FilesystemVersion } from '../dataset.ts';
import type {
  FilesystemResult,
  InitialReplicationPolicy,
  Logger,
  Progress,
  PullReport,
  RPCRequester,
} from '../rpc/interfaces.ts';
import type { ReplicationSink } from '../sink.ts';
import type { FilesystemPlan, Step } from './plan.ts';
import type { TransferProgress } from './progress.ts';
import type { RetryPolicy } from './retry.ts';

/** What both planning and replicating need to know. */
export interface PlanReplicationOptions {
  /** The source. The caller closes it. */
  readonly client: RPCRequester;
  readonly sink: ReplicationSink;
  /** Ask only for datasets at or below these; null (default) for all the source lets us see. */
  readonly roots?: readonly string[] | null;
  /** Which of the source's datasets to replicate. Default: all. */
  readonly select?: (filesystem: DatasetPath) => boolean;
  /** Where a dataset of the source goes. Default: the same name. Two that would share one are refused. */
  readonly target?: (filesystem: DatasetPath) => DatasetPath;
  /** Which snapshots to send; others may still be what an incremental starts from. Default: all. */
  readonly isWanted?: (snapshot: FilesystemVersion) => boolean;
  /** A dataset's name for messages. Default: its components with slashes between. */
  readonly formatName?: (filesystem: DatasetPath) => string;
  /** Default `most_recent`. */
  readonly policy?: InitialReplicationPolicy;
  /** Cancels everything. */
  readonly signal?: AbortSignal;
  readonly logger?: Logger;
  /** For calls refused with `BUSY`; fields left out are those of `defaultRetryPolicy`. */
  readonly retry?: Partial<RetryPolicy>;
}

/** What {@link PlanReplicationOptions} leaves open for a real run. */
export interface ReplicateOptions extends PlanReplicationOptions {
  /** Names the job at the source, which keeps one replication cursor for each. Stable from run to run. */
  readonly jobId: string;
  /** Datasets at once. Default 1: one connection answers in order, so more are of use only with slow sinks. */
  readonly concurrency?: number;
  /** The clock for rates, in ms. Default: `performance.now`. */
  readonly now?: () => number;
}

/** One dataset in a plan. */
export interface PlannedFilesystem {
  /** Its name at the source, exactly as the peer sent it: it may be invalid if the plan is `failed`. */
  readonly filesystem: DatasetPath;
  /** Its name at the sink. */
  readonly target: DatasetPath;
  /** `failed`: no plan could be made, and the error says why. */
  readonly plan: FilesystemPlan | { readonly kind: 'failed'; readonly error: SnapferryError };
}

/** What a run would do, in the order in which it would. */
export interface ReplicationPlan {
  readonly filesystems: readonly PlannedFilesystem[];
  /** Payload bytes of all steps together; null as soon as one of them is unknown. */
  readonly estimatedBytes: number | null;
}

/** Where a step stands among those of its dataset. */
export interface StepPosition {
  readonly filesystem: DatasetPath;
  readonly target: DatasetPath;
  readonly step: Step;
  /** 0 for the first. */
  readonly stepIndex: number;
  readonly stepCount: number;
}

/**
 * News of a run. For each dataset: `filesystemStarted`, then per step `stepStarted`, any number of `bytes`, and
 * `stepDone` unless it failed, then `filesystemDone`. Datasets may interleave when several run at once.
 */
export type ReplicationEvent =
  /** Comes first, once. */
  | { readonly kind: 'planned'; readonly plan: ReplicationPlan }
  /** A dataset begins; also one without steps. */
  | { readonly kind: 'filesystemStarted'; readonly planned: PlannedFilesystem }
  /** The source is sending. */
  | ({ readonly kind: 'stepStarted'; readonly format: string | null; readonly resumed: boolean } & StepPosition)
  /** Bytes have come. `step` is for this transfer, `total` for the whole run. A few per second at most. */
  | {
      readonly kind: 'bytes';
      readonly filesystem: DatasetPath;
      readonly step: TransferProgress;
      readonly total: TransferProgress;
    }
  /** The source tells how the request is going, e.g. while it prepares. */
  | { readonly kind: 'sourceProgress'; readonly filesystem: DatasetPath; readonly progress: Progress }
  /** The new version is whole and durable at the sink. `bytes`: payload of this transfer. */
  | ({
      readonly kind: 'stepDone';
      readonly bytes: number;
      readonly notices: readonly string[];
      readonly missing: readonly string[];
    } & StepPosition)
  /** Something was busy; it is tried again after the wait. */
  | { readonly kind: 'retrying'; readonly filesystem: DatasetPath | null; readonly error: SnapferryError }
  /** A dataset has ended, well or not. */
  | { readonly kind: 'filesystemDone'; readonly result: FilesystemResult };

/** The code in a `FilesystemResult` whose plan was a conflict. It is no error code: nothing failed, somebody must choose. */
export const conflictCode = 'CONFLICT';

/**
 * A run. It goes on whether or not anybody looks. Iterating gives the events from the beginning on, once; leaving the
 * loop stops the looking, not the run (the `signal` does that). A slow reader never holds the run up: of `bytes` and
 * `sourceProgress` it sees the latest.
 */
export interface Replication extends AsyncIterable<ReplicationEvent> {
  /**
   * One result per selected dataset, also after a cancel or a lost connection. Rejects with a SnapferryError only when the
   * source's datasets could not even be listed; the iteration then throws the same.
   */
  readonly report: Promise<PullReport>;
  /** The whole run's progress at this moment, for a display with a clock of its own. */
  progress(): TransferProgress;
}

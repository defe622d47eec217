import type { DatasetSelection } from '../config/dataset-selection.ts';
import type { GlobalSettings } from '../config/global-settings.ts';
import type { Backend } from '../config/job.ts';
import type { ReceiveSettings, ReplicationSettings, SendSettings } from '../config/transfer-settings.ts';
import type { DatasetPath, FilesystemVersion } from '../dataset.ts';
import type { SnapferryError } from '../errors.ts';
import type { ReadResumeToken } from '../handlers/admit-token.ts';
import type { Logger, Progress, RPCHandler } from '../rpc/interfaces.ts';
import type { ReplicationSink } from '../sink.ts';
import type { SnapshotDestroyer } from '../snapshot-destroyer.ts';
import type { Clock } from './clock.ts';

/** What every backend needs. */
export interface JobBackendOptions {
  readonly tools: GlobalSettings['tools'];
  readonly logger: Logger;
  readonly clock: Clock;
}

/** What is offered of this machine. */
export interface SourceRequest {
  readonly selection: DatasetSelection;
  readonly send: SendSettings;
  readonly protection: ReplicationSettings['protection'];
  /** Of btrfs; null: the backend's own choice. */
  readonly snapshotFolder: string | null;
}

/** How something is stored on this machine. */
export interface SinkRequest {
  readonly recv: ReceiveSettings;
  /** For whom the newest version received is kept. */
  readonly jobId: string;
  /** Whose data it is; empty: the job's own. */
  readonly identity: string;
}

/** What snapshots are to be taken. */
export interface SnapshotsRequest {
  /** All of the same name: those of a backend that `takesAllAtOnce` at the same moment, others one after the other. */
  readonly datasets: readonly DatasetPath[];
  readonly name: string;
  readonly exclude: readonly string[];
  readonly snapshotFolder: string | null;
  /** Changes nothing. */
  readonly dryRun: boolean;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: Progress) => void;
}

/** What became of one dataset. */
export interface SnapshotOutcome {
  readonly dataset: DatasetPath;
  /** Null if none was taken, and in a dry run. */
  readonly version: FilesystemVersion | null;
  readonly notices: readonly string[];
  /** What could not be read and is not in it. */
  readonly missing: readonly string[];
  /** Why none was taken. */
  readonly error: SnapferryError | null;
}

/** Where snapshots are to be destroyed. */
export interface DestroyerRequest {
  readonly dataset: DatasetPath;
  /** Whether it is a copy. */
  readonly isCopy: boolean;
  /** When a version was received, RFC 3339, for backends that do not know it themselves. */
  readonly receivedAt: (guid: bigint) => string | null;
  readonly snapshotFolder: string | null;
}

/**
 * What jobs need of a backend. Datasets are named as on the wire; a copy by the path at which it is stored. Nothing is held open; nothing
 * needs to be closed.
 */
export interface JobBackend {
  readonly backend: Backend;
  /** Whether snapshots of several datasets are of the same moment. */
  readonly takesAllAtOnce: boolean;
  /** A dataset as its backend writes it: `tank/home`, `/srv/data`. */
  readonly formatName: (dataset: DatasetPath) => string;
  /** The inverse, for a name that the configuration has checked. */
  readonly parseName: (name: string) => DatasetPath;
  /** Refuses names that this backend must not see. */
  readonly checkDataset: (dataset: DatasetPath) => void;
  readonly readResumeToken: ReadResumeToken;
  /**
   * Offers what is selected, also what is not there: that nothing can be read of it must be heard of.
   * @throws SnapferryError when it cannot be found out what there is
   */
  readonly source: (request: SourceRequest) => Promise<RPCHandler>;
  /** Stores a dataset at the path of the same name. */
  readonly sink: (request: SinkRequest) => ReplicationSink;
  /** Takes snapshots, whether or not anything has changed. One outcome for each dataset, in their order. Never rejects. */
  readonly takeSnapshots: (request: SnapshotsRequest) => Promise<readonly SnapshotOutcome[]>;
  readonly destroyer: (request: DestroyerRequest) => SnapshotDestroyer;
  /**
   * The copies stored below a place. Empty if the place is not there.
   * @throws SnapferryError when it cannot be listed
   */
  readonly copiesBelow: (place: DatasetPath, signal: AbortSignal) => Promise<readonly DatasetPath[]>;
}

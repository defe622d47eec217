import type { DatasetFilter } from '../dataset-filter.ts';
import type { DatasetPath, FilesystemVersion } from '../dataset.ts';
import type { ReadResumeToken } from '../handlers/admit-token.ts';
import type { Logger, Progress, RequestContext, RPCHandler } from '../rpc/interfaces.ts';
import type { ReplicationSink } from '../sink.ts';
import type { ReceiveChoices, SendChoices, SnapshotChoices } from './choices.ts';
import type { ChangeCounts } from './format.ts';
import type { Backend } from './location.ts';

/** How a site is reached. */
export interface SiteAccess {
  readonly logger: Logger;
  /** Whether the backend's program is run through `sudo -n`. */
  readonly sudo: boolean;
}

/** A snapshot that was taken before a run, or that a run would take. */
export interface TakenSnapshot {
  readonly dataset: DatasetPath;
  /** False: nothing has changed since the newest one. */
  readonly isTaken: boolean;
  /** Null if none was taken, or none yet. */
  readonly version: FilesystemVersion | null;
  readonly changes: ChangeCounts;
  /** What a person should know of it. */
  readonly notices: readonly string[];
  /** What could not be read and is not in it. */
  readonly missing: readonly string[];
}

/** What snapshots are to be taken. */
export interface SnapshotRequest {
  readonly choices: SnapshotChoices;
  readonly recursive: boolean;
  readonly dryRun: boolean;
  /** Also of what has not changed. */
  readonly force: boolean;
  /** Which datasets at or below the root. */
  readonly select: (filesystem: DatasetPath) => boolean;
}

/** Where work on a site tells what it is doing, and is stopped. */
export type SiteContext = Pick<RequestContext, 'signal' | 'logger'> & {
  readonly progress: (progress: Progress) => void;
};

/** What is offered of a site to be read. */
export interface SourceOptions {
  readonly recursive: boolean;
  readonly select: (filesystem: DatasetPath) => boolean;
  readonly send: SendChoices;
}

/** How a site is stored into. */
export interface SinkOptions {
  readonly receive: ReceiveChoices;
  /** Whether properties that come with a stream are taken over. */
  readonly takesProperties: boolean;
  /** For whom what is received is kept; null where nothing is to be kept on its behalf. */
  readonly jobId: string | null;
  /** Whose data it is. */
  readonly identity: string;
}

/** Something of ours that protects a version: a hold on a snapshot, or a bookmark that is a replication cursor. */
export interface Trace {
  readonly dataset: DatasetPath;
  /** The version, as its backend writes it: `tank/home@monday`, `tank/home#snapferry_CURSOR_…`. */
  readonly name: string;
  /** `STEP`: a transfer was begun; `LAST`: the newest received; `CURSOR`, `TENTATIVE`: the base of the next transfer. */
  readonly kind: 'STEP' | 'LAST' | 'CURSOR' | 'TENTATIVE';
  /** Who asked, or whose data it is; empty when unknown. */
  readonly identity: string;
  readonly job: string;
}

/** Which traces are meant. */
export interface TraceRequest {
  readonly recursive: boolean;
  /** Null: of every job. */
  readonly job: string | null;
  readonly select: (filesystem: DatasetPath) => boolean;
}

/**
 * One dataset of one backend on this machine, which need not exist, and all below it: what the commands need of a backend. Nothing
 * is held open; nothing needs to be closed.
 */
export interface Site {
  readonly backend: Backend;
  /** The dataset, as it is named on the wire. */
  readonly dataset: DatasetPath;
  /** The name of a dataset for people of this machine: `/srv/data`, `zfs:tank/home`. */
  readonly formatName: (filesystem: DatasetPath) => string;
  /** Refuses names that this backend must not see. */
  readonly checkDataset: (filesystem: DatasetPath) => void;
  readonly readResumeToken: ReadResumeToken;
  readonly source: (options: SourceOptions) => RPCHandler;
  /** The same of everything of this backend on this machine that a filter means. */
  readonly sourceOf: (filter: DatasetFilter, send: SendChoices) => Promise<RPCHandler>;
  readonly sink: (options: SinkOptions) => ReplicationSink;
  /**
   * Refuses a target that could not be received into, before anything is done for its sake.
   * @throws UsageError
   */
  readonly checkTarget: () => Promise<void>;
  /** Takes snapshots of everything selected at the same moment; what was received is left as it is and is not in the result. */
  readonly takeSnapshots: (request: SnapshotRequest, context: SiteContext) => Promise<readonly TakenSnapshot[]>;
  /** What is ours, and nobody else's. */
  readonly traces: (request: TraceRequest, signal: AbortSignal) => Promise<readonly Trace[]>;
  /** Removes what {@link Site.traces} would list, and returns what it removed. */
  readonly release: (request: TraceRequest, signal: AbortSignal) => Promise<readonly Trace[]>;
}

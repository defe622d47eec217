import type { Uint8ArrayList } from 'uint8arraylist';
import type { DatasetPath, FilesystemVersion } from './dataset.ts';

/** What a sink holds of a transfer that was interrupted, and with which token the sender may go on. */
export interface ResumeState {
  /** Opaque to everybody but the backend; sent as `ResumeToken`. */
  readonly token: string;
  /** guid of the version the interrupted step started from; null for an initial one. */
  readonly fromGuid: bigint | null;
  /** guid of the version the interrupted step was to produce. */
  readonly toGuid: bigint;
}

/** One transfer to be received. */
export interface ReceiveRequest {
  readonly filesystem: DatasetPath;
  /** Null for an initial transfer. */
  readonly from: FilesystemVersion | null;
  readonly to: FilesystemVersion;
  /** Format of the bytes, as announced by the sender; null from a version-1 peer, which announces none. */
  readonly format: string | null;
  /** Whether the sender used the resume token: the bytes continue what is already here. */
  readonly resumed: boolean;
}

/** What a person should know about a transfer that was committed. */
export interface ReceiveResult {
  /** Facts worth one line each, e.g. owners an unprivileged receiver recorded but could not apply. */
  readonly notices: readonly string[];
  /** What the new version lacks although the source had it, e.g. files the source could not read. Empty: nothing. */
  readonly missing: readonly string[];
}

/**
 * The bytes of a transfer. Whoever reads them is lent each piece until the next one is asked for, and copies what is kept or
 * sent on. Whoever makes them gives each piece away and never writes into it again.
 */
export type TransferBytes = AsyncIterable<Uint8Array | Uint8ArrayList>;

/**
 * The receiving half of a storage backend: what replication needs to put versions somewhere. Every method may throw a
 * SnapferryError with a handler code; `signal` cancels.
 */
export interface ReplicationSink {
  /** Versions present, oldest first, or null when the dataset does not exist yet. */
  filesystemVersions(filesystem: DatasetPath, signal?: AbortSignal): Promise<FilesystemVersion[] | null>;
  /**
   * What a version here lacks although its source had it (see {@link ReceiveResult.missing}), so that a later run that
   * finds nothing to do does not call an incomplete backup good. Absent: nothing is known.
   */
  missing?(filesystem: DatasetPath, version: FilesystemVersion): Promise<readonly string[]>;
  /**
   * Told by a run that has nothing to send that `version` is here: finishes what a crash may have kept the receive of it from, such as
   * moving a hold. Idempotent, and cheap where nothing is left to do. Absent: nothing ever is.
   * @returns what could not be finished, for people; the version is complete all the same
   */
  settle?(filesystem: DatasetPath, version: FilesystemVersion): Promise<readonly string[]>;
  /** What an earlier, interrupted receive left that can be continued, or null. */
  resumeState(filesystem: DatasetPath, signal?: AbortSignal): Promise<ResumeState | null>;
  /** Forgets what {@link ReplicationSink.resumeState} reported, freeing its space. No-op when there is nothing. */
  discardPartial(filesystem: DatasetPath): Promise<void>;
  /** Makes the dataset's parents exist, so that a receive can create it. */
  createParents(filesystem: DatasetPath): Promise<void>;
  /**
   * Receives one transfer. Resolves only once the new version is whole, verified and durable. If `bytes` throws, or
   * anything else fails, the dataset is as it was, except for what a later resume can use.
   * Whatever happens, also when it refuses without reading, `bytes` is read to its end or closed.
   */
  receive(request: ReceiveRequest, bytes: TransferBytes, signal?: AbortSignal): Promise<ReceiveResult>;
}

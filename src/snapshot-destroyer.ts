import type { FilesystemVersion } from './dataset.ts';
import type { SnapferryError } from './errors.ts';

/** A version of a dataset on this machine, with what can be said of its age without believing anybody. */
export interface StoredVersion extends FilesystemVersion {
  /** Whether it was received: then its name and `creation` are what a peer says. Otherwise this machine's clock made `creation`. */
  readonly isReceived: boolean;
  /** When it was received, by this machine's clock, RFC 3339; null for one that was not, or when nobody knows. */
  readonly receivedAt: string | null;
}

/** Something that forbids destroying a snapshot for now. */
export interface SnapshotHold {
  /** Of the snapshot. */
  readonly guid: bigint;
  /** For people, to stand after "held": `by "zfs hold keep"`, `for the interrupted transfer that starts from it`. */
  readonly why: string;
}

/** How far replication has got with a dataset at its source: the next transfer starts from there. */
export interface ReplicationCursor {
  /** Whose cursor it is, as its backend writes it: mostly the job's name. */
  readonly owner: string;
  /** The version that the other side is known to have. Its snapshot need no longer exist where a bookmark does. */
  readonly guid: bigint;
  readonly createTXG: bigint;
}

/** All that decides what of a dataset may be destroyed, as it was at one moment. */
export interface StoredVersions {
  /** Snapshots and bookmarks, oldest first by `createTXG`. */
  readonly versions: readonly StoredVersion[];
  readonly holds: readonly SnapshotHold[];
  readonly cursors: readonly ReplicationCursor[];
}

/** What became of one snapshot that was to be destroyed. */
export interface DestroyOutcome {
  readonly version: FilesystemVersion;
  /** `gone`: it was not there any more. `refused`: what is there now is another one, or is needed. `failed`: see `error`. */
  readonly result: 'destroyed' | 'gone' | 'refused' | 'failed';
  /** Null for `destroyed` and `gone`. */
  readonly error: SnapferryError | null;
}

/** Destroys snapshots of one dataset on this machine: the half of a storage backend that retention needs. Never on the wire. */
export interface SnapshotDestroyer {
  /** @throws SnapferryError `DATASET_NOT_FOUND`, or as its backend fails */
  list(signal?: AbortSignal): Promise<StoredVersions>;
  /**
   * Destroys these snapshots for good, in the order given, each only if it still has that name and that guid. One that cannot be
   * destroyed does not stop the others. Bookmarks are refused.
   * @returns one outcome a version, in the same order
   * @throws SnapferryError only when nothing was destroyed: `BUSY`, `CANCELLED`, `DATASET_NOT_FOUND`
   */
  destroy(versions: readonly FilesystemVersion[], signal?: AbortSignal): Promise<DestroyOutcome[]>;
}

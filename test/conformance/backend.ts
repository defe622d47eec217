import type { DatasetPath, FilesystemVersion } from '../../src/dataset.ts';
import type { RPCHandler } from '../../src/rpc/interfaces.ts';
import type { ReplicationSink } from '../../src/sink.ts';
import { describeInterruptions } from './backend-interruptions.ts';
import { describeListings } from './backend-listings.ts';
import { describeResumes } from './backend-resumes.ts';
import { sourceWays } from './backend-session.ts';
import { describeSink } from './backend-sink.ts';
import { describeTransfers } from './backend-transfers.ts';

/** A source and a target of one backend, for one test. */
export interface TestBackend {
  /** The dataset at the source, by which name it is received too. There before its first snapshot is taken. */
  readonly filesystem: DatasetPath;
  /** What the backend's streams are announced as. */
  readonly format: string;
  readonly handler: RPCHandler;
  /** Of a target that is empty. */
  readonly sink: ReplicationSink;
  /**
   * Changes the dataset into what `seed` stands for, {@link contentBytes} of content or more that differ with the seed,
   * and takes a snapshot of it.
   */
  snapshot(name: string, seed: number): Promise<FilesystemVersion>;
  /** Makes a bookmark of a snapshot at the source. */
  bookmark(snapshot: FilesystemVersion, name: string): Promise<FilesystemVersion>;
  /** Destroys a snapshot at the source. */
  destroy(snapshot: FilesystemVersion): Promise<void>;
  /** Everything that must be equal after a transfer, of the version with that guid at the source. */
  sourceFingerprint(version: FilesystemVersion): Promise<unknown>;
  /** The same at the target. */
  targetFingerprint(version: FilesystemVersion): Promise<unknown>;
  /** From now on receiving this version fails after its last byte was read, until the returned function was called. */
  breakCommit(version: FilesystemVersion): Promise<() => Promise<void>>;
  /** Whether neither half holds anything open: processes, files, generators. */
  isIdle(): boolean;
  close(): Promise<void>;
}

/** What a backend may do or leave. */
export interface BackendTraits {
  /** Whether an interrupted receive leaves something to go on from. */
  readonly resumes: boolean;
}

/** How much content a snapshot has, at least: more than any queue on the way holds. */
export const contentBytes = 400_000;

/**
 * The promises of `RPCHandler` and `ReplicationSink` that every storage backend keeps, whether its source is asked
 * directly or over a connection.
 * @param makeBackend a source and a target of its own for each test
 */
export function describeBackend(name: string, makeBackend: () => Promise<TestBackend>, traits: BackendTraits): void {
  describeSink(name, makeBackend);
  for (const way of sourceWays) {
    describeListings(`${name}, ${way.name}`, makeBackend, way);
    describeTransfers(`${name}, ${way.name}`, makeBackend, way);
    describeInterruptions(`${name}, ${way.name}`, makeBackend, way);
    describeResumes(`${name}, ${way.name}`, makeBackend, way, traits);
  }
}

import { SnapferryError } from '../../src/errors.ts';
import type {
  DestroyOutcome,
  ReplicationCursor,
  SnapshotDestroyer,
  SnapshotHold,
  StoredVersion,
  StoredVersions,
} from '../../src/snapshot-destroyer.ts';

/** A dataset in memory that can be pruned. */
export class MemoryDestroyer implements SnapshotDestroyer {
  versions: StoredVersion[] = [];
  holds: SnapshotHold[] = [];
  cursors: ReplicationCursor[] = [];
  /** Names of snapshots that cannot be destroyed. */
  readonly stubborn = new Set<string>();
  /** Runs before each list. */
  beforeList: () => void = () => undefined;
  /** All that was asked to be destroyed. */
  readonly asked: string[] = [];

  list(): Promise<StoredVersions> {
    this.beforeList();
    return Promise.resolve({ versions: [...this.versions], holds: [...this.holds], cursors: [...this.cursors] });
  }

  destroy(versions: readonly StoredVersion[]): Promise<DestroyOutcome[]> {
    this.asked.push(...versions.map(({ name }) => name));
    return Promise.resolve(
      versions.map((version) => {
        if (this.stubborn.has(version.name)) {
          return { version, result: 'failed', error: new SnapferryError('BUSY', `@${version.name} has clones`) };
        }
        this.versions = this.versions.filter(({ name, guid }) => name !== version.name || guid !== version.guid);
        return { version, result: 'destroyed', error: null };
      }),
    );
  }
}

let nextNumber = 1n;

/** A snapshot made here at a time. */
export function ownSnapshot(
  name: string,
  at: string | number | null,
  more: Partial<StoredVersion> = {},
): StoredVersion {
  const number = nextNumber++;
  const creation = typeof at === 'number' ? new Date(at).toISOString() : at;
  return {
    type: 'snapshot',
    name,
    guid: 1_000_000n + number,
    createTXG: number,
    creation,
    isReceived: false,
    receivedAt: null,
    ...more,
  };
}

/** A snapshot received at a time from a peer that claims another. */
export function receivedSnapshot(
  name: string,
  claimed: number | string | null,
  receivedMs: number | null,
): StoredVersion {
  const receivedAt = receivedMs === null ? null : new Date(receivedMs).toISOString();
  return ownSnapshot(name, claimed, { isReceived: true, receivedAt });
}

/** Without holds, cursors and rules that would matter. */
export const nothingElse: Omit<StoredVersions, 'versions'> = { holds: [], cursors: [] };

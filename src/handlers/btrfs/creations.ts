import pLimit from 'p-limit';
import type { FilesystemVersion } from '../../dataset.ts';
import { allEnded } from './all-ended.ts';
import type { BtrfsStore } from './store.ts';
import type { BtrfsTool } from './tool.ts';
import type { Snapshot } from './versions.ts';

const showsAtOnce = 2;

/**
 * Versions with the time at which the original was made, where that was noted, else at which the subvolume was. The listing has that of
 * snapshots only; each of the others, mostly one a dataset, is asked for.
 */
export async function withCreations(
  tool: BtrfsTool,
  store: BtrfsStore,
  snapshots: readonly Snapshot[],
  signal?: AbortSignal,
): Promise<FilesystemVersion[]> {
  const limit = pLimit(showsAtOnce);
  const creationOf = async ({ version, subvolume }: Snapshot): Promise<string | null> => {
    const record = subvolume.receivedUUID === null ? null : await store.record(subvolume.uuid);
    if (record !== null) return record.creation;
    if (version.creation !== null) return version.creation;
    return limit(async () => (await tool.show(subvolume.path, { signal }))?.creation ?? null);
  };
  return allEnded(snapshots.map(async (snapshot) => ({ ...snapshot.version, creation: await creationOf(snapshot) })));
}

import { liveAt, snapshotsOf, type Snapshot } from './versions.ts';
import type { SubvolumeView } from './subvolumes.ts';

/**
 * The snapshots of a dataset at a receiver, oldest first: whole copies, that is read-only with a received UUID, and snapshots taken here.
 * One that was made writable and read-only again has lost its received UUID, and is neither.
 */
export function copiesOf(view: SubvolumeView, dataset: string): Snapshot[] {
  const live = liveAt(view, dataset);
  return snapshotsOf(view, dataset).filter(
    ({ subvolume }) => subvolume.receivedUUID !== null || (live !== null && subvolume.parentUUID === live.uuid),
  );
}

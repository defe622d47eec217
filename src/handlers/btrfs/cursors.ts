import type { FilesystemVersion } from '../../dataset.ts';
import { SnapferryError } from '../../errors.ts';
import { BtrfsStore } from './store.ts';
import { withoutSymlinks } from './subvolumes.ts';

/**
 * How far a job has got with a dataset: its next transfer starts from this snapshot, so nobody may delete it before. btrfs itself has
 * neither holds nor bookmarks, so this is a note, which whoever prunes has to heed.
 */
export interface BtrfsCursor {
  readonly job: string;
  /** The snapshot, by guid; its name at the time. */
  readonly guid: bigint;
  readonly name: string;
  readonly createTXG: bigint;
  /** When it was moved there, RFC 3339. */
  readonly moved: string;
}

const jobIdPattern = /^[A-Za-z0-9][A-Za-z0-9_.:-]*$/;
const jobIdCharactersMax = 200;

/**
 * Moves the cursor of a job to a version; never backwards. Idempotent.
 * @throws SnapferryError `INVALID_REQUEST` for a job whose name cannot be that of a file
 */
export async function moveCursor(store: BtrfsStore, job: string, version: FilesystemVersion): Promise<void> {
  checkJobId(job);
  const current = (await store.cursors()).find((cursor) => cursor.job === job);
  if (current !== undefined && BigInt(current.createTXG) >= version.createTXG) return;
  await store.create();
  await store.writeCursor({
    job,
    guid: String(version.guid),
    createTXG: String(version.createTXG),
    name: version.name,
    moved: new Date().toISOString(),
  });
}

/**
 * The cursors of a dataset, by job. @param dataset its absolute path
 * @throws SnapferryError `INVALID_REQUEST`, `INTERNAL` when one is damaged
 */
export async function listBtrfsCursors(dataset: string): Promise<BtrfsCursor[]> {
  const store = new BtrfsStore(await withoutSymlinks(dataset));
  return (await store.cursors()).map(({ job, guid, name, createTXG, moved }) => ({
    job,
    guid: BigInt(guid),
    name,
    createTXG: BigInt(createTXG),
    moved,
  }));
}

/** Forgets the cursor of a job; whether there was one. Then its snapshot may be deleted. @throws SnapferryError `INVALID_REQUEST` */
export async function releaseBtrfsCursor(dataset: string, job: string): Promise<boolean> {
  checkJobId(job);
  const store = new BtrfsStore(await withoutSymlinks(dataset));
  const isThere = (await store.cursors()).some((cursor) => cursor.job === job);
  if (isThere) await store.removeCursor(job);
  return isThere;
}

function checkJobId(job: string): void {
  if (jobIdPattern.test(job) && job.length <= jobIdCharactersMax) return;
  throw new SnapferryError(
    'INVALID_REQUEST',
    `the job id ${JSON.stringify(job.slice(0, 100))} cannot name a cursor: letters, digits, "_", ".", ":" and "-", ` +
      `beginning with a letter or digit, at most ${jobIdCharactersMax} characters`,
  );
}

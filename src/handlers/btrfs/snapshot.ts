import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { FilesystemVersion } from '../../dataset.ts';
import { SnapferryError, toSnapferryError } from '../../errors.ts';
import { snapshotArguments, syncArguments } from './commands.ts';
import { mountOf } from './mounts.ts';
import { checkDatasetFolder, requireFree, snapshotPath } from './names.ts';
import { viewSubvolumes, withoutSymlinks, type SubvolumeView } from './subvolumes.ts';
import { BtrfsTool, type BtrfsToolOptions } from './tool.ts';
import { foldUUID, type UUID } from './uuid.ts';
import { describeNested, liveAt, nestedIn, snapshotsOf } from './versions.ts';

/** How to take a snapshot. */
export interface BtrfsSnapshotOptions {
  /** Default: `snapferry_YYYYMMDD_HHMMSS_mmm`, in UTC. */
  readonly name?: string | undefined;
  /** Take one even if nothing changed. */
  readonly force?: boolean | undefined;
  /** Only look: nothing is changed, and the result tells what a run would do. */
  readonly dryRun?: boolean | undefined;
  /** Where to put it: a folder beside the dataset, or absolute. Default: beside the dataset; in `.snapshots` inside a mount point. */
  readonly folder?: string | undefined;
  /** Subvolumes that are seen to separately, absolute: nothing needs to be told of those that are inside. */
  readonly covered?: readonly string[] | undefined;
  readonly tool?: BtrfsToolOptions | undefined;
  readonly now?: (() => Date) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What became of it. */
export interface BtrfsSnapshotResult {
  /** Null when nothing changed (and it was not forced), and in a dry run. */
  readonly version: FilesystemVersion | null;
  /** Whether a snapshot was taken, or in a dry run, whether one would be. */
  readonly isTaken: boolean;
  /** What a person should know: subvolumes inside, which are not in it. */
  readonly notices: readonly string[];
}

/**
 * Takes a read-only snapshot of a subvolume. Does nothing when nothing changed since the newest one. It is on disk when this resolves.
 * @param dataset path of the subvolume
 * @throws SnapferryError `DATASET_NOT_FOUND`, `INVALID_REQUEST` (bad or taken name, not on btrfs), `ACCESS_DENIED`, `CANCELLED`,
 * `SOURCE_FAILED`
 */
export async function takeBtrfsSnapshot(
  dataset: string,
  options: BtrfsSnapshotOptions = {},
): Promise<BtrfsSnapshotResult> {
  try {
    return await take(await withoutSymlinks(dataset), new BtrfsTool(options.tool), options);
  } catch (error) {
    throw toSnapferryError(error, 'SOURCE_FAILED', `cannot take a snapshot of ${dataset}`);
  }
}

async function take(directory: string, tool: BtrfsTool, options: BtrfsSnapshotOptions): Promise<BtrfsSnapshotResult> {
  checkDatasetFolder(directory);
  const { signal } = options;
  const before = await viewSubvolumes(tool, directory, signal);
  if (liveAt(before, directory) === null) {
    throw new SnapferryError('DATASET_NOT_FOUND', `${directory} is no writable subvolume of btrfs`);
  }
  // The generation moves when what was written goes to disk, not before.
  if (options.force !== true) await tool.run(syncArguments(directory), { signal });
  const view = options.force === true ? before : await viewSubvolumes(tool, directory, signal);
  const nested = nestedIn(view, directory).filter((path) => options.covered?.includes(path) !== true);
  const notices = nested.length === 0 ? [] : [describeNested(directory, nested)];
  const isTaken = options.force === true || isChanged(view, directory);
  if (!isTaken || options.dryRun === true) return { version: null, isTaken, notices };
  const name = options.name ?? `snapferry_${timestamp((options.now ?? (() => new Date()))())}`;
  const path = snapshotPath(directory, name, await folderFor(directory, options.folder));
  // Where something is, the snapshot would land inside it, without an error.
  await requireFree(path);
  await tool.run(snapshotArguments(directory, path), { signal });
  const version = await readBack(tool, liveAt(view, directory)?.uuid, path, name);
  return { version, isTaken, notices };
}

/** Taking a snapshot gives a subvolume the generation of the snapshot; every change after that gives it a later one. */
function isChanged(view: SubvolumeView, directory: string): boolean {
  const live = liveAt(view, directory);
  const own = snapshotsOf(view, directory).filter(({ subvolume }) => subvolume.parentUUID === live?.uuid);
  const newest = own.at(-1)?.subvolume;
  return live === null || newest === undefined || live.generation > newest.createdGeneration;
}

async function folderFor(directory: string, folder: string | undefined): Promise<string> {
  const beside = dirname(directory);
  if (folder !== undefined) return folder.startsWith('/') ? folder : join(beside, folder);
  if ((await mountOf(directory)).point !== directory) return beside;
  // What is beside a mount point is another file system, where a snapshot of this one cannot be.
  const inside = join(directory, '.snapshots');
  await mkdir(inside, { mode: 0o700, recursive: true });
  return inside;
}

async function readBack(
  tool: BtrfsTool,
  parentUUID: UUID | undefined,
  path: string,
  name: string,
): Promise<FilesystemVersion> {
  const shown = await tool.show(path);
  if (shown?.isReadOnly !== true || shown.parentUUID !== parentUUID) {
    throw new SnapferryError('SOURCE_FAILED', `btrfs exited without an error, but the snapshot is not at ${path}`);
  }
  const { uuid, createdGeneration, creation } = shown;
  return { type: 'snapshot', name, guid: foldUUID(uuid), createTXG: createdGeneration, creation };
}

/** `20261121_013300_123`, UTC. */
function timestamp(date: Date): string {
  return date.toISOString().replaceAll(/[-:]/g, '').replace('T', '_').replace('.', '_').replace('Z', '');
}

import { basename, dirname, join, relative } from 'node:path';
import type { FilesystemVersion } from '../../dataset.ts';
import { isVersionName, storeFolderName, temporaryPrefix } from './names.ts';
import { isAtOrBelow } from './mounts.ts';
import { topId, type Subvolume, type SubvolumeView } from './subvolumes.ts';
import { foldUUID, type UUID } from './uuid.ts';

/** Where snapshots are looked for beside, and inside, a dataset; btrbk and snapper put them there. */
export const snapshotFoldersDefault: readonly string[] = ['.snapshots'];

/** A snapshot of a dataset. */
export interface Snapshot {
  readonly version: FilesystemVersion;
  readonly subvolume: Subvolume;
}

/** The UUID by which a subvolume is known on every host: that of the snapshot it was first received from, else its own. */
export function originOf({ uuid, receivedUUID }: Pick<Subvolume, 'uuid' | 'receivedUUID'>): UUID {
  return receivedUUID ?? uuid;
}

/**
 * The snapshots of a dataset, oldest first: read-only subvolumes in the places where they are looked for, that were made of it, or
 * were received, or whose origin is gone. What was made of another subvolume that still exists is never among them.
 * @param folders names of folders beside and inside the dataset, or absolute paths
 */
export function snapshotsOf(
  view: SubvolumeView,
  dataset: string,
  folders: readonly string[] = snapshotFoldersDefault,
): Snapshot[] {
  const live = liveAt(view, dataset);
  const places = placesOf(dataset, folders);
  const taken = new Set<string>();
  return view.subvolumes.flatMap((subvolume) => {
    if (!subvolume.isReadOnly) return [];
    const isOwn = live !== null && subvolume.parentUUID === live.uuid;
    const isForeign = !isOwn && subvolume.parentUUID !== null && view.writableUUIDs.has(subvolume.parentUUID);
    const name = isForeign ? null : nameIn(places, dataset, subvolume.path, isOwn);
    if (name === null || !isVersionName(name)) return [];
    const unique = taken.has(name) ? `${name}.${subvolume.uuid.slice(0, 8)}` : name;
    taken.add(unique);
    return { version: versionOf(subvolume, unique), subvolume };
  });
}

/** The writable subvolume at a path, or null. */
export function liveAt(view: SubvolumeView, dataset: string): Subvolume | null {
  const found = view.byPath.get(dataset);
  return found === undefined || found.isReadOnly ? null : found;
}

interface Places {
  readonly beside: readonly string[];
  readonly inside: readonly string[];
}

function placesOf(dataset: string, folders: readonly string[]): Places {
  const parent = dirname(dataset);
  return {
    beside: [parent, ...folders.map((folder) => (folder.startsWith('/') ? folder : join(parent, folder)))],
    inside: folders.filter((folder) => !folder.startsWith('/')).map((folder) => join(dataset, folder)),
  };
}

/**
 * What a snapshot is called. Beside: `DATASET@NAME`, or `DATASET.NAME` as btrbk has it. In a folder shared with others any name, if
 * it is certainly of this dataset. Inside: any name, or `NAME/snapshot` as snapper has it.
 */
function nameIn({ beside, inside }: Places, dataset: string, path: string, isOwn: boolean): string | null {
  const folder = dirname(path);
  const file = basename(path);
  if (file.startsWith(temporaryPrefix)) return null;
  const own = basename(dataset);
  const isNamed = file.startsWith(`${own}@`) || file.startsWith(`${own}.`);
  if (isNamed && (beside.includes(folder) || inside.includes(folder))) return file.slice(own.length + 1);
  if (beside.includes(folder)) return isOwn && folder !== dirname(dataset) ? file : null;
  if (inside.includes(folder)) return file;
  return file === 'snapshot' && inside.includes(dirname(folder)) ? basename(folder) : null;
}

function versionOf(subvolume: Subvolume, name: string): FilesystemVersion {
  return {
    type: 'snapshot',
    name,
    guid: foldUUID(originOf(subvolume)),
    createTXG: subvolume.createdGeneration,
    creation: subvolume.creation,
  };
}

/**
 * The datasets at or below a folder: writable subvolumes, but not the top of the file system, which mostly only holds them; and copies whose dataset exists only as `DATASET@NAME`. In the order of
 * their names.
 */
export function datasetsBelow(view: SubvolumeView, folder: string): string[] {
  const found = new Set<string>();
  for (const { id, path, isReadOnly, receivedUUID } of view.subvolumes) {
    if (id === topId || path.split('/').includes(storeFolderName) || basename(path).startsWith(temporaryPrefix))
      continue;
    if (!isReadOnly) found.add(path);
    const at = basename(path).lastIndexOf('@');
    if (isReadOnly && receivedUUID !== null && at > 0) found.add(join(dirname(path), basename(path).slice(0, at)));
  }
  return [...found].filter((path) => isAtOrBelow(path, folder)).sort();
}

/** Writable subvolumes inside a dataset, which are neither in its snapshots nor in their streams. */
export function nestedIn(view: SubvolumeView, dataset: string, folders = snapshotFoldersDefault): string[] {
  const own = placesOf(dataset, folders).inside;
  return view.subvolumes
    .filter(({ path, isReadOnly }) => !isReadOnly && path !== dataset && isAtOrBelow(path, dataset))
    .map(({ path }) => path)
    .filter((path) => !own.some((folder) => isAtOrBelow(path, folder)) && !path.split('/').includes(storeFolderName));
}

const nestedShownMax = 10;

/** What a person must know of subvolumes inside a dataset. */
export function describeNested(directory: string, nested: readonly string[]): string {
  const shown = nested.slice(0, nestedShownMax).map((path) => relative(directory, path));
  const more = nested.length - shown.length;
  return (
    `snapshots of ${basename(directory)} do not have the subvolumes inside it: ${shown.join(', ')}` +
    `${more > 0 ? ` and ${more} more` : ''}; replicate them as datasets of their own`
  );
}

import { realpath } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { SnapferryError } from '../../errors.ts';
import { isErrno } from '../directory/store-files.ts';
import { allEnded } from './all-ended.ts';
import { listArguments, listReadOnlyArguments, listTimesArguments } from './commands.ts';
import { mountOf, throughMount } from './mounts.ts';
import { parseList, parseTimes, type ListedSubvolume } from './output.ts';
import type { BtrfsTool } from './tool.ts';
import type { UUID } from './uuid.ts';

/** A subvolume that can be seen. */
export interface Subvolume extends ListedSubvolume {
  /** Absolute. */
  readonly path: string;
  readonly isReadOnly: boolean;
  /** RFC 3339; null for one that was not made as a snapshot, of which the listing does not say. */
  readonly creation: string | null;
}

/** Id of the top of every file system. */
export const topId = 5;

/** All subvolumes of one file system that can be seen through one mount. */
export interface SubvolumeView {
  /** Oldest first: by generation, and within one by id. */
  readonly subvolumes: readonly Subvolume[];
  readonly byPath: ReadonlyMap<string, Subvolume>;
  /** Also those that cannot be seen. */
  readonly writableUUIDs: ReadonlySet<UUID>;
}

/**
 * Lists what can be seen around a path.
 * @param path absolute; what of it does not exist yet is taken to be on the file system of what does
 * @throws SnapferryError `INVALID_REQUEST` when it is not on btrfs, `ACCESS_DENIED` without root, `SOURCE_FAILED`
 */
export async function viewSubvolumes(tool: BtrfsTool, path: string, signal?: AbortSignal): Promise<SubvolumeView> {
  const existing = await nearestExisting(resolve(path));
  const mount = await mountOf(existing);
  const [top, all, readOnly, times] = await allEnded([
    // The listing has all but the top itself.
    mount.root === '/' ? tool.show(mount.point, { signal }) : null,
    tool.run(listArguments(existing), { signal }),
    tool.run(listReadOnlyArguments(existing), { signal }),
    tool.run(listTimesArguments(existing), { signal }),
  ]);
  const readOnlyOnes = parseList(readOnly);
  const readOnlyUUIDs = new Set(readOnlyOnes.map(({ uuid }) => uuid));
  const creations = parseTimes(times);
  // Of a read-only one the line of the later listing counts, in which it already had all it is to have.
  const writable = parseList(all).filter(({ uuid }) => !readOnlyUUIDs.has(uuid));
  if (top !== null) writable.unshift({ ...top, id: topId, topPath: '' });
  const subvolumes = [
    ...writable.map((listed) => ({ ...listed, isReadOnly: false })),
    ...readOnlyOnes.map((listed) => ({ ...listed, isReadOnly: true })),
  ]
    .flatMap((listed) => {
      const seenAt = throughMount(listed.topPath, mount);
      return seenAt === null ? [] : [{ ...listed, path: seenAt, creation: creations.get(listed.uuid) ?? null }];
    })
    .sort(byAge);
  return {
    subvolumes,
    byPath: new Map(subvolumes.map((subvolume) => [subvolume.path, subvolume])),
    writableUUIDs: new Set(writable.map(({ uuid }) => uuid)),
  };
}

function byAge(a: Subvolume, b: Subvolume): number {
  if (a.createdGeneration !== b.createdGeneration) return a.createdGeneration < b.createdGeneration ? -1 : 1;
  return a.id - b.id;
}

/** The path itself, symlinks resolved, or the nearest folder above it that exists. */
export async function nearestExisting(path: string): Promise<string> {
  return (await realpathOrNull(path)) ?? nearestExisting(dirname(path));
}

/** A path as listings have it: symlinks resolved as far as it exists. */
export async function withoutSymlinks(path: string): Promise<string> {
  return (await realpathOrNull(path)) ?? join(await withoutSymlinks(dirname(path)), basename(path));
}

async function realpathOrNull(path: string): Promise<string | null> {
  try {
    return await realpath(path);
  } catch (error) {
    if (path !== '/' && isErrno(error, 'ENOENT', 'ENOTDIR')) return null;
    throw new SnapferryError('ACCESS_DENIED', `cannot look at ${path}: ${(error as Error).message}`, { cause: error });
  }
}

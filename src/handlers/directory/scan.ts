import { lstatSync, readdirSync, type BigIntStats } from 'node:fs';
import { SnapferryError } from '../../errors.ts';
import type { ByteString, Entry } from './entry.ts';
import { nextTurn, printablePath, toByteString } from './manifest.ts';
import { isErrno } from './store-files.ts';
import { liveStoreName } from './store-layout.ts';

/** A name that a scan found, with what `lstat` told. Hard links are not told apart here, see `linkKey`. */
export interface Found {
  readonly path: ByteString;
  readonly type: Exclude<Entry['type'], 'hardlink'>;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeNs: bigint;
  /** Of a file; 0 for everything else. */
  readonly size: number;
  /** Inode and ctime in ns: equal stamps mean that nothing at all was changed, but for the last moments. */
  readonly stamp: string;
  readonly ctimeNs: bigint;
  /** The same for all names of a file that has several, null when it has one. */
  readonly linkKey: string | null;
  /** A directory that may not be listed. */
  readonly isUnlistable: boolean;
}

/** What a scan found. */
export interface Scan {
  /** In path order, the root first. */
  readonly files: readonly Found[];
  /** What no snapshot can hold: sockets and devices. */
  readonly skipped: readonly ByteString[];
  /** What could not be looked at. */
  readonly unreadable: readonly ByteString[];
}

export interface ScanOptions {
  /** Whether to leave out a path; a directory's content goes with it. */
  readonly isExcluded?: (path: ByteString, isDirectory: boolean) => boolean;
  /** Leave out `.snapferry` at the top. */
  readonly skipStore?: boolean;
  readonly signal?: AbortSignal | undefined;
  /** Told the number of names seen so far, now and then. */
  readonly onProgress?: (names: number) => void;
}

const namesPerTurn = 1000;

/** The path of something in a tree as its bytes. */
export function bytePath(root: string, path: ByteString): Buffer {
  const top = toByteString(root);
  return Buffer.from(path === '' ? top : `${top}/${path}`, 'latin1');
}

/** `lstat` of something in a tree, or null when it is not there (any more). Other errors are thrown as they are. */
export function lookAt(root: string, path: ByteString): Found | 'other' | null {
  try {
    return describe(path, lstatSync(bytePath(root, path), { bigint: true }));
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return null;
    throw error;
  }
}

function describe(path: ByteString, stats: BigIntStats): Found | 'other' {
  const type = typeOf(stats);
  if (type === null) return 'other';
  return {
    path,
    type,
    mode: Number(stats.mode) & 0o7777,
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    mtimeNs: stats.mtimeNs,
    size: type === 'file' ? Number(stats.size) : 0,
    stamp: `${stats.ino} ${stats.ctimeNs}`,
    ctimeNs: stats.ctimeNs,
    linkKey: type === 'file' && stats.nlink > 1n ? `${stats.dev}:${stats.ino}` : null,
    isUnlistable: false,
  };
}

function typeOf(stats: BigIntStats): Found['type'] | null {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'directory';
  if (stats.isSymbolicLink()) return 'symlink';
  return stats.isFIFO() ? 'fifo' : null;
}

/**
 * Looks at every name of a tree, across mounted file systems as `rsync` does. Synchronous calls in batches, between
 * which the event loop has a turn: a promise for each would take ten times as long.
 * @param root absolute
 * @throws SnapferryError `DATASET_NOT_FOUND` when the root is no directory that can be listed, `CANCELLED`
 */
export async function scanTree(root: string, options: ScanOptions = {}): Promise<Scan> {
  const files: Found[] = [];
  const skipped: ByteString[] = [];
  const unreadable: ByteString[] = [];
  const waiting: Found[] = [requireListable(root)];
  let names = 0;
  for (let directory = waiting.pop(); directory !== undefined; directory = waiting.pop()) {
    const listing = list(root, directory.path);
    if (listing === null) continue;
    files.push(listing === 'unreadable' ? { ...directory, isUnlistable: true } : directory);
    if (listing === 'unreadable') unreadable.push(directory.path);
    for (const name of listing === 'unreadable' ? [] : listing) {
      if (++names % namesPerTurn === 0) {
        options.onProgress?.(names);
        await nextTurn();
        checkSignal(options.signal);
      }
      const path = directory.path === '' ? name : `${directory.path}/${name}`;
      if (path === liveStoreName && options.skipStore === true) continue;
      const found = tryLookAt(root, path, unreadable);
      if (found === null) continue;
      if (options.isExcluded?.(path, found !== 'other' && found.type === 'directory') === true) continue;
      if (found === 'other') skipped.push(path);
      else (found.type === 'directory' ? waiting : files).push(found);
    }
  }
  files.sort((a, b) => (a.path < b.path ? -1 : 1));
  return { files, skipped: skipped.sort(), unreadable: unreadable.sort() };
}

/** @throws SnapferryError `CANCELLED` */
export function checkSignal(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) {
    throw new SnapferryError('CANCELLED', 'the work on a directory was cancelled', { cause: signal.reason });
  }
}

/** The root of a tree. @throws SnapferryError `DATASET_NOT_FOUND`, `ACCESS_DENIED` unless it is a directory to be listed */
export function requireListable(root: string): Found {
  let found: Found | 'other' | null = null;
  let cause: Error | undefined;
  try {
    found = lookAt(root, '');
    if (found !== null && list(root, '') === 'unreadable') {
      throw new SnapferryError('ACCESS_DENIED', `the directory ${root} may not be read by this user`);
    }
  } catch (error) {
    if (error instanceof SnapferryError) throw error;
    cause = error as Error;
  }
  if (found === null || found === 'other' || found.type !== 'directory') {
    const text = `${root} is not a directory${cause === undefined ? '' : `: ${cause.message}`}`;
    throw new SnapferryError('DATASET_NOT_FOUND', text, { cause });
  }
  return found;
}

function list(root: string, path: ByteString): ByteString[] | 'unreadable' | null {
  try {
    return readdirSync(bytePath(root, path), 'latin1');
  } catch (error) {
    return isErrno(error, 'ENOENT', 'ENOTDIR') ? null : 'unreadable';
  }
}

function tryLookAt(root: string, path: ByteString, unreadable: ByteString[]): Found | 'other' | null {
  try {
    return lookAt(root, path);
  } catch {
    unreadable.push(path);
    return null;
  }
}

/** Paths as lines for a person, at most `linesMax` and then how many more there are. */
export function listPaths(paths: readonly ByteString[], linesMax = 1000): string[] {
  const lines = paths.slice(0, linesMax).map(printablePath);
  return paths.length > linesMax ? [...lines, `… and ${paths.length - linesMax} more`] : lines;
}

import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  openSync,
  readdirSync,
  renameSync,
  rmdirSync,
  unlinkSync,
} from 'node:fs';
import type { BigIntStats } from 'node:fs';
import { SnapferryError } from '../../errors.ts';
import type { ByteString, Entry } from './entry.ts';
import { nextTurn, parentOf, printablePath } from './manifest.ts';
import { isRoot } from './receive-extract.ts';
import { inTurns, lstatOrNull, pathBelow } from './receive-tree.ts';
import { isErrno } from './store-files.ts';

const namesShownMax = 5;
const movesPerTurn = 200;

/**
 * Refuses a restore that would replace something it may not. Directories that are there already are not in the way:
 * they stay and are added to.
 * @param directory the one to restore into, as it is now
 * @throws SnapferryError `INVALID_REQUEST` naming the first paths in the way
 */
export async function checkInTheWay(directory: string, entries: readonly Entry[], overwrite: boolean): Promise<void> {
  const inTheWay: ByteString[] = [];
  const absent = new Set<ByteString>();
  await inTurns(entries, ({ path, type }) => {
    if (path === '') return;
    const stats = absent.has(parentOf(path)) ? null : lstatOrNull(pathBelow(directory, path));
    if (type === 'directory' && stats?.isDirectory() !== true) absent.add(path);
    if (stats === null || (type === 'directory' && stats.isDirectory())) return;
    const isReplaceable = !stats.isDirectory() || readdirSync(pathBelow(directory, path)).length === 0;
    if (!overwrite || !isReplaceable) inTheWay.push(path);
  });
  if (inTheWay.length === 0) return;
  const shown = inTheWay.slice(0, namesShownMax).map((path) => `"${printablePath(path)}"`);
  const more = inTheWay.length > shown.length ? ` and ${inTheWay.length - shown.length} more` : '';
  const advice = overwrite
    ? 'they are directories with something in them where the snapshot has files; move them away'
    : 'restore into an empty directory, or say that they may be overwritten';
  throw new SnapferryError(
    'INVALID_REQUEST',
    `in ${directory} there are already ${shown.join(', ')}${more}; ${advice}`,
  );
}

/** Whose turn it is to be moved. */
interface Move {
  readonly staged: string;
  readonly children: ReadonlyMap<ByteString, readonly Entry[]>;
  readonly overwrite: boolean;
}

/**
 * Moves a restored tree into an existing directory, each file or new directory by one rename. Goes down by open
 * directories and never through a symlink, so that nobody who may write in there can lead it elsewhere.
 * @param staged the restored tree, on the same file system
 * @throws SnapferryError `INVALID_REQUEST` when something got in the way meanwhile
 */
export async function moveInto(
  directory: string,
  staged: string,
  entries: readonly Entry[],
  overwrite: boolean,
): Promise<void> {
  const children = new Map<ByteString, Entry[]>();
  for (const entry of entries) {
    if (entry.path === '') continue;
    const parent = parentOf(entry.path);
    const siblings = children.get(parent);
    if (siblings === undefined) children.set(parent, [entry]);
    else siblings.push(entry);
  }
  const root = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await moveChildren({ staged, children, overwrite }, '', root);
  } finally {
    closeSync(root);
  }
}

async function moveChildren(move: Move, parent: ByteString, directory: number): Promise<void> {
  let count = 0;
  for (const entry of move.children.get(parent) ?? []) {
    const name = parent === '' ? entry.path : entry.path.slice(parent.length + 1);
    // By number rather than by path: nobody can put another directory in the place of an open one.
    const target = pathBelow(`/proc/self/fd/${directory}`, name);
    const stats = lstatOrNull(target);
    if (entry.type === 'directory' && stats?.isDirectory() === true) await merge(move, entry.path, target);
    else moveOne(move, entry, target, stats);
    if (++count % movesPerTurn === 0) await nextTurn();
  }
}

async function merge(move: Move, path: ByteString, target: Buffer): Promise<void> {
  // Things are to be moved out of it, and a restored directory may forbid that to its own owner.
  chmodSync(pathBelow(move.staged, path), 0o700);
  const directory = openSync(target, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  const { mode } = fstatSync(directory);
  const isLocked = !isRoot() && (mode & 0o200) === 0;
  try {
    if (isLocked) fchmodSync(directory, (mode & 0o7777) | 0o200);
    await moveChildren(move, path, directory);
    if (isLocked) fchmodSync(directory, mode & 0o7777);
  } finally {
    closeSync(directory);
  }
}

function moveOne(move: Move, entry: Entry, target: Buffer, stats: BigIntStats | null): void {
  if (stats !== null && !move.overwrite) {
    throw new SnapferryError(
      'INVALID_REQUEST',
      `"${printablePath(entry.path)}" has appeared meanwhile; it was left alone`,
    );
  }
  if (stats?.isDirectory() === true) rmdirSync(target);
  else if (stats !== null && entry.type === 'directory') unlinkSync(target);
  const staged = pathBelow(move.staged, entry.path);
  try {
    renameSync(staged, target);
  } catch (error) {
    // To get another parent, a directory must be writable to its owner.
    if (entry.type !== 'directory' || !isErrno(error, 'EACCES', 'EPERM')) throw error;
    const mode = Number((lstatOrNull(staged)?.mode ?? 0o700n) & 0o7777n);
    chmodSync(staged, mode | 0o700);
    renameSync(staged, target);
    chmodSync(target, mode);
  }
}

import { lstatSync, rmdirSync, unlinkSync } from 'node:fs';
import type { BigIntStats } from 'node:fs';
import { SnapferryError } from '../../errors.ts';
import type { ByteString, Entry } from './entry.ts';
import { nextTurn, printablePath, toByteString } from './manifest.ts';
import type { Delta, NotApplied } from './manifest.ts';
import { isErrno } from './store-files.ts';

/** Synchronous calls on files, each of some microseconds, between two turns of the event loop. */
const callsPerTurn = 500;

/** Where an entry lies below `root`, as bytes. */
export function pathBelow(root: string, path: ByteString): Buffer {
  return Buffer.from(`${toByteString(root)}/${path}`, 'latin1');
}

/** What is at a path, not following a symlink; null when nothing is. */
export function lstatOrNull(path: Buffer): BigIntStats | null {
  return lstatSync(path, { bigint: true, throwIfNoEntry: false }) ?? null;
}

/** Calls `visit` for each, giving the event loop a turn now and then, so that heartbeats and cancellations get through. */
export async function inTurns<T>(items: Iterable<T>, visit: (item: T) => void): Promise<void> {
  let count = 0;
  for (const item of items) {
    visit(item);
    if (++count % callsPerTurn === 0) await nextTurn();
  }
}

/**
 * Takes out of a linked copy of the base's tree what the delta removes and what it puts in another form, so that
 * nothing is ever written through a hard link into the base.
 */
export async function pruneTree(tree: string, base: readonly Entry[], delta: Delta): Promise<void> {
  const typeInBase = new Map(base.map(({ path, type }) => [path, type]));
  const replaced = delta.put.filter(({ path, type }) => {
    const before = typeInBase.get(path);
    return before !== undefined && (before !== 'directory' || type !== 'directory');
  });
  const doomed = [...delta.removed, ...replaced.map(({ path }) => path)].sort(bytewise).reverse();
  await inTurns(doomed, (path) => {
    if (typeInBase.get(path) === 'directory') rmdirSync(pathBelow(tree, path));
    else unlinkIfThere(pathBelow(tree, path));
  });
}

/** Orders paths as lists of entries are ordered. */
function bytewise(a: ByteString, b: ByteString): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/** Removes what is not a directory, if it is there. */
export function unlinkIfThere(path: Buffer): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error;
  }
}

/** In what an extracted tree falls short of its entries. */
export interface Inspection {
  readonly notApplied: readonly NotApplied[];
  /** One line for each kind of shortcoming. */
  readonly notices: readonly string[];
}

const typeBits: Readonly<Record<Entry['type'], bigint>> = {
  file: 0o100000n,
  hardlink: 0o100000n,
  directory: 0o040000n,
  symlink: 0o120000n,
  fifo: 0o010000n,
};

/**
 * Looks at what was extracted: whatever tar said, everything must be there in its type and size.
 * @param complaints what tar said on stderr although it succeeded
 * @throws SnapferryError `INTERNAL` naming the first entry that is not as it should be
 */
export async function inspectTree(
  tree: string,
  entries: readonly Entry[],
  complaints: readonly string[],
): Promise<Inspection> {
  const count = { owner: 0, mode: 0, time: 0 };
  await inTurns(entries, (entry) => {
    const stats = lstatOrNull(pathBelow(tree, entry.path));
    const isThere = stats !== null && (stats.mode & 0o170000n) === typeBits[entry.type];
    if (!isThere || (entry.type === 'file' && stats.size !== BigInt(entry.size))) {
      const said = complaints.slice(0, 3).join('; ');
      throw new SnapferryError(
        'INTERNAL',
        `"${printablePath(entry.path)}" did not arrive in ${tree} although tar succeeded${said === '' ? '' : `: ${said}`}`,
      );
    }
    if (entry.type === 'hardlink') return;
    if (stats.uid !== BigInt(entry.uid) || stats.gid !== BigInt(entry.gid)) count.owner++;
    if (entry.type !== 'symlink' && (stats.mode & 0o7777n) !== BigInt(entry.mode)) count.mode++;
    if (stats.mtimeNs !== entry.mtimeNs) count.time++;
  });
  return summary(count, complaints);
}

const complaintsShownMax = 3;

function summary(count: { owner: number; mode: number; time: number }, complaints: readonly string[]): Inspection {
  const notApplied: NotApplied[] = [];
  const notices: string[] = [];
  if (count.owner > 0) {
    notApplied.push('owner');
    notices.push(`the owners of ${count.owner} files could not be applied: only root may give files away`);
  }
  if (count.mode > 0) {
    notApplied.push('mode');
    notices.push(`the modes of ${count.mode} files could not be applied in full without root`);
  }
  if (count.time > 0) notices.push(`the times of ${count.time} files could not be set exactly on this file system`);
  if (complaints.length > 0) {
    notApplied.push('xattrs');
    const shown = complaints.slice(0, complaintsShownMax).join('; ');
    notices.push(`${complaints.length} extended attributes or ACLs could not be set, the first being: ${shown}`);
  }
  return { notApplied, notices };
}

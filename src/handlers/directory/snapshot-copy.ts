import { accessSync, chmodSync, constants, readlinkSync } from 'node:fs';
import { geteuid } from 'node:process';
import { SnapferryError } from '../../errors.ts';
import { runCommand } from '../run-command.ts';
import type { ByteString } from './entry.ts';
import { printablePath, type NotApplied } from './manifest.ts';
import type { FileHasher } from './scan-hash.ts';
import { bytePath, checkSignal, lookAt, type Found } from './scan.ts';
import type { Item } from './snapshot-compare.ts';
import { unknownStamp } from './snapshot-index.ts';
import { removeAt } from './tree.ts';

/** Where files are copied from and to, and what is reported on the way. */
export interface CopyContext {
  /** The live directory, absolute. */
  readonly source: string;
  /** The tree being built, absolute. All directories are there already. */
  readonly target: string;
  readonly hasher: FileHasher;
  readonly signal: AbortSignal | undefined;
  /** Told when files were copied but not looked at again yet, with the number of those that are done. */
  readonly onCopied: (filesDone: number) => void;
  readonly notApplied: Set<NotApplied>;
  /** Could be looked at before, and then not read. */
  readonly unreadable: ByteString[];
  /** Was written to during every attempt; what the last attempt got is kept. */
  readonly unsettled: ByteString[];
  /** Became something else, e.g. a directory, while it was copied. */
  readonly replaced: ByteString[];
}

const attemptsMax = 5;
const batchFilesMax = 4096;
const batchBytesMax = 256 * 1024 * 1024;

/** Copies what changed, as often as it changes meanwhile, and writes what it learns into the items. */
export async function copyItems(items: readonly Item[], context: CopyContext): Promise<void> {
  let waiting = items;
  for (let attempt = 1; waiting.length > 0; attempt++) {
    waiting = await copyOnce(waiting, attempt >= attemptsMax, context);
  }
}

/** Copies one batch while the one before is hashed. @returns what has to be copied again */
async function copyOnce(items: readonly Item[], isLast: boolean, context: CopyContext): Promise<Item[]> {
  const again: Item[] = [];
  const batches = inBatches(items);
  let done = 0;
  let copying = copyBatch(batches[0] ?? [], context);
  for (const [index, batch] of batches.entries()) {
    const failure = await copying;
    checkSignal(context.signal);
    context.onCopied(done);
    const next = batches[index + 1];
    if (next !== undefined) copying = copyBatch(next, context);
    for (const item of batch) {
      if ((await checkCopy(item, isLast, failure, context)) === 'again') again.push(item);
    }
    done += batch.length;
  }
  return again;
}

function inBatches(items: readonly Item[]): Item[][] {
  const batches: Item[][] = [];
  let batch: Item[] = [];
  let bytes = 0;
  for (const item of items) {
    if (batch.length === 0) batches.push(batch);
    batch.push(item);
    bytes += item.found.size;
    if (batch.length >= batchFilesMax || bytes >= batchBytesMax) {
      batch = [];
      bytes = 0;
    }
  }
  return batches;
}

/**
 * One `cp` for many files: it shares extents where the file system can, keeps holes, attributes, ACLs and times.
 * Names go through its stdin, since they are bytes and Node's arguments are text.
 * @returns what `cp` complained about; whether that matters shows when the copies are looked at
 */
async function copyBatch(batch: readonly Item[], context: CopyContext): Promise<SnapferryError | null> {
  if (batch.length === 0) return null;
  const names = Buffer.from(batch.map((item) => `${item.path}\0`).join(''), 'latin1');
  const copy = ['cp', '--parents', '-a', '--reflink=auto', '-t', context.target, '--'];
  try {
    await runCommand({ argv: ['xargs', '-0', ...copy], cwd: context.source, stdin: names, signal: context.signal });
    return null;
  } catch (error) {
    if (error instanceof SnapferryError && error.code === 'SOURCE_FAILED') return error;
    throw error;
  }
}

async function checkCopy(
  item: Item,
  isLast: boolean,
  failure: SnapferryError | null,
  context: CopyContext,
): Promise<'done' | 'again'> {
  const live = lookAt(context.source, item.path);
  const copy = lookAt(context.target, item.path);
  if (live === null || live === 'other' || live.type !== item.type) {
    if (live !== null) context.replaced.push(item.path);
    return drop(item, context);
  }
  const isSettled = live.stamp === item.found.stamp;
  const isWhole = copy !== null && copy !== 'other' && copy.type === live.type && sameContentTime(copy, live);
  item.found = live;
  item.stamp = live.stamp;
  if (isSettled && isWhole) return take(item, copy, context);
  if (!isReadable(item, context)) {
    context.unreadable.push(item.path);
    return drop(item, context);
  }
  if (!isLast) {
    await removeAt(context.target, item.path);
    return 'again';
  }
  if (failure !== null) throw failure;
  // Five times in vain. A file that is merely busy is kept as it was copied last; a copy that is not even its owner's
  // may have come through a directory that was a symlink for a moment.
  if (isSettled || copy === null || copy === 'other' || copy.type !== live.type || !sameOwner(copy, live)) {
    context.unreadable.push(item.path);
    return drop(item, context);
  }
  context.unsettled.push(item.path);
  item.found = { ...live, size: copy.size, mtimeNs: copy.mtimeNs };
  item.stamp = unknownStamp;
  return take(item, copy, context);
}

function sameContentTime(copy: Found, live: Found): boolean {
  return copy.size === live.size && copy.mtimeNs === live.mtimeNs;
}

function sameOwner(copy: Found, live: Found): boolean {
  return geteuid?.() !== 0 || (copy.uid === live.uid && copy.gid === live.gid);
}

function isReadable(item: Item, context: CopyContext): boolean {
  if (item.type !== 'file') return true;
  try {
    accessSync(bytePath(context.source, item.path), constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

async function drop(item: Item, context: CopyContext): Promise<'done'> {
  item.isDropped = true;
  await removeAt(context.target, item.path);
  return 'done';
}

async function take(item: Item, copy: Found, context: CopyContext): Promise<'done'> {
  const path = bytePath(context.target, item.path);
  noteOwnership(copy, item.found, context.notApplied);
  if (item.type === 'symlink') item.target = readlinkSync(path, 'latin1');
  if (item.type !== 'file') return 'done';
  if ((copy.mode & 0o400) === 0 && geteuid?.() !== 0) chmodSync(path, copy.mode | 0o400);
  const { sha256, size } = await context.hasher.digest(path);
  if (size !== item.found.size) {
    const text = `the copy of ${printablePath(item.path)} has ${size} bytes instead of ${item.found.size}; is the disk sound?`;
    throw new SnapferryError('SOURCE_FAILED', text);
  }
  item.sha256 = sha256;
  return 'done';
}

/** Notes what of a file's owner and mode its copy lacks. */
export function noteOwnership(copy: Found, live: Found, notApplied: Set<NotApplied>): void {
  if (copy.uid !== live.uid || copy.gid !== live.gid) notApplied.add('owner');
  if (copy.mode !== live.mode) notApplied.add('mode');
}

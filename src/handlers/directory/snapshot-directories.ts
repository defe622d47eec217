import { chmodSync, lchownSync } from 'node:fs';
import { geteuid } from 'node:process';
import { SnapferryError } from '../../errors.ts';
import type { ByteString } from './entry.ts';
import { bytePath, lookAt, type Found } from './scan.ts';
import type { Item } from './snapshot-compare.ts';
import { noteOwnership, type CopyContext } from './snapshot-copy.ts';
import { unknownStamp } from './snapshot-index.ts';
import { copyDirectoryMetadata, setTime } from './tree.ts';

const attemptsMax = 5;

/**
 * Gives the directories of the tree that was built the metadata of the live ones: last of all, since whatever is done
 * inside a directory touches its times. One that vanished meanwhile keeps what the scan saw.
 * @param directories in path order
 */
export async function finishDirectories(directories: readonly Item[], context: CopyContext): Promise<void> {
  let waiting: Item[] = [];
  for (const item of directories) {
    if (item.found.isUnlistable) await applyByHand(item, context);
    else waiting.push(item);
  }
  let failure: SnapferryError | null = null;
  for (let attempt = 1; attempt <= attemptsMax && waiting.length > 0; attempt++) {
    failure = await tryCopyMetadata(waiting, context);
    const settled: Item[] = [];
    const again: Item[] = [];
    for (const item of waiting) {
      const verdict = await checkDirectory(item, context);
      if (verdict === 'again') again.push(item);
      if (verdict === 'done') settled.push(item);
    }
    // What `tar` stumbled over need not show in a time or mode: an attribute it could not read, say.
    waiting = failure !== null && again.length === 0 ? settled : again;
  }
  for (const item of waiting) {
    if (failure !== null && item.stamp === lookAgain(context.source, item)) throw failure;
    context.unsettled.push(item.path);
    item.stamp = unknownStamp;
    await applyByHand(item, context);
  }
}

async function tryCopyMetadata(items: readonly Item[], context: CopyContext): Promise<SnapferryError | null> {
  const paths = items.map((item) => item.path);
  try {
    await copyDirectoryMetadata(context.source, context.target, paths, context.signal);
    return null;
  } catch (error) {
    if (error instanceof SnapferryError && error.code === 'SOURCE_FAILED') return error;
    throw error;
  }
}

function lookAgain(root: string, item: Item): string | null {
  const live = lookAt(root, item.path);
  return live === null || live === 'other' ? null : live.stamp;
}

async function checkDirectory(item: Item, context: CopyContext): Promise<'done' | 'again' | 'vanished'> {
  const live = lookAt(context.source, item.path);
  const copy = requireDirectory(context.target, item.path);
  if (live === null || live === 'other' || live.type !== 'directory') {
    item.stamp = unknownStamp;
    await applyByHand(item, context);
    return 'vanished';
  }
  const isSettled = live.stamp === item.found.stamp;
  item.found = live;
  item.stamp = live.stamp;
  if (!isSettled || copy.mtimeNs !== live.mtimeNs) return 'again';
  settleOwnership(item, copy, context);
  return 'done';
}

/** A directory no `tar` can read: what `lstat` saw of it is all there is to keep. */
async function applyByHand(item: Item, context: CopyContext): Promise<void> {
  await setTime(context.target, item.path, item.found.mtimeNs);
  settleOwnership(item, requireDirectory(context.target, item.path), context);
}

/** Owner and mode as far as they may be given; whoever owns the store keeps access to everything in it. */
function settleOwnership(item: Item, copy: Found, context: CopyContext): void {
  const path = bytePath(context.target, item.path);
  const { uid, gid, mode } = item.found;
  if (copy.uid !== uid || copy.gid !== gid) {
    try {
      lchownSync(path, uid, gid);
    } catch {
      // Only root may; it is noted below.
    }
  }
  const wanted = geteuid?.() === 0 ? mode : mode | 0o700;
  if (requireDirectory(context.target, item.path).mode !== wanted) chmodSync(path, wanted);
  noteOwnership(requireDirectory(context.target, item.path), item.found, context.notApplied);
}

function requireDirectory(root: string, path: ByteString): Found {
  const found = lookAt(root, path);
  if (found !== null && found !== 'other' && found.type === 'directory') return found;
  throw new SnapferryError('INTERNAL', `the directory ${bytePath(root, path).toString()} being built has vanished`);
}

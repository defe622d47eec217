import { linkSync, mkdirSync, rmdirSync, unlinkSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import type { ByteString, Entry } from './entry.ts';
import { nextTurn, parentOf } from './manifest.ts';
import { bytePath, checkSignal } from './scan.ts';
import { isCopied, type Comparison, type Item } from './snapshot-compare.ts';
import { copyItems, type CopyContext } from './snapshot-copy.ts';
import { finishDirectories } from './snapshot-directories.ts';
import { copyTreeLinked, stripDirectories } from './tree.ts';

const namesPerTurn = 1000;

/**
 * Builds the tree of a snapshot at `context.target`, which does not exist yet: everything unchanged is linked from
 * `base`, everything else copied from the live tree.
 * @returns its entries in path order; the items tell the stamps
 */
export async function buildTree(
  comparison: Comparison,
  base: string | null,
  context: CopyContext,
): Promise<{ entries: Entry[]; stamps: string[] }> {
  const touched = new Set<ByteString>();
  if (base === null) await mkdir(context.target, { mode: 0o700 });
  else {
    await copyTreeLinked(base, context.target, context.signal);
    await clear(comparison, context, touched);
  }
  await makeDirectories(comparison.items, base, context, touched);
  const files = comparison.items.filter(isCopied);
  for (const item of files) touched.add(parentOf(item.path));
  await copyItems(files, context);
  await promoteLinks(comparison.items, context, touched);
  await makeLinks(comparison.items, context, touched);
  const directories = comparison.items.filter((item) => item.type === 'directory');
  await finishDirectories(
    directories.filter((item) => !item.isUnchanged || touched.has(item.path)),
    context,
  );
  return collect(comparison.items);
}

/** Removes from the linked tree what is no longer there or is to be replaced: nothing is ever written through a link. */
async function clear(comparison: Comparison, context: CopyContext, touched: Set<ByteString>): Promise<void> {
  const doomed: Pick<Entry, 'path' | 'type'>[] = [...comparison.removed];
  for (const item of comparison.items) {
    const before = item.before;
    if (before !== null && !item.isUnchanged && !(before.type === 'directory' && item.type === 'directory')) {
      doomed.push(before);
    }
  }
  doomed.sort((a, b) => (a.path < b.path ? 1 : -1));
  for (const [index, { path, type }] of doomed.entries()) {
    const bytes = bytePath(context.target, path);
    if (type === 'directory') rmdirSync(bytes);
    else unlinkSync(bytes);
    touched.add(parentOf(path));
    if (index % namesPerTurn === namesPerTurn - 1) await nextTurn();
  }
  checkSignal(context.signal);
}

async function makeDirectories(
  items: readonly Item[],
  base: string | null,
  context: CopyContext,
  touched: Set<ByteString>,
): Promise<void> {
  const changed = items.filter((item) => item.type === 'directory' && !item.isUnchanged);
  const isNew = (item: Item): boolean => base === null || item.previous === null;
  const kept = changed.filter((item) => !isNew(item)).map((item) => item.path);
  await stripDirectories(context.target, kept, context.signal);
  for (const path of kept) touched.add(parentOf(path));
  for (const item of changed) {
    if (!isNew(item) || item.path === '') continue;
    mkdirSync(bytePath(context.target, item.path), { mode: 0o700 });
    touched.add(parentOf(item.path));
  }
}

/** When the first name of a hard-linked file vanished meanwhile, the next one takes its place. */
async function promoteLinks(items: readonly Item[], context: CopyContext, touched: Set<ByteString>): Promise<void> {
  const byPath = new Map(items.map((item) => [item.path, item]));
  for (;;) {
    const promoted = new Map<ByteString, Item>();
    for (const item of items) {
      if (item.type !== 'hardlink' || item.isDropped || byPath.get(item.target ?? '')?.isDropped !== true) continue;
      const heir = promoted.get(item.target ?? '');
      item.isUnchanged = false;
      if (heir !== undefined) item.target = heir.path;
      else {
        promoted.set(item.target ?? '', item);
        touched.add(parentOf(item.path));
        item.type = 'file';
        item.target = null;
      }
    }
    if (promoted.size === 0) return;
    await copyItems([...promoted.values()], context);
  }
}

async function makeLinks(items: readonly Item[], context: CopyContext, touched: Set<ByteString>): Promise<void> {
  const links = items.filter((item) => item.type === 'hardlink' && !item.isUnchanged && !item.isDropped);
  for (const [index, item] of links.entries()) {
    linkSync(bytePath(context.target, item.target ?? ''), bytePath(context.target, item.path));
    touched.add(parentOf(item.path));
    if (index % namesPerTurn === namesPerTurn - 1) await nextTurn();
  }
}

function collect(items: readonly Item[]): { entries: Entry[]; stamps: string[] } {
  const entries: Entry[] = [];
  const stamps: string[] = [];
  const files = new Map<ByteString, { entry: Entry; item: Item }>();
  for (const item of items) {
    if (item.isDropped) continue;
    const file = item.type === 'hardlink' ? files.get(item.target ?? '') : undefined;
    const entry = toEntry(item, file?.entry);
    if (item.type === 'file') files.set(item.path, { entry, item });
    entries.push(entry);
    stamps.push(file?.item.stamp ?? item.stamp);
  }
  return { entries, stamps };
}

/** The previous entry itself where nothing changed: then nothing was read either. */
function toEntry(item: Item, file: Entry | undefined): Entry {
  const { found, previous } = item;
  const fresh: Entry = {
    path: item.path,
    type: item.type,
    mode: file?.mode ?? found.mode,
    uid: file?.uid ?? found.uid,
    gid: file?.gid ?? found.gid,
    mtimeNs: file?.mtimeNs ?? found.mtimeNs,
    size: item.type === 'file' ? found.size : 0,
    sha256: item.sha256,
    target: item.target,
    generation: item.generation,
  };
  if (previous === null) return fresh;
  if (item.isUnchanged && item.type !== 'directory') return previous;
  const isTouchedOnly = item.isUnchanged && item.type === 'directory' && sameMetadata(fresh, previous);
  return isTouchedOnly ? previous : fresh;
}

function sameMetadata(a: Entry, b: Entry): boolean {
  return a.mode === b.mode && a.uid === b.uid && a.gid === b.gid && a.mtimeNs === b.mtimeNs;
}

import { accessSync, constants, readlinkSync } from 'node:fs';
import type { ByteString, Entry } from './entry.ts';
import type { FileHasher } from './scan-hash.ts';
import { bytePath, type Found, type Scan } from './scan.ts';
import type { LiveIndex } from './snapshot-index.ts';

/** A name of the live tree on its way into a snapshot. What is learnt while it is copied is written into it. */
export interface Item {
  readonly path: ByteString;
  found: Found;
  type: Entry['type'];
  /** Path of a hardlink's first name, or where a symlink points (once it was copied). */
  target: ByteString | null;
  /** What the previous snapshot has at this path. */
  readonly before: Entry | null;
  /** The same if it has the same type, else null. */
  readonly previous: Entry | null;
  /** Whether the previous snapshot's file, or directory, will do. */
  isUnchanged: boolean;
  generation: number;
  sha256: string | null;
  /** Its stamp in the live index. */
  stamp: string;
  /** Gone or unreadable: not part of the snapshot. */
  isDropped: boolean;
}

/** Whether a name's content has to be copied; directories are made and hardlinks linked. */
export function isCopied(item: Item): boolean {
  return !item.isUnchanged && !item.isDropped && item.type !== 'directory' && item.type !== 'hardlink';
}

/** How the live tree differs from the newest snapshot. */
export interface Comparison {
  /** Everything that is to be in the snapshot, in path order. */
  readonly items: readonly Item[];
  /** What the previous snapshot has and this one has not, in path order. */
  readonly removed: readonly Entry[];
  /** Files that may not be read. */
  readonly unreadable: readonly ByteString[];
  /** Whether files changed so recently that they had to be read again, so that a new index would save that. */
  readonly isIndexStale: boolean;
}

/** A change within one tick of the clock leaves no trace in the ctime: what is younger than this is read again. */
const racyNs = 2_000_000_000n;

/**
 * Compares a scan with the newest snapshot. Reads (hashes) only files whose inode or ctime moved though all else is
 * equal, and such as were changed just before the last scan.
 */
export async function compareWithPrevious(
  root: string,
  scan: Scan,
  previous: { readonly entries: readonly Entry[]; readonly index: LiveIndex | null } | null,
  hasher: FileHasher,
): Promise<Comparison> {
  const comparer = new Comparer(root, previous?.index ?? null, hasher);
  const items: Item[] = [];
  const removed: Entry[] = [];
  const old = previous?.entries ?? [];
  let position = 0;
  for (const found of scan.files) {
    let before = old[position];
    while (before !== undefined && before.path < found.path) {
      removed.push(before);
      before = old[++position];
    }
    const isKnown = before?.path === found.path;
    const item = await comparer.compare(found, isKnown ? (before ?? null) : null, position);
    if (isKnown) position++;
    if (item !== null) items.push(item);
    else if (isKnown && before !== undefined) removed.push(before);
  }
  removed.push(...old.slice(position));
  const { unreadable, isIndexStale } = comparer;
  return { items, removed, unreadable, isIndexStale };
}

class Comparer {
  readonly unreadable: ByteString[] = [];
  isIndexStale = false;
  readonly #root: string;
  readonly #index: LiveIndex | null;
  readonly #hasher: FileHasher;
  /** First names of the files that have several, by link key. */
  readonly #firstNames = new Map<string, Item>();

  constructor(root: string, index: LiveIndex | null, hasher: FileHasher) {
    this.#root = root;
    this.#index = index;
    this.#hasher = hasher;
  }

  async compare(found: Found, before: Entry | null, position: number): Promise<Item | null> {
    const first = found.linkKey === null ? undefined : this.#firstNames.get(found.linkKey);
    const type = first === undefined ? found.type : 'hardlink';
    const previous = before?.type === type ? before : null;
    const item: Item = {
      path: found.path,
      found,
      type,
      target: first?.path ?? null,
      before,
      previous,
      isUnchanged: false,
      generation: previous === null ? 0 : previous.generation + 1,
      sha256: null,
      stamp: found.stamp,
      isDropped: false,
    };
    if (first !== undefined) {
      item.isUnchanged = first.isUnchanged && previous?.target === first.path && sameVisibly(found, previous);
      return item;
    }
    try {
      item.isUnchanged = previous !== null && (await this.#isUnchanged(found, previous, position));
      if (!item.isUnchanged && type === 'file') accessSync(bytePath(this.#root, found.path), constants.R_OK);
    } catch (error) {
      if (!(error instanceof Error && 'syscall' in error)) throw error;
      this.unreadable.push(found.path);
      return null;
    }
    if (found.linkKey !== null) this.#firstNames.set(found.linkKey, item);
    return item;
  }

  async #isUnchanged(found: Found, previous: Entry, position: number): Promise<boolean> {
    if (!sameVisibly(found, previous)) return false;
    const index = this.#index;
    const isUntouched = index?.stamps[position] === found.stamp;
    const isRacy = index === null || found.ctimeNs >= index.scannedNs - racyNs;
    if (isUntouched && !isRacy) return true;
    // Touched though it looks the same: extended attributes or ACLs. Unless there is nothing to tell it by.
    if (index !== null && !isUntouched) return false;
    if (found.type === 'file' || found.type === 'symlink') this.isIndexStale = true;
    return this.#hasSameContent(found, previous);
  }

  async #hasSameContent(found: Found, previous: Entry): Promise<boolean> {
    const path = bytePath(this.#root, found.path);
    if (found.type === 'symlink') return readlinkSync(path, 'latin1') === previous.target;
    return found.type !== 'file' || (await this.#hasher.digest(path)).sha256 === previous.sha256;
  }
}

function sameVisibly(found: Found, entry: Entry): boolean {
  const size = entry.type === 'hardlink' ? found.size : entry.size;
  return (
    found.mtimeNs === entry.mtimeNs &&
    found.size === size &&
    found.mode === entry.mode &&
    found.uid === entry.uid &&
    found.gid === entry.gid
  );
}

import { SnapferryError } from '../../errors.ts';
import { entryFault, printablePath } from './entry-line.ts';
import type { ByteString, Entry } from './entry.ts';

/** What leads from one list of entries to another. */
export interface Delta {
  /** Paths that are no longer there, ascending. A path that only changed its type is in `put`. */
  readonly removed: readonly ByteString[];
  /**
   * Entries that are new or differ in any field, ascending. With a file comes every hardlink to it, changed or not,
   * for it must be linked anew.
   */
  readonly put: readonly Entry[];
}

/** The path of the directory that holds `path`; the root is the empty string. */
export function parentOf(path: ByteString): ByteString {
  const slash = path.lastIndexOf('/');
  return slash < 0 ? '' : path.slice(0, slash);
}

/**
 * Refuses a list of entries that is not a whole tree or could reach out of one: every entry sound in itself, the root
 * first, strictly ascending by bytes, every parent a `directory` entry, every hardlink to a `file` entry before it
 * with the same mode, owner and time.
 * @throws SnapferryError `PROTOCOL_VIOLATION` naming the first offender
 */
export function checkTree(entries: readonly Entry[]): void {
  const seen = new Map<ByteString, Entry>();
  let previous: ByteString | null = null;
  for (const entry of entries) {
    const fault = entryFault(entry) ?? placeFault(entry, previous, seen);
    if (fault !== null) throw violation(entry.path, fault);
    seen.set(entry.path, entry);
    previous = entry.path;
  }
  if (previous === null) throw new SnapferryError('PROTOCOL_VIOLATION', 'the list of entries is empty');
}

function violation(path: ByteString, fault: string): SnapferryError {
  return new SnapferryError('PROTOCOL_VIOLATION', `entry "${printablePath(path)}" of the file list ${fault}`);
}

function placeFault(entry: Entry, previous: ByteString | null, seen: ReadonlyMap<ByteString, Entry>): string | null {
  if (previous === null) {
    return entry.path === '' && entry.type === 'directory' ? null : 'comes where the root directory should';
  }
  if (entry.path <= previous) return 'is out of order or there twice';
  if (seen.get(parentOf(entry.path))?.type !== 'directory') return 'lies in something that is not a directory';
  if (entry.type !== 'hardlink') return null;
  const file = seen.get(entry.target ?? '');
  if (file?.type !== 'file') return 'is a hard link to something that is not an earlier file';
  const isSame =
    file.mode === entry.mode && file.uid === entry.uid && file.gid === entry.gid && file.mtimeNs === entry.mtimeNs;
  return isSame ? null : 'is a hard link that differs from its file';
}

/** Whether two entries agree in every field. */
export function sameEntry(a: Entry, b: Entry): boolean {
  return (
    a.path === b.path &&
    a.type === b.type &&
    a.mode === b.mode &&
    a.uid === b.uid &&
    a.gid === b.gid &&
    a.mtimeNs === b.mtimeNs &&
    a.size === b.size &&
    a.sha256 === b.sha256 &&
    a.target === b.target &&
    a.generation === b.generation
  );
}

/** What leads from one checked list to another; from nothing when `from` is null. Pure and deterministic. */
export function diffEntries(from: readonly Entry[] | null, to: readonly Entry[]): Delta {
  const removed: ByteString[] = [];
  const put: Entry[] = [];
  const filesPut = new Set<ByteString>();
  const old = from ?? [];
  let index = 0;
  for (const entry of to) {
    let before = old[index];
    while (before !== undefined && before.path < entry.path) {
      removed.push(before.path);
      before = old[++index];
    }
    const isKnown = before?.path === entry.path;
    if (isKnown) index++;
    const isLinkAnew = entry.type === 'hardlink' && filesPut.has(entry.target ?? '');
    if (isKnown && before !== undefined && !isLinkAnew && sameEntry(before, entry)) continue;
    put.push(entry);
    if (entry.type === 'file') filesPut.add(entry.path);
  }
  for (; index < old.length; index++) removed.push(old[index]?.path ?? '');
  return { removed, put };
}

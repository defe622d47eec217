import { SnapferryError } from '../../errors.ts';
import type { ByteString, Entry } from './entry.ts';
import { parentOf, pathFault, printablePath, toByteString } from './manifest.ts';

/** Which entries of a snapshot to restore, and as what. */
export interface Selection {
  /** What is to be there in the end, in path order: what was selected and the directories above it. */
  readonly entries: readonly Entry[];
  /**
   * What to make of an entry of the stream: itself, something in its place, or nothing. When the first name of a file
   * with hard links is not selected but another is, the content goes to that.
   */
  place(entry: Entry): Entry | null;
}

const namesShownMax = 5;

/**
 * Selects files and subtrees of a snapshot. Pure.
 * @param paths relative to the snapshot; everything when absent or when one is `.`
 * @throws SnapferryError `INVALID_REQUEST` for paths that are not in the snapshot
 */
export function selectEntries(all: readonly Entry[], paths: readonly string[] | undefined): Selection {
  const roots = (paths ?? ['.']).map(normalised);
  if (roots.includes('')) return { entries: all, place: (entry) => entry };
  const known = new Set(all.map(({ path }) => path));
  const unknown = roots.filter((root) => !known.has(root));
  if (unknown.length > 0) {
    const shown = unknown.slice(0, namesShownMax).map((path) => `"${printablePath(path)}"`);
    const text = `not in the snapshot: ${shown.join(', ')}${unknown.length > shown.length ? ', …' : ''}`;
    throw new SnapferryError('INVALID_REQUEST', `${text}; nothing was restored`);
  }
  return selectBelow(all, new Set(roots));
}

function normalised(text: string): ByteString {
  const path = toByteString(text.replace(/^(\.\/+)+/, '').replace(/\/+$/, ''));
  if (path === '.' || path === '') return text.startsWith('/') ? refuse(text, 'is absolute') : '';
  const fault = pathFault(path);
  return fault === null ? path : refuse(text, fault);
}

function refuse(text: string, why: string): never {
  throw new SnapferryError(
    'INVALID_REQUEST',
    `the path ${JSON.stringify(text)} ${why}; give paths relative to the snapshot, as in "docs/letter.txt"`,
  );
}

function selectBelow(all: readonly Entry[], roots: ReadonlySet<ByteString>): Selection {
  const chosen = new Set<ByteString>();
  const directories = new Set<ByteString>(['']);
  // Where the content of a file goes: to its own name, or to the first of its other names that is selected.
  const contents = new Map<ByteString, ByteString>();
  for (const { path, type, target } of all) {
    if (!roots.has(path) && !chosen.has(parentOf(path))) continue;
    chosen.add(path);
    for (let above = parentOf(path); !directories.has(above); above = parentOf(above)) directories.add(above);
    const file = type === 'hardlink' ? (target ?? '') : path;
    if ((type === 'file' || type === 'hardlink') && !contents.has(file)) contents.set(file, path);
  }
  const place = (entry: Entry): Entry | null => {
    if (entry.type === 'file') {
      const path = contents.get(entry.path);
      return path === undefined ? null : { ...entry, path };
    }
    if (entry.type === 'directory' && directories.has(entry.path)) return entry;
    if (!chosen.has(entry.path)) return null;
    if (entry.type !== 'hardlink') return entry;
    const first = contents.get(entry.target ?? '') ?? entry.path;
    return first === entry.path ? null : { ...entry, target: first };
  };
  const entries = all.flatMap((entry) => place(entry) ?? []);
  return { entries: entries.sort((a, b) => (a.path < b.path ? -1 : 1)), place };
}

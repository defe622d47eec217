import { checkDatasetPath, formatDatasetPath } from './dataset.ts';
import type { DatasetPath } from './dataset.ts';
import { SnapferryError } from './errors.ts';

/** One positive pattern of a filter: where datasets that match may be found. */
export interface FilterRoot {
  /** Empty for the pattern `<`, which stands for every dataset there is. */
  readonly path: DatasetPath;
  /** Whether the pattern covers what is below, too. */
  readonly isSubtree: boolean;
}

/** Says which datasets are meant. Made by {@link parseDatasetFilter}. */
export interface DatasetFilter {
  /** Whether the dataset is meant. A path that is no dataset's never is. Never throws. */
  readonly matches: (filesystem: DatasetPath) => boolean;
  /** The positive patterns, as written: nothing outside them can match. */
  readonly roots: readonly FilterRoot[];
}

const subtreeMark = '<';

/**
 * Reads a filter in zrepl's syntax. `tank/home` means that dataset alone, `tank<` means `tank` and all below it, `<` means
 * everything. Of the patterns that match a dataset the most specific decides: one without `<` before one with it, a longer one before
 * a shorter. What nothing matches is not meant.
 * @throws SnapferryError `INVALID_REQUEST` naming the pattern that cannot be read, or is there twice
 */
export function parseDatasetFilter(
  rules: Readonly<Record<string, boolean>> | Iterable<readonly [pattern: string, isMeant: boolean]>,
): DatasetFilter {
  const exact = new Map<string, boolean>();
  const subtrees = new Map<string, boolean>();
  const roots: FilterRoot[] = [];
  for (const [pattern, isMeant] of Symbol.iterator in rules ? rules : Object.entries(rules)) {
    const root = parsePattern(pattern);
    const rulesOfKind = root.isSubtree ? subtrees : exact;
    const key = formatDatasetPath(root.path);
    if (rulesOfKind.has(key)) throw unreadable(pattern, 'is there twice');
    rulesOfKind.set(key, isMeant);
    if (isMeant) roots.push(root);
  }
  return { roots, matches: (filesystem) => isSound(filesystem) && decide(filesystem, exact, subtrees) };
}

/**
 * What a pattern of a filter stands for.
 * @throws SnapferryError `INVALID_REQUEST` naming the pattern
 */
export function parsePattern(pattern: string): FilterRoot {
  const mark = pattern.indexOf(subtreeMark);
  const isSubtree = mark >= 0;
  if (isSubtree && mark !== pattern.length - 1) throw unreadable(pattern, 'has a "<" that is not at its end');
  const name = isSubtree ? pattern.slice(0, -1) : pattern;
  if (name === '') {
    if (isSubtree) return { path: [], isSubtree };
    throw unreadable(pattern, 'is empty; "<" means every dataset');
  }
  if (name.startsWith('/')) throw unreadable(pattern, 'begins with a slash; dataset names do not');
  if (name.endsWith('/')) {
    throw unreadable(pattern, `has a slash at its end; "${name.slice(0, -1)}<" means it and all below`);
  }
  const path = name.split('/');
  try {
    checkDatasetPath(path);
  } catch (error) {
    throw unreadable(pattern, `names no dataset: ${(error as Error).message}`, error);
  }
  return { path, isSubtree };
}

function decide(
  filesystem: DatasetPath,
  exact: ReadonlyMap<string, boolean>,
  subtrees: ReadonlyMap<string, boolean>,
): boolean {
  const itself = exact.get(formatDatasetPath(filesystem));
  if (itself !== undefined) return itself;
  for (let length = filesystem.length; length >= 0; length -= 1) {
    const covering = subtrees.get(formatDatasetPath(filesystem.slice(0, length)));
    if (covering !== undefined) return covering;
  }
  return false;
}

/** A slash inside a component would make one path look like another. */
function isSound(filesystem: DatasetPath): boolean {
  return filesystem.length > 0 && filesystem.every((component) => component !== '' && !component.includes('/'));
}

function unreadable(pattern: string, why: string, cause?: unknown): SnapferryError {
  return new SnapferryError('INVALID_REQUEST', `the pattern ${JSON.stringify(pattern)} ${why}`, { cause });
}

import type { DatasetSelection } from './dataset-selection.ts';

/** No dataset is called so; it stands for any child that no pattern names. */
const anyChild = '\u0001';

/**
 * A dataset that both selections may mean, or null if there is none. Looks at every place a pattern of either names, and just below
 * it: between these nothing changes.
 */
export function selectionOverlap(one: DatasetSelection, other: DatasetSelection): readonly string[] | null {
  const places = [...one.filter.roots, ...other.filter.roots].map(({ path }) => path);
  for (const place of places) {
    for (const candidate of [place, [...place, anyChild]]) {
      if (one.filter.matches(candidate) && other.filter.matches(candidate)) return place;
    }
  }
  return null;
}

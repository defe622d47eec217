import type { GridBucket } from '../snapshot-grid.ts';

/** Where a snapshot falls in a grid. */
export type GridPlace =
  /** Nobody knows when it was made. */
  | { readonly kind: 'unknown' }
  /** Older than the oldest interval. */
  | { readonly kind: 'beyond' }
  /** The newest: the grid hangs on it, so it is kept even if its interval is full. */
  | { readonly kind: 'newest' }
  | {
      readonly kind: 'inside';
      readonly bucket: GridBucket;
      /** From 1, the youngest. */
      readonly number: number;
      /** Index of the newest snapshot that the interval keeps instead; null: it is kept itself. */
      readonly keptInstead: number | null;
    };

/**
 * Lays times into a grid as zrepl does. The first interval begins at the newest time, so a dataset of which no snapshots are made any
 * more does not lose those it has. An interval reaches from its newer edge, which belongs to it, to its older one, which belongs to
 * the next. Each keeps its oldest. More than zrepl, it keeps the newest of all: without it, the
 * grid would slide towards the past with each run, and thin out again what it had kept.
 * @param times in ms since 1970, never falling; null where unknown
 * @returns one place a time
 */
export function sieve(buckets: readonly GridBucket[], times: readonly (number | null)[]): GridPlace[] {
  const newestIndex = times.findLastIndex((time) => time !== null);
  const newest = times[newestIndex] ?? 0;
  const ends = olderEdges(buckets);
  const kept: number[][] = [];
  return times.map((time, index): GridPlace => {
    if (time === null) return { kind: 'unknown' };
    const place = firstBeyond(ends, newest - time);
    const bucket = buckets[place];
    if (bucket === undefined) return { kind: 'beyond' };
    const keptHere = (kept[place] ??= []);
    const hasRoom = bucket.keep === 'all' || keptHere.length < bucket.keep;
    if (hasRoom) keptHere.push(index);
    else if (index === newestIndex) return { kind: 'newest' };
    return { kind: 'inside', bucket, number: place + 1, keptInstead: hasRoom ? null : (keptHere.at(-1) ?? null) };
  });
}

/** For each interval how far before the newest time it ends, in ms. */
function olderEdges(buckets: readonly GridBucket[]): number[] {
  let end = 0;
  return buckets.map(({ durationMs }) => (end += durationMs));
}

/** Index of the first of `ends` that is over `distance`. */
function firstBeyond(ends: readonly number[], distance: number): number {
  let [low, high] = [0, ends.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((ends[middle] ?? Infinity) > distance) high = middle;
    else low = middle + 1;
  }
  return low;
}

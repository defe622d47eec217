import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { sieve } from '../../src/retention/grid-sieve.ts';
import { parseGrid } from '../../src/snapshot-grid.ts';

const hour = 3_600_000;

function keptOf(grid: string, times: readonly (number | null)[]): number[] {
  return sieve(parseGrid(grid), times).flatMap((place, index) =>
    place.kind === 'beyond' || (place.kind === 'inside' && place.keptInstead !== null) ? [] : [index],
  );
}

/** The same as zrepl's documentation describes it, bucket by bucket, and besides the newest. */
function keptByBook(grid: string, times: readonly number[]): number[] {
  const kept: number[] = [];
  let newerEdge = Math.max(...times);
  for (const { durationMs, keep } of parseGrid(grid)) {
    const olderEdge = newerEdge - durationMs;
    const inside = times.flatMap((time, index) => (time <= newerEdge && time > olderEdge ? [index] : []));
    kept.push(...inside.slice(0, keep === 'all' ? undefined : keep));
    newerEdge = olderEdge;
  }
  return [...new Set([...kept, times.length - 1])].sort((a, b) => a - b);
}

describe('the sieve', () => {
  test('thins out as the example in the documentation of zrepl does', () => {
    // Snapshots a to z, then A to D, oldest last, about eighteen minutes apart; which interval each falls in is given there.
    const intervals: [string, number, number][] = [
      ['abc', 0, 1],
      ['defghij', 1, 3],
      ['klmnop', 3, 5],
      ['qrstuvwxyz', 5, 8],
      ['ABCD', 8, 9],
    ];
    const ages = intervals.flatMap(([names, from, to]) =>
      Array.from(names, (name, index) => ({ name, age: from + ((to - from) * index) / names.length })),
    );
    const oldestFirst = ages.toReversed();
    const kept = keptOf(
      '1x1h(keep=all) | 2x2h | 1x3h',
      oldestFirst.map(({ age }) => Math.round(-age * hour)),
    );
    expect(
      kept
        .map((index) => oldestFirst[index]!.name)
        .reverse()
        .join(''),
    ).toBe('abcjpz');
  });

  test('puts a time on an edge into the older interval', () => {
    expect(keptOf('2x1h', [-hour, 0])).toEqual([0, 1]);
    expect(keptOf('2x1h', [-hour + 1, -1, 0])).toEqual([0, 2]);
    expect(keptOf('1x1h', [-hour, 0])).toEqual([1]);
  });

  test('begins at the newest time, however long ago that is', () => {
    const long = -1000 * 24 * hour;
    expect(keptOf('3x1h', [long - 2 * hour, long - hour, long])).toEqual([0, 1, 2]);
  });

  test('keeps the oldest of an interval, and names the one that is in the way', () => {
    const places = sieve(parseGrid('1x1h(keep=2) | 1x2h'), [-50 * 60_000, -40 * 60_000, -30 * 60_000, 0]);
    expect(places.map((place) => (place.kind === 'inside' ? place.keptInstead : place.kind))).toEqual([
      null,
      null,
      1,
      'newest',
    ]);
  });

  test('keeps what it hangs on, so that it does not slide from run to run', () => {
    let times = Array.from({ length: 100 }, (_, index) => (index * hour) / 6);
    const runs = Array.from({ length: 3 }, () => (times = keptOf('30x1h', times).map((index) => times[index]!)));
    expect(runs[1]).toEqual(runs[0]);
    expect(runs[2]).toEqual(runs[0]);
    expect(runs[0]!.length).toBe(18);
  });

  test('keeps what has no known time, and does not count from it', () => {
    expect(keptOf('1x1h', [null, -2 * hour, 0, null])).toEqual([0, 2, 3]);
    expect(keptOf('1x1h', [null, null])).toEqual([0, 1]);
    expect(keptOf('1x1h', [])).toEqual([]);
  });

  test('does what the book says', () => {
    const grids = ['1x1h', '1x1h(keep=all) | 24x1h | 14x1d', '3x30m(keep=2) | 4x2h', '1x1d(keep=all) | 10x3h(keep=3)'];
    fc.assert(
      fc.property(
        fc.constantFrom(...grids),
        fc.array(fc.integer({ min: 0, max: 20 * 24 * 12 }), { minLength: 1, maxLength: 200 }),
        (grid, twelfths) => {
          // Of five minutes, so that many are on edges and many are equal.
          const times = twelfths.map((count) => count * 300_000).sort((a, b) => a - b);
          expect(keptOf(grid, times)).toEqual(keptByBook(grid, times));
        },
      ),
    );
  });
});

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SnapferryError } from '../src/errors.ts';
import { parseGrid, spellGrid, type GridBucket } from '../src/snapshot-grid.ts';

const hour = 3_600_000;
const day = 24 * hour;

function refusal(text: string): string {
  try {
    parseGrid(text);
  } catch (error) {
    if (error instanceof SnapferryError && error.code === 'INVALID_REQUEST') return error.message;
    throw error;
  }
  throw new Error(`${text} was taken`);
}

describe('a grid', () => {
  test('is a list of intervals, youngest first', () => {
    const grid = parseGrid('1x1h(keep=all) | 2x1h | 1x1d(keep=3)|1 x 30d ( keep = 2 )');
    expect(grid).toEqual([
      { durationMs: hour, keep: 'all' },
      { durationMs: hour, keep: 1 },
      { durationMs: hour, keep: 1 },
      { durationMs: day, keep: 3 },
      { durationMs: 30 * day, keep: 2 },
    ]);
  });

  test('may begin with longer intervals that keep everything', () => {
    expect(parseGrid('1x1d(keep=all) | 24x1h').length).toBe(25);
    expect(refusal('1x1d(keep=all) | 24x2h | 4x1h')).toContain('column 26: an interval of 1h stands behind one of 2h');
  });

  test.each([
    ['', 1, 'an interval is missing'],
    ['24x1h |', 8, 'an interval is missing'],
    ['| 24x1h', 1, 'an interval is missing'],
    ['24x1h || 7x1d', 8, 'an interval is missing'],
    ['x1h', 1, 'how often the interval repeats'],
    ['24x1h | 1d', 10, 'expected "x" after 1'],
    ['24 1h', 4, 'expected "x" after 24'],
    ['24x', 4, 'the length of the interval'],
    ['24x(keep=1)', 4, 'the length of the interval'],
    ['24x1', 4, 'has no unit'],
    ['24x1M', 4, 'minutes or months'],
    ['0x1h', 1, 'cannot be repeated 0 times'],
    ['-1x1h', 1, 'how often the interval repeats'],
    ['100001x1h', 1, 'more than 100000'],
    ['60000x1h | 60000x1h', 11, 'over 100000 intervals'],
    ['1x1h(all)', 6, 'expected "keep="'],
    ['1x1h(keep=)', 11, 'how many to keep'],
    ['1x1h(keep=0)', 11, 'keeps 0'],
    ['1x1h(keep=-1)', 11, 'neither a number nor "all"'],
    ['1x1h(keep=some)', 11, 'neither a number nor "all"'],
    ['1x1h(keep=1000001)', 11, 'write "all"'],
    ['1x1h(keep=all', 14, 'expected ")"'],
    ['1x1h(keep=all, x=1)', 11, 'neither a number nor "all"'],
    ['1x1h(keep=all) 24x1h', 16, 'expected "|"'],
    ['14x1d | 24x1h', 9, 'an interval of 1h stands behind one of 1d'],
  ])('%j is refused at column %i', (text, column, why) => {
    const message = refusal(text);
    expect(message).toContain(`column ${column}: `);
    expect(message).toContain(why);
  });

  test('is written as it is read', () => {
    const bucket = fc.record<GridBucket>({
      durationMs: fc.constantFrom(hour, 36 * hour, day, 30 * day),
      keep: fc.oneof(fc.constant('all' as const), fc.integer({ min: 1, max: 5 })),
    });
    fc.assert(
      fc.property(fc.array(bucket, { minLength: 1, maxLength: 20 }), (buckets) => {
        const grown = buckets.toSorted((a, b) => a.durationMs - b.durationMs);
        expect(parseGrid(spellGrid(grown))).toEqual(grown);
      }),
    );
    expect(spellGrid(parseGrid('1x1h(keep=all)|20x1h|4x1h|14x1d'))).toBe('1x1h(keep=all) | 24x1h | 14x1d');
  });

  test('any text is read or refused with a column', () => {
    const alphabet = Array.from('0123 xhdkep=al()|');
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...alphabet) }), (text) => {
        try {
          expect(parseGrid(text).length).toBeGreaterThan(0);
        } catch (error) {
          expect((error as SnapferryError).code).toBe('INVALID_REQUEST');
          expect((error as SnapferryError).message).toMatch(/, column \d+: /);
        }
      }),
    );
  });
});

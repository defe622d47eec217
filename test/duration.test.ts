import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { durationMsMax, spellDuration, parseDuration } from '../src/duration.ts';
import { SnapferryError } from '../src/errors.ts';

const alphabet = Array.from('0123456789.,-+ wdhmsM');

function refusal(text: string): string {
  try {
    parseDuration(text);
  } catch (error) {
    if (error instanceof SnapferryError && error.code === 'INVALID_REQUEST') return error.message;
    throw error;
  }
  throw new Error(`${text} was taken`);
}

describe('a duration', () => {
  test.each([
    ['1ms', 1],
    ['90s', 90_000],
    ['10m', 600_000],
    ['1h', 3_600_000],
    ['1h30m', 5_400_000],
    ['1d', 86_400_000],
    ['1w', 604_800_000],
    [' 14 d ', 1_209_600_000],
    ['1w2d3h4m5s6ms', 604_800_000 + 2 * 86_400_000 + 3 * 3_600_000 + 4 * 60_000 + 5006],
    ['365000d', durationMsMax],
  ])('%j', (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });

  test.each([
    ['', 'is empty'],
    ['  ', 'is empty'],
    ['10', 'has no unit after 10'],
    ['h', 'does not begin with a number'],
    ['-1h', 'does not begin with a number'],
    ['+1h', 'does not begin with a number'],
    ['1.5h', 'fraction'],
    ['1,5h', 'fraction'],
    ['1M', 'minutes or months'],
    ['1month', 'months differ'],
    ['2y', 'years differ'],
    ['1H', 'lower case: "h"'],
    ['1fortnight', 'unknown unit "fortnight"'],
    ['30m1h', 'out of order'],
    ['1h1h', 'out of order'],
    ['1h-5m', 'unknown unit "h-"'],
    ['0s', 'is zero'],
    ['0h0m', 'is zero'],
    ['365001d', 'a thousand years'],
    ['99999999999999999999999w', 'a thousand years'],
    ['1h 30', 'has no unit after 30'],
  ])('%j is refused', (text, why) => {
    const message = refusal(text);
    expect(message).toContain(why);
    expect(message).toContain(`duration ${JSON.stringify(text)}`);
    expect(message).toContain('write for example');
  });

  test('is written as it is read', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: durationMsMax }), (ms) => {
        expect(parseDuration(spellDuration(ms))).toBe(ms);
      }),
    );
    expect(spellDuration(0)).toBe('0s');
    expect(spellDuration(14 * 86_400_000)).toBe('2w');
    expect(spellDuration(5_400_000)).toBe('1h30m');
  });

  test('any text is read or refused with a reason', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...alphabet) }), (text) => {
        try {
          expect(parseDuration(text)).toBeGreaterThan(0);
        } catch (error) {
          expect(error).toBeInstanceOf(SnapferryError);
        }
      }),
    );
  });
});

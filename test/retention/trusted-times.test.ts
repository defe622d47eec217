import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseTime, trustedTimes } from '../../src/retention/trusted-times.ts';
import type { StoredVersion } from '../../src/snapshot-destroyer.ts';
import { ownSnapshot, receivedSnapshot } from './memory-destroyer.ts';

const now = Date.parse('2027-06-01T00:00:00Z');
const hour = 3_600_000;
const far = Date.parse('2099-01-01T00:00:00Z');
const long = Date.parse('1970-01-02T00:00:00Z');

/** Hours before now. */
function hours(versions: readonly StoredVersion[]): (number | null)[] {
  return trustedTimes(versions, now).map(({ atMs }) => (atMs === null ? null : (now - atMs) / hour));
}

const own = (...times: (number | null)[]): StoredVersion[] => times.map((time) => ownSnapshot('s', time));

describe('times of what was made here', () => {
  test('are what the clock said', () => {
    expect(hours(own(now - 3 * hour, now - 2 * hour, now - 2 * hour, now))).toEqual([3, 2, 2, 0]);
  });

  test('a clock that was ahead for a moment', () => {
    expect(hours(own(now - 4 * hour, far, now - 2 * hour, now - hour))).toEqual([4, 3, 2, 1]);
  });

  test('a clock that had stopped for a while', () => {
    expect(hours(own(now - 5 * hour, long, long, now - 2 * hour, now - hour))).toEqual([5, 4, 3, 2, 1]);
  });

  test('a clock that is ahead until the end: nobody knows', () => {
    expect(hours(own(now - 4 * hour, now - 3 * hour, far, far + hour))).toEqual([4, 3, null, null]);
  });

  test('a clock that was ahead from the beginning: nobody knows', () => {
    expect(hours(own(far, far + hour, now - 2 * hour, now - hour))).toEqual([null, null, 2, 1]);
  });

  test('a clock that is behind now: nothing is known of what seems to lie ahead', () => {
    expect(trustedTimes(own(now - hour, now), long).map(({ atMs }) => atMs)).toEqual([null, null]);
  });

  test('no time at all', () => {
    expect(hours(own(now - 4 * hour, null, now - 2 * hour))).toEqual([4, 3, 2]);
    expect(hours(own(null))).toEqual([null]);
    expect(hours([])).toEqual([]);
  });

  test('never fall, and are the clock’s as long as it never does', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -1000, max: 100 })), (offsets) => {
        const times = trustedTimes(own(...offsets.map((offset) => now + offset * hour)), now).map(({ atMs }) => atMs);
        const known = times.filter((ms) => ms !== null);
        expect(known).toEqual(known.toSorted((a, b) => a - b));
        expect(known.every((ms) => ms <= now)).toBe(true);
        const isSound = offsets.every((offset, index) => offset <= 0 && offset >= (offsets[index - 1] ?? -Infinity));
        if (isSound) expect(times).toEqual(offsets.map((offset) => now + offset * hour));
      }),
    );
  });

  test('as few records as possible are set aside', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 9 }), (digits) => {
        const times = trustedTimes(own(...digits.map((digit) => now - (9 - digit) * hour)), now);
        const believed = times.filter(({ atMs }, index) => atMs === now - (9 - digits[index]!) * hour).length;
        let best = 0;
        for (let mask = 1; mask < 2 ** digits.length; mask++) {
          const run = digits.filter((_, index) => (mask & (2 ** index)) !== 0);
          if (run.every((digit, index) => digit >= (run[index - 1] ?? 0))) best = Math.max(best, run.length);
        }
        expect(believed).toBeGreaterThanOrEqual(best);
      }),
    );
  });
});

describe('times of what was received', () => {
  test('are what the sender said, within what is known here', () => {
    const versions = [
      receivedSnapshot('a', now - 30 * hour, now - 10 * hour),
      receivedSnapshot('b', now - 29 * hour, now - 10 * hour),
      receivedSnapshot('ancient', long, now - 9 * hour),
      receivedSnapshot('future', far, now - 8 * hour),
      receivedSnapshot('honest again', now - 7 * hour, now - 6 * hour),
      receivedSnapshot('of no time', null, now - 5 * hour),
    ];
    expect(hours(versions)).toEqual([30, 29, 9, 8, 7, 5]);
    expect(trustedTimes(versions, now).map(({ arrivedMs }) => (now - arrivedMs!) / hour)).toEqual([10, 10, 9, 8, 6, 5]);
  });

  test('are bounded by what came later where nobody noted when they came', () => {
    const versions = [
      receivedSnapshot('a', now - 30 * hour, null),
      receivedSnapshot('future', far, null),
      receivedSnapshot('c', now - 10 * hour, now - 9 * hour),
    ];
    expect(hours(versions)).toEqual([30, 20, 10]);
    expect(trustedTimes(versions, now).map(({ arrivedMs }) => (now - arrivedMs!) / hour)).toEqual([9, 9, 9]);
  });

  test('without any note of ours, the future is not believed', () => {
    const versions = [
      receivedSnapshot('a', now - 30 * hour, null),
      receivedSnapshot('ancient', long, null),
      receivedSnapshot('future', far, null),
    ];
    expect(hours(versions)).toEqual([30, null, null]);
  });

  test('no claim changes the time of what was here before it', () => {
    const claim = fc.oneof(
      fc.integer({ min: -5100, max: -3000 }).map((offset) => now + offset * hour),
      fc.constantFrom(far, long, '0001-01-01T00:00:00Z', '+275760-09-13T00:00:00Z', 'yesterday', null),
    );
    const history = fc.array(fc.tuple(claim, fc.integer({ min: 0, max: 50 })), { maxLength: 30 });
    fc.assert(
      fc.property(history, history, (real, forged) => {
        let arrivedMs = now - 5000 * hour;
        const receive = ([claimed, gap]: [number | string | null, number]): StoredVersion => {
          arrivedMs += gap * hour;
          return receivedSnapshot('s', claimed, arrivedMs);
        };
        const before = real.map(receive);
        const all = [...before, ...forged.map(receive)];
        const times = trustedTimes(all, now);
        expect(times.slice(0, before.length)).toEqual(trustedTimes(before, now));
        for (const [index, { atMs, arrivedMs: arrived }] of times.entries()) {
          expect(atMs).not.toBeNull();
          expect(atMs!).toBeLessThanOrEqual(arrived!);
          expect(atMs!).toBeGreaterThanOrEqual(times[index - 1]?.atMs ?? -Infinity);
        }
      }),
    );
  });
});

test('a time is RFC 3339 or nothing', () => {
  expect(parseTime('2026-02-29T00:00:00Z')).toBeNull();
  expect(parseTime('2028-02-29T01:00:00+01:00')).toBe(Date.parse('2028-02-29T00:00:00Z'));
  expect(parseTime('2026-01-01')).toBeNull();
  expect(parseTime('1')).toBeNull();
  expect(parseTime(null)).toBeNull();
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createProgressMeter } from '../../src/replication/progress.ts';

function meterAt(estimatedBytes: number | null) {
  const clock = { ms: 1000 };
  return { clock, meter: createProgressMeter({ estimatedBytes, now: () => clock.ms, windowMs: 10_000 }) };
}

describe('createProgressMeter', () => {
  it('knows nothing at the beginning, and says so rather than 0', () => {
    const { meter } = meterAt(null);
    expect(meter.read()).toEqual({
      bytes: 0,
      estimatedBytes: null,
      fraction: null,
      bytesPerSecond: null,
      remainingMs: null,
    });
  });

  it('tells rate and remaining time', () => {
    const { clock, meter } = meterAt(10_000);
    for (let second = 0; second < 4; second += 1) {
      clock.ms += 1000;
      meter.add(1000);
    }
    expect(meter.read()).toEqual({
      bytes: 4000,
      estimatedBytes: 10_000,
      fraction: 0.4,
      bytesPerSecond: 1000,
      remainingMs: 6000,
    });
  });

  it('forgets what is longer ago than the window', () => {
    const { clock, meter } = meterAt(null);
    meter.add(1_000_000);
    for (let second = 0; second < 30; second += 1) {
      clock.ms += 1000;
      meter.add(10);
    }
    expect(meter.read().bytesPerSecond).toBeLessThan(12);
  });

  it('sees a stall although nothing is added', () => {
    const { clock, meter } = meterAt(1000);
    clock.ms += 1000;
    meter.add(500);
    const before = meter.read().bytesPerSecond!;
    clock.ms += 5000;
    expect(meter.read().bytesPerSecond).toBeLessThan(before);
    clock.ms += 60_000;
    expect(meter.read()).toMatchObject({ bytesPerSecond: 0, remainingMs: null, fraction: 0.5 });
  });

  it('never says more than all of it, nor that less than nothing remains', () => {
    const { clock, meter } = meterAt(100);
    clock.ms += 1000;
    meter.add(150);
    expect(meter.read()).toMatchObject({ bytes: 150, fraction: 1, remainingMs: null });
    meter.expect(300);
    expect(meter.read()).toMatchObject({ fraction: 0.5, remainingMs: 1000 });
  });

  it('an empty transfer is done', () => {
    expect(meterAt(0).meter.read().fraction).toBe(1);
  });

  it('takes a clock that jumps back as standing still', () => {
    const { clock, meter } = meterAt(null);
    clock.ms += 2000;
    meter.add(2000);
    clock.ms -= 3_600_000;
    meter.add(2000);
    expect(meter.read().bytesPerSecond).toBe(2000);
  });

  it('whatever comes: a rate is never negative, a fraction never beyond 0 and 1', () => {
    const moves = fc.array(fc.tuple(fc.integer({ min: -5000, max: 20_000 }), fc.nat(1_000_000)), { maxLength: 60 });
    fc.assert(
      fc.property(moves, fc.option(fc.nat(5_000_000)), (list, estimate) => {
        const { clock, meter } = meterAt(estimate);
        for (const [ms, bytes] of list) {
          clock.ms += ms;
          meter.add(bytes);
          const { fraction, bytesPerSecond, remainingMs } = meter.read();
          expect(fraction === null).toBe(estimate === null);
          if (fraction !== null) expect(fraction >= 0 && fraction <= 1).toBe(true);
          if (bytesPerSecond !== null) expect(bytesPerSecond >= 0 && Number.isFinite(bytesPerSecond)).toBe(true);
          if (remainingMs !== null) expect(remainingMs >= 0 && Number.isFinite(remainingMs)).toBe(true);
        }
      }),
    );
  });
});

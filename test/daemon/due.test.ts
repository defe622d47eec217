import { afterEach, describe, expect, test } from 'vitest';
import { dueMs } from '../../src/daemon/due.ts';
import type { Schedule } from '../../src/config/schedule.ts';

const hour = 3_600_000;
const watchedSinceMs = Date.parse('2026-03-07T00:00:00Z');

const zoneBefore = process.env['TZ'];
afterEach(() => {
  if (zoneBefore === undefined) delete process.env['TZ'];
  else process.env['TZ'] = zoneBefore;
});

function due(schedule: Schedule, last: string | null, timeZone = 'UTC'): string | null {
  process.env['TZ'] = timeZone;
  const lastBeganMs = last === null ? null : Date.parse(last);
  const found = dueMs({ schedule, lastBeganMs, watchedSinceMs });
  return found === null ? null : new Date(found).toISOString().replace('.000Z', 'Z');
}

describe('an interval', () => {
  const schedule: Schedule = { type: 'interval', intervalMs: hour };

  test('is counted from the begin of the last run, however long ago', () => {
    expect(due(schedule, '2026-03-07T10:00:00Z')).toBe('2026-03-07T11:00:00Z');
    expect(due(schedule, '2020-01-01T00:00:00Z')).toBe('2020-01-01T01:00:00Z');
  });

  test('is over at once when there was no run', () => {
    expect(due(schedule, null)).toBe('2026-03-07T00:00:00Z');
  });
});

test('a manual schedule never comes due', () => {
  expect(due({ type: 'manual' }, '2026-03-07T10:00:00Z')).toBeNull();
});

describe('cron', () => {
  const at = (cron: string): Schedule => ({ type: 'cron', cron });

  test('comes due after the last run, also when that was missed; without one, after the beginning', () => {
    expect(due(at('15 3 * * *'), '2026-03-05T03:15:00Z')).toBe('2026-03-06T03:15:00Z');
    expect(due(at('15 3 * * *'), null)).toBe('2026-03-07T03:15:00Z');
  });

  test('a run at the very second is not due again', () => {
    expect(due(at('0 * * * *'), '2026-03-07T10:00:00Z')).toBe('2026-03-07T11:00:00Z');
    expect(due(at('0 * * * *'), '2026-03-07T10:00:00.500Z')).toBe('2026-03-07T11:00:00Z');
    expect(due(at('*/5 * * * * *'), '2026-03-07T10:00:05Z')).toBe('2026-03-07T10:00:10Z');
  });

  // In Prague, 2026-03-29 has no hour from 2 to 3, and 2026-10-25 has it twice.
  test('in a night without its hour it is due once, right after', () => {
    expect(due(at('30 2 * * *'), '2026-03-28T01:30:00Z', 'Europe/Prague')).toBe('2026-03-29T01:00:00Z');
    expect(due(at('30 2 * * *'), '2026-03-29T01:00:00Z', 'Europe/Prague')).toBe('2026-03-30T00:30:00Z');
  });

  test('in a night that has its hour twice it is due once', () => {
    expect(due(at('30 2 * * *'), '2026-10-24T00:30:00Z', 'Europe/Prague')).toBe('2026-10-25T00:30:00Z');
    expect(due(at('30 2 * * *'), '2026-10-25T00:30:00Z', 'Europe/Prague')).toBe('2026-10-26T01:30:00Z');
  });

  test('each quarter of an hour stays so in both nights', () => {
    for (const [night, zone] of [
      ['2026-03-29T00:00:00Z', 'Europe/Prague'],
      ['2026-10-25T00:00:00Z', 'Europe/Prague'],
      ['2026-03-08T09:00:00Z', 'America/Los_Angeles'],
    ] as const) {
      let last: string = night;
      for (let count = 0; count < 20; count++) {
        const next = due(at('*/15 * * * *'), last, zone)!;
        expect(Date.parse(next) - Date.parse(last), `${zone} after ${last}`).toBe(hour / 4);
        last = next;
      }
    }
  });
});

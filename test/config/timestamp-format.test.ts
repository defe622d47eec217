import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checkVersionName } from '../../src/dataset.ts';
import { checkTimestampFormat, formatTimestamp } from '../../src/config/timestamp-format.ts';

const time = new Date('2026-03-07T05:06:09.042Z');
const written = (format: string, location = 'UTC') => {
  checkTimestampFormat({ format, location });
  return formatTimestamp({ format, location }, time);
};

describe('formatTimestamp', () => {
  test.each([
    ['dense', 'UTC', '20260307_050609_042'],
    ['DENSE', 'UTC', '20260307_050609_042'],
    ['human', 'UTC', '2026-03-07_05:06:09'],
    ['unix-seconds', 'UTC', '1772859969'],
    ['iso-8601', 'UTC', '2026-03-07T05:06:09.042Z'],
    ['iso-8601', 'Europe/Prague', '2026-03-07T06:06:09.042_01:00'],
    ['iso-8601', 'America/New_York', '2026-03-07T00:06:09.042-05:00'],
    ['iso-8601', 'Asia/Kathmandu', '2026-03-07T10:51:09.042_05:45'],
    ['2006-01-02_15h04m05s', 'UTC', '2026-03-07_05h06m09s'],
    ['Mon-02-Jan-06_15.04', 'UTC', 'Sat-07-Mar-26_05.06'],
    ['20060102150405-0700', 'Asia/Kolkata', '20260307103609_0530'],
    ['20060102T1504Z0700', 'UTC', '20260307T0506Z'],
  ])('writes %s in %s', (format, location, text) => expect(written(format, location)).toBe(text));

  test('has summer time', () => {
    const timestamp = { format: 'iso-8601', location: 'Europe/Prague' };
    expect(formatTimestamp(timestamp, new Date('2026-10-25T00:30:00Z'))).toBe('2026-10-25T02:30:00.000_02:00');
    expect(formatTimestamp(timestamp, new Date('2026-10-25T01:30:00Z'))).toBe('2026-10-25T02:30:00.000_01:00');
  });

  test('names every moment differently, in order, and as a snapshot may be called', () => {
    const moments = fc.date({ min: new Date('1971-01-01'), max: new Date('2199-01-01'), noInvalidDate: true });
    fc.assert(
      fc.property(moments, moments, (one, other) => {
        const names = [one, other].map((moment) => formatTimestamp({ format: 'dense', location: 'UTC' }, moment));
        for (const name of names) checkVersionName(name);
        expect(names[0]! < names[1]!).toBe(one.getTime() < other.getTime());
      }),
    );
  });
});

describe('checkTimestampFormat', () => {
  test.each([
    ['human', 'Local', 'does not say its time zone'],
    ['unix-seconds', 'Europe/Prague', 'does not say its time zone'],
    ['2006-01-02_15:04', 'Local', 'has no time zone'],
    ['iso-8601', 'Middle/Earth', 'timestamp_location "Middle/Earth" is not known'],
    ['2006-01-02', 'UTC', 'has no 15, 04, so that names would repeat'],
    ['daily', 'UTC', 'expected dense, human, iso-8601'],
    ['2006-01-02_15:04:05+x', 'UTC', "which a snapshot's name cannot have"],
    ['2006/01/02_15:04:05', 'UTC', "which a snapshot's name cannot have"],
    ['2006-01-02_15:04:05_7', 'UTC', 'digits that are no part of the reference time'],
  ])('refuses %s in %s', (format, location, why) => {
    expect(() => checkTimestampFormat({ format, location })).toThrow(why);
  });
});

import { expect, test } from 'vitest';
import { parseVersionList } from '../../src/retention/version-list.ts';

test('reads what people and zfs write, oldest first', () => {
  const text =
    '# a comment\n\ndaily-2 2026-01-02\r\ntank/home@daily 1\t2026-01-01T12:00:00+01:00\ntank@old\t1700000000\n';
  expect(parseVersionList(text).map(({ name, creation }) => `${name} ${creation}`)).toEqual([
    'old 2023-11-14T22:13:20.000Z',
    'daily 1 2026-01-01T11:00:00.000Z',
    'daily-2 2026-01-02T00:00:00.000Z',
  ]);
  expect(parseVersionList('').length).toBe(0);
  expect(new Set(parseVersionList('a 1\nb 2\nc 3').map(({ guid }) => guid)).size).toBe(3);
});

test.each([
  ['a 1\nb', 'line 2', 'expected a name and a date'],
  ['a yesterday', 'line 1', 'is no date'],
  ['a 2026-02-30', 'line 1', 'is no date'],
  ['a 1\n\na 2', 'line 3', 'above already'],
  ['tank@ 1', 'line 1', 'is not a name'],
  ['-r 1', 'line 1', 'begins with'],
])('%j is refused', (text, line, why) => {
  expect(() => parseVersionList(text)).toThrow(new RegExp(`${line} of the list.*${why}`));
});

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseSize } from '../../src/config/size.ts';

describe('parseSize', () => {
  test.each([
    ['1 B', 1],
    ['512 KiB', 512 * 1024],
    ['10MiB', 10 * 1024 ** 2],
    ['1.5 GiB', 1.5 * 1024 ** 3],
    ['23.5 MiB', 24_641_536],
    ['2TiB', 2 * 1024 ** 4],
    ['10 MB', 10_000_000],
    ['5 kB', 5000],
    [' 1 GB ', 1e9],
    ['0.1 MiB', 104_858],
  ])('reads %j', (text, bytes) => expect(parseSize(text)).toBe(bytes));

  test.each([
    ['10', 'has no unit'],
    ['10M', '"MiB" (powers of 1024) or "MB" (powers of 1000)'],
    ['10k', '"KiB" (powers of 1024) or "kB" (powers of 1000)'],
    ['10 Mb', 'could be bits'],
    ['10 Mibit', 'could be bits'],
    ['10 mib', 'could be bits'],
    ['10 KB', 'it is written "kB"'],
    ['10 gb', 'could be bits'],
    ['10 mIB', 'it is written "MiB"'],
    ['10 parsecs', 'unknown unit "parsecs"; there are B, KiB'],
    ['ten MiB', 'is not a number and a unit'],
    ['-1 B', 'is not a number and a unit'],
    ['1,5 GiB', 'is not a number and a unit'],
    ['', 'is not a number and a unit'],
    ['0 B', 'is less than one byte'],
    ['0.4 B', 'is less than one byte'],
    ['9999999999 TiB', 'is too large'],
  ])('refuses %j and says why', (text, why) => {
    expect(() => parseSize(text)).toThrow(expect.objectContaining({ code: 'INVALID_REQUEST' }) as Error);
    expect(() => parseSize(text)).toThrow(why);
  });

  test('reads every whole number of bytes back', () => {
    fc.assert(fc.property(fc.integer({ min: 1 }), (bytes) => parseSize(`${bytes} B`) === bytes));
  });
});

import { createHash } from 'node:crypto';
import { Uint8ArrayList } from 'uint8arraylist';
import { describe, expect, test } from 'vitest';
import { streamDigest, xxh64Implementations } from '../../src/rpc/digest.ts';

const text = Buffer.from('abc');

describe('streamDigest', () => {
  test.each([
    ['xxh64', '44bc2cf5ad770999'],
    ['sha256', createHash('sha256').update(text).digest('hex')],
  ] as const)('%s of bytes in one piece, in several, and in a list', async (algorithm, expected) => {
    const whole = await streamDigest(algorithm);
    whole.update(text);
    const pieces = await streamDigest(algorithm);
    for (const byte of text) pieces.update(Uint8Array.of(byte));
    const list = await streamDigest(algorithm);
    list.update(new Uint8ArrayList(text.subarray(0, 1), text.subarray(1)));
    expect([whole, pieces, list].map((digest) => digest.value())).toEqual([expected, expected, expected]);
    expect([whole, pieces, list].map(({ bytes }) => bytes)).toEqual([text.length, text.length, text.length]);
  });

  test('only counts without an algorithm', async () => {
    const digest = await streamDigest(null);
    digest.update(text);
    expect(digest.bytes).toBe(text.length);
    expect(digest.value()).toBe('');
  });
});

describe('xxh64', () => {
  test('is the same, native and portable', async () => {
    const native = await xxh64Implementations.native();
    const portable = await xxh64Implementations.portable();
    if (native === null) throw new Error('@node-rs/xxhash is not there; it is for the common platforms');
    for (const length of [0, 1, 31, 32, 33, 65_536, 100_001]) {
      const bytes = Buffer.alloc(length, 'snapferry');
      const values = [native(), portable()].map((hash) => {
        hash.update(bytes.subarray(0, length / 3));
        hash.update(bytes.subarray(length / 3));
        return hash.value();
      });
      expect(values[0]).toBe(values[1]);
    }
  });
});

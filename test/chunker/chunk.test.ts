import { pipe } from 'it-pipe';
import { Uint8ArrayList } from 'uint8arraylist';
import { describe, expect, test } from 'vitest';
import { chunk, chunksOf, encodeMessage } from '../../src/chunker/chunk.ts';
import { unchunk } from '../../src/chunker/unchunk.ts';

async function* from(...pieces: (Uint8Array | Uint8ArrayList)[]): AsyncGenerator<Uint8Array | Uint8ArrayList> {
  for (const piece of pieces) {
    await Promise.resolve();
    yield piece;
  }
}

async function framedBy(
  payloadBytesMax: number,
  ...pieces: (Uint8Array | Uint8ArrayList)[]
): Promise<Uint8ArrayList[]> {
  const lists: Uint8ArrayList[] = [];
  for await (const list of chunk(payloadBytesMax)(from(...pieces))) lists.push(list);
  return lists;
}

async function hexOf(payloadBytesMax: number, ...pieces: (Uint8Array | Uint8ArrayList)[]): Promise<string> {
  const lists = await framedBy(payloadBytesMax, ...pieces);
  return lists.map((list) => Buffer.from(list.subarray()).toString('hex')).join(' ');
}

const bytes = Buffer.from('cafebabe', 'hex');

describe('chunk (scenario 6)', () => {
  test.each([
    ['nothing', 4, [], '00000000'],
    ['an empty piece', 4, [Buffer.alloc(0)], '00000000'],
    ['an empty list', 4, [new Uint8ArrayList()], '00000000'],
    ['one byte', 4, [bytes.subarray(0, 1)], '01000000ca 00000000'],
    ['exactly one chunk', 4, [bytes], '04000000cafebabe 00000000'],
    ['exactly two chunks', 2, [bytes], '02000000cafe02000000babe 00000000'],
    ['one byte more than a chunk', 3, [bytes], '03000000cafeba01000000be 00000000'],
    [
      'a list, chunk by piece',
      4,
      [new Uint8ArrayList(bytes.subarray(0, 1), bytes.subarray(1, 3))],
      '01000000ca02000000feba 00000000',
    ],
    [
      'pieces around an empty one',
      4,
      [bytes.subarray(0, 2), Buffer.alloc(0), bytes.subarray(2)],
      '02000000cafe 02000000babe 00000000',
    ],
  ])('%s', async (_, payloadBytesMax, pieces, expected) => {
    expect(await hexOf(payloadBytesMax, ...pieces)).toBe(expected);
  });

  test('copies no payload', async () => {
    const payload = new Uint8Array(1000);
    const list = new Uint8ArrayList(new Uint8Array(payload.buffer, 0, 400), new Uint8Array(payload.buffer, 400));
    for (const framed of [await framedBy(300, payload), await framedBy(300, list)]) {
      const parts = framed.flatMap((chunks) => [...chunks]);
      const payloads = parts.filter(({ byteLength }) => byteLength !== 4);
      expect(payloads.every(({ buffer }) => buffer === payload.buffer)).toBe(true);
      expect(payloads.reduce((sum, { byteLength }) => sum + byteLength, 0)).toBe(1000);
    }
  });

  test('passes on what the source throws, and never ends what it did not finish', async () => {
    const failing = async function* (): AsyncGenerator<Uint8Array> {
      await Promise.resolve();
      yield bytes;
      throw new Error('the disk is gone');
    };
    const got: Uint8ArrayList[] = [];
    const read = (async () => {
      for await (const list of chunk(4)(failing())) got.push(list);
    })();
    await expect(read).rejects.toThrow('the disk is gone');
    expect(got.map((list) => Buffer.from(list.subarray()).toString('hex'))).toEqual(['04000000cafebabe']);
  });

  test('closes the source when its reader leaves', async () => {
    const closed: string[] = [];
    const source = async function* (): AsyncGenerator<Uint8Array> {
      try {
        for (;;) {
          await Promise.resolve();
          yield bytes;
        }
      } finally {
        closed.push('source');
      }
    };
    for await (const list of chunk(4)(source())) if (list.byteLength > 0) break;
    expect(closed).toEqual(['source']);
  });

  test('and unchunk are the two ends of a pipe', async () => {
    const payload = Buffer.from(Array.from({ length: 1000 }, (_, at) => at % 251));
    const single = async function* (source: AsyncIterable<Uint8ArrayList>): AsyncGenerator<Uint8Array> {
      for await (const list of source) yield list.subarray();
    };
    const lists = await pipe(from(payload), chunk(64), single, unchunk, async (source) => {
      const parts: Uint8Array[] = [];
      for await (const list of source) parts.push(list.slice());
      return parts;
    });
    expect(Buffer.concat(lists)).toEqual(payload);
  });
});

test('chunksOf gives none for nothing', () => {
  expect(chunksOf(new Uint8Array(0), 4).byteLength).toBe(0);
});

describe('encodeMessage', () => {
  test('one chunk with the newline inside, and the terminator', () => {
    expect(Buffer.from(encodeMessage('{}', 100)).toString()).toBe('\u0003\0\0\0{}\n\0\0\0\0');
  });

  test.each([
    ['one byte short of a chunk', 2, 4],
    ['exactly a chunk', 3, 4],
    ['one byte more', 4, 4],
    ['many', 100, 7],
  ])('%s', (_, length, payloadBytesMax) => {
    const json = 'x'.repeat(length);
    let message = Buffer.from(encodeMessage(json, payloadBytesMax));
    let payload = '';
    for (;;) {
      const chunkBytes = message.readUInt32LE(0);
      expect(chunkBytes).toBeLessThanOrEqual(payloadBytesMax);
      if (chunkBytes === 0) break;
      payload += message.subarray(4, 4 + chunkBytes).toString();
      message = message.subarray(4 + chunkBytes);
    }
    expect(message).toHaveLength(4);
    expect(payload).toBe(`${json}\n`);
  });
});

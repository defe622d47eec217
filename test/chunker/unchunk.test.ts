import { describe, expect, test } from 'vitest';
import { ByteReader } from '../../src/chunker/byte-reader.ts';
import { ChunkReader, unchunk, type ChunkReaderOptions } from '../../src/chunker/unchunk.ts';
import { repetitions } from '../support/repetitions.ts';
import {
  byteByByte,
  chunkOf,
  controlOf,
  framed,
  randomSplit,
  seededRandom,
  testSeed,
  whole,
  type Split,
} from '../support/scripted-peer.ts';

const poison = 0xee;

/** Pieces in one buffer that is overwritten as soon as the next is asked for: whoever keeps bytes gets the poison. */
async function* lent(bytes: Uint8Array, split: Split = whole): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(bytes.byteLength);
  for (const piece of split(bytes)) {
    buffer.set(piece);
    await Promise.resolve();
    yield buffer.subarray(0, piece.byteLength);
    buffer.fill(poison);
  }
}

function readerOf(bytes: Uint8Array, split?: Split, options?: ChunkReaderOptions): ChunkReader {
  return new ChunkReader(new ByteReader(lent(bytes, split)), options);
}

/** Payload of the next stream, copied as it comes. */
async function streamOf(reader: ChunkReader): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const list of reader.stream()) {
    expect(list.byteLength).toBeGreaterThan(0);
    parts.push(list.slice());
  }
  return Buffer.concat(parts);
}

const truncated = (what: string) => ({
  code: 'STREAM_TRUNCATED',
  message: expect.stringMatching(
    new RegExp(`^the connection ended inside a ${what}|^stream ended \\d bytes early$`),
  ) as string,
});

const random = seededRandom(testSeed);
const splits: [string, Split][] = [
  ['whole', whole],
  ['byte by byte', byteByByte],
  [`at random (SNAPFERRY_SEED=${testSeed})`, randomSplit(random, 9)],
];
const end = Buffer.alloc(4);
const cafe = Buffer.from('cafe', 'hex');

describe.each(splits)('a ChunkReader fed %s', (_, split) => {
  test('reads messages and streams one after the other, and then the end', async () => {
    const stream = [chunkOf(Buffer.from('ab')), chunkOf(Buffer.from('c')), chunkOf(Buffer.alloc(300, 'd')), end];
    const reader = readerOf(Buffer.concat([framed(cafe), ...stream, end, framed(Buffer.from('last'))]), split);
    expect(Buffer.from((await reader.message(10, 'first'))!).toString('hex')).toBe('cafe');
    expect((await streamOf(reader)).toString()).toBe(`abc${'d'.repeat(300)}`);
    expect(await reader.message(10, 'empty')).toHaveLength(0);
    expect(Buffer.from((await reader.message(10, 'last'))!).toString()).toBe('last');
    expect(await reader.message(10, 'none')).toBeNull();
    await expect(reader.message(10, 'due', { isDue: true })).rejects.toMatchObject({ code: 'STREAM_TRUNCATED' });
  });

  test('cut anywhere, a message and a stream are truncated', async () => {
    const bytes = Buffer.concat([chunkOf(cafe), chunkOf(cafe), end]);
    for (let cut = 0; cut < bytes.byteLength; cut++) {
      const stream = streamOf(readerOf(bytes.subarray(0, cut), split));
      await expect(stream, `stream cut at ${cut}`).rejects.toMatchObject(truncated('stream'));
      const message = readerOf(bytes.subarray(0, cut), split).message(100, 'message', { isDue: true });
      await expect(message, `message cut at ${cut}`).rejects.toMatchObject(truncated('message'));
    }
  });

  test('a message may have n bytes and not n+1, in one chunk or many', async () => {
    const n = 50;
    const inMany = (count: number): Buffer =>
      Buffer.concat([...Array.from({ length: count }, () => chunkOf(Buffer.from('x'))), end]);
    for (const bytes of [framed(Buffer.alloc(n, 'x')), inMany(n)]) {
      expect(Buffer.from((await readerOf(bytes, split).message(n, 'm'))!).toString()).toBe('x'.repeat(n));
    }
    for (const bytes of [framed(Buffer.alloc(n + 1, 'x')), inMany(n + 1)]) {
      const reading = readerOf(bytes, split).message(n, 'greeting');
      await expect(reading).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' });
      await expect(reading).rejects.toThrow('greeting is longer than the 50 bytes allowed');
    }
  });

  test('control chunks may stand before every chunk, and are part of nothing', async () => {
    const beat = controlOf();
    const news = controlOf({ a: 1 });
    const bytes = Buffer.concat([
      ...[beat, news, chunkOf(cafe), beat, chunkOf(cafe), news, end],
      ...[beat, chunkOf(cafe), news, beat, chunkOf(cafe), beat, end, news],
    ]);
    const seen: string[] = [];
    const reader = readerOf(bytes, split, { onControl: (payload) => seen.push(Buffer.from(payload).toString()) });
    reader.controlChunks = true;
    expect(Buffer.from((await reader.message(100, 'm'))!).toString('hex')).toBe('cafecafe');
    expect((await streamOf(reader)).toString('hex')).toBe('cafecafe');
    expect(await reader.message(100, 'm')).toBeNull();
    const json = '{"a":1}';
    expect(seen).toEqual(['', json, '', json, '', json, '', '', json]);
  });

  test('a control chunk may have n bytes and not n+1, and must be whole', async () => {
    const options = { controlBytesMax: 20 };
    for (const [bytes, code] of [
      [chunkOf(Buffer.alloc(20), 0x8000_0000), null],
      [chunkOf(Buffer.alloc(21), 0x8000_0000), 'LIMIT_EXCEEDED'],
      [chunkOf(Buffer.alloc(20), 0x8000_0000).subarray(0, 23), 'STREAM_TRUNCATED'],
    ] as const) {
      const reader = readerOf(bytes, split, options);
      reader.controlChunks = true;
      const reading = reader.message(100, 'm');
      if (code === 'LIMIT_EXCEEDED') {
        await expect(reading).rejects.toThrow('control chunk of 21 bytes exceeds the 20 bytes allowed');
      }
      if (code === null) expect(await reading).toBeNull();
      else await expect(reading).rejects.toMatchObject({ code });
    }
  });
});

describe('a ChunkReader', () => {
  test.each([false, true])(
    'gives one list per piece, however many chunks are in it (version 2: %s)',
    async (isVersion2) => {
      const many = Buffer.concat(Array.from({ length: 20 }, () => chunkOf(cafe)));
      const half = chunkOf(cafe).subarray(0, 5);
      const rest = chunkOf(cafe).subarray(5);
      const source = async function* (): AsyncGenerator<Uint8Array> {
        await Promise.resolve();
        yield Buffer.concat([many, half]);
        yield Buffer.concat([rest, many, end]);
      };
      const reader = new ChunkReader(new ByteReader(source()));
      reader.controlChunks = isVersion2;
      const lists: number[] = [];
      for await (const list of reader.stream()) lists.push(list.byteLength);
      expect(lists).toEqual([41, 41]);
    },
  );

  test('reads empty messages one by one, though they stand together', async () => {
    const reader = readerOf(Buffer.concat([end, end, end, framed(cafe)]));
    for (let count = 0; count < 3; count++) expect(await reader.message(10, 'empty')).toHaveLength(0);
    expect(await reader.message(10, 'm')).toHaveLength(2);
    expect(await reader.message(10, 'm')).toBeNull();
  });

  test('hands on payload without copying it', async () => {
    const buffer = new Uint8Array(Buffer.concat([chunkOf(Buffer.alloc(1000, 1)), chunkOf(Buffer.alloc(10, 2)), end]));
    const source = (async function* () {
      await Promise.resolve();
      yield buffer;
    })();
    let total = 0;
    for await (const list of new ChunkReader(new ByteReader(source)).stream()) {
      for (const piece of list) {
        expect(piece.buffer).toBe(buffer.buffer);
        total += piece.byteLength;
      }
    }
    expect(total).toBe(1010);
  });

  test('never reads ahead: what follows a stream is left in the source', async () => {
    let asked = 0;
    const source = (async function* () {
      for (const piece of [chunkOf(cafe), end, framed(cafe)]) {
        asked++;
        await Promise.resolve();
        yield piece;
      }
    })();
    expect((await streamOf(new ChunkReader(new ByteReader(source)))).toString('hex')).toBe('cafe');
    expect(asked).toBe(2);
  });

  test('allocates nothing by an announced length', async () => {
    const header = Buffer.from('ffffffff', 'hex');
    const before = process.memoryUsage().arrayBuffers;
    await expect(readerOf(header).message(2 ** 31, 'm')).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' });
    const stream = readerOf(Buffer.concat([header, cafe])).stream();
    const first = await stream.next();
    expect((first.value as { byteLength: number }).byteLength).toBe(2);
    await expect(stream.next()).rejects.toMatchObject({ code: 'STREAM_TRUNCATED' });
    const large = Buffer.alloc(4);
    large.writeUInt32LE(0x3fff_ffff);
    await expect(readerOf(large).message(2 ** 30, 'm')).rejects.toMatchObject({ code: 'STREAM_TRUNCATED' });
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 20);
  });

  test('holds a message of one-byte chunks, a million of them, in no more than twice its size', async () => {
    const count = repetitions(1_000_000, 20_000);
    const bytes = Buffer.alloc(count * 5 + 4);
    for (let at = 0; at < count; at++) bytes.writeUInt8(1, at * 5);
    const before = process.memoryUsage().arrayBuffers;
    const message = await new ChunkReader(new ByteReader(pieceOf(bytes))).message(count, 'm');
    expect(message).toHaveLength(count);
    expect(message!.buffer.byteLength).toBeLessThanOrEqual(2 * count + 1024);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8 * count + 2 ** 20);
  });

  test('says when a message has begun and is not all there', async () => {
    const begun: string[] = [];
    const onBegun = (): number => begun.push('begun');
    await readerOf(framed(cafe), whole).message(10, 'm', { onBegun });
    expect(begun).toEqual([]);
    await readerOf(framed(cafe), byteByByte).message(10, 'm', { onBegun });
    expect(begun).toEqual(['begun']);
  });
});

async function* pieceOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += 65_536) {
    await Promise.resolve();
    yield bytes.subarray(at, at + 65_536);
  }
}

describe('unchunk', () => {
  test('refuses what follows the end', async () => {
    const collect = async (bytes: Uint8Array): Promise<number> => {
      let count = 0;
      for await (const list of unchunk(lent(bytes))) count += list.byteLength;
      return count;
    };
    expect(await collect(framed(cafe))).toBe(2);
    await expect(collect(Buffer.concat([framed(cafe), cafe]))).rejects.toMatchObject({
      code: 'PROTOCOL_VIOLATION',
      message: 'bytes follow the end of the stream',
    });
  });

  test('closes its source when its reader leaves', async () => {
    const closed: string[] = [];
    const source = (async function* () {
      try {
        for (;;) {
          await Promise.resolve();
          yield chunkOf(cafe);
        }
      } finally {
        closed.push('source');
      }
    })();
    for await (const list of unchunk(source)) if (list.byteLength > 0) break;
    expect(closed).toEqual(['source']);
  });
});

describe('a ByteReader', () => {
  test('reads exactly what it is asked for, copied where it spans pieces', async () => {
    const reader = new ByteReader(
      lent(
        Buffer.from('abcdefgh'),
        randomSplit(() => 0.3, 7),
      ),
    );
    expect(Buffer.from(await reader.read(5)).toString()).toBe('abcde');
    expect(await reader.read(0)).toHaveLength(0);
    expect(Buffer.from(await reader.read(3)).toString()).toBe('fgh');
    await expect(reader.read(1)).rejects.toMatchObject({ code: 'STREAM_TRUNCATED' });
    expect(await reader.fill()).toBe(false);
  });

  test('says how many bytes the stream was short', async () => {
    const reader = new ByteReader(lent(Buffer.from('abcdefgh')));
    await expect(reader.read(11)).rejects.toThrow('stream ended 3 bytes early');
  });

  test('copies nothing that is here in one piece', async () => {
    const piece = new Uint8Array(8);
    const reader = new ByteReader(pieceOf(piece));
    await reader.fill();
    for (let count = 0; count < 2; count++) expect((await reader.read(4)).buffer).toBe(piece.buffer);
  });

  test('counts what was taken, whichever way', async () => {
    const reader = new ByteReader(lent(Buffer.from('abcdefgh')));
    expect(reader.takenBytes).toBe(0);
    await reader.fill();
    expect([reader.available, reader.takenBytes]).toEqual([8, 0]);
    reader.take(1);
    expect(reader.takenBytes).toBe(1);
    reader.skip(2);
    expect(reader.takenBytes).toBe(3);
    await reader.gather(4);
    reader.peek();
    expect(reader.takenBytes).toBe(3);
    await reader.read(4);
    expect([reader.available, reader.takenBytes]).toEqual([1, 7]);
  });

  test('closed, reads nothing more, and tells its source', async () => {
    let asked = 0;
    let closed = 0;
    const next = (): Promise<IteratorResult<Uint8Array>> => {
      asked++;
      return Promise.resolve({ done: false, value: cafe });
    };
    const ended: IteratorResult<Uint8Array> = { done: true, value: undefined };
    const sources: AsyncIterator<Uint8Array>[] = [
      { next, return: () => Promise.resolve({ ...ended, closed: ++closed }) },
      { next },
    ];
    for (const source of sources) {
      const reader = new ByteReader({ [Symbol.asyncIterator]: () => source });
      await reader.fill();
      await reader.close();
      expect(reader.available).toBe(0);
      expect(await reader.fill()).toBe(false);
    }
    expect([asked, closed]).toEqual([2, 1]);
  });

  test('copies what was lent as a Buffer, whose slice is none', async () => {
    const buffer = Buffer.alloc(1);
    const source = async function* (): AsyncGenerator<Uint8Array> {
      for (const letter of 'abcdef') {
        buffer.write(letter);
        await Promise.resolve();
        yield buffer;
      }
    };
    const reader = new ByteReader(source());
    await reader.gather(3);
    expect(Buffer.from(await reader.read(3)).toString()).toBe('abc');
    expect(Buffer.from(await reader.read(3)).toString()).toBe('def');
  });

  test('gathers a few bytes without taking them, fewer at the end', async () => {
    const reader = new ByteReader(lent(Buffer.from('abcdef'), byteByByte));
    await reader.gather(4);
    expect(Buffer.from(reader.peek()).toString()).toBe('abcd');
    expect(Buffer.from(await reader.read(4)).toString()).toBe('abcd');
    await reader.gather(4);
    expect(Buffer.from(reader.peek()).toString()).toBe('ef');
    expect(Buffer.from(reader.take(9)).toString()).toBe('ef');
    await reader.gather(4);
    expect(reader.available).toBe(0);
  });

  test('passes on what the source throws', async () => {
    const source = (async function* (): AsyncGenerator<Uint8Array> {
      await Promise.resolve();
      yield cafe;
      throw new Error('reset');
    })();
    await expect(new ByteReader(source).read(3)).rejects.toThrow('reset');
  });
});

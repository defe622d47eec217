import { readFileSync } from 'node:fs';
import { Uint8ArrayList } from 'uint8arraylist';
import { describe, expect, test } from 'vitest';
import { SnapferryError } from '../../../src/errors.ts';
import { parseBeginRecord, recordBytes } from '../../../src/handlers/zfs/receive-head.ts';
import { ReceiveStream } from '../../../src/handlers/zfs/receive-stream.ts';
import type { TransferBytes } from '../../../src/sink.ts';

const fixture = (name: string) => readFileSync(new URL(`../../fixtures/zfs/streams/${name}.zstream`, import.meta.url));

/** In pieces of a size, overwritten once they are no longer lent. */
async function* lent(bytes: Uint8Array, pieceBytes: number): TransferBytes {
  await Promise.resolve();
  for (let start = 0; start < bytes.length; start += pieceBytes) {
    const piece = Uint8Array.from(bytes.subarray(start, start + pieceBytes));
    yield start % (2 * pieceBytes) === 0 ? piece : new Uint8ArrayList(piece);
    piece.fill(0xdd);
  }
}

async function rest(stream: ReceiveStream): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for (let piece = await stream.next(); piece !== null; piece = await stream.next()) pieces.push(piece.slice());
  return Buffer.concat(pieces);
}

const full = fixture('full');
const fullGuid = 9518794559622867999n;

describe('what a stream says of itself', () => {
  test.each([
    ['full', { kind: 'filesystem', toGuid: fullGuid, fromGuid: null, isRaw: false, isResuming: false }],
    ['incremental', { toGuid: 8539521409244138673n, fromGuid: fullGuid, isRaw: false, isResuming: false }],
    ['raw-full', { isRaw: true, fromGuid: null, payloadBytes: 1028 }],
  ])('%s', (name, expected) => {
    expect(parseBeginRecord(fixture(name).subarray(0, recordBytes))).toMatchObject({ isPackage: false, ...expected });
  });

  test('in the other byte order', () => {
    const swapped = Buffer.from(full.subarray(0, recordBytes));
    for (const at of [0, 4, 32, 36]) swapped.subarray(at, at + 4).swap32();
    for (const at of [8, 16, 24, 40, 48]) swapped.subarray(at, at + 8).swap64();
    expect(parseBeginRecord(swapped)).toEqual(parseBeginRecord(full.subarray(0, recordBytes)));
  });

  test('that it goes on with another', () => {
    const resuming = Buffer.from(full.subarray(0, recordBytes));
    resuming.writeBigUInt64LE(resuming.readBigUInt64LE(16) | (1n << 22n), 16);
    expect(parseBeginRecord(resuming)).toMatchObject({ isResuming: true });
  });

  test('a volume, and something else', () => {
    const record = Buffer.from(full.subarray(0, recordBytes));
    record.writeUInt32LE(3, 32);
    expect(parseBeginRecord(record).kind).toBe('volume');
    record.writeUInt32LE(1, 32);
    expect(parseBeginRecord(record).kind).toBe('other');
  });

  test.each([
    ['a text', Buffer.from('bash: zfs: command not found\n'.padEnd(recordBytes, 'x'))],
    ['zeros', Buffer.alloc(recordBytes)],
    ['an end without a beginning', Buffer.from(full.subarray(-recordBytes))],
  ])('%s is no stream', async (_, bytes) => {
    await expect(new ReceiveStream(lent(bytes, 100)).head(false)).rejects.toMatchObject({
      code: 'STREAM_FORMAT_MISMATCH',
    });
  });

  test('the text that came instead is quoted', () => {
    const text = Buffer.from('bash: zfs: command not found\n'.padEnd(recordBytes, '\0'));
    expect(() => parseBeginRecord(text)).toThrow('bash: zfs: command not found');
  });
});

describe('a stream on its way', () => {
  test.each([1, 7, 311, 312, 313, 4096, 1_000_000])('in pieces of %i bytes comes out as it came in', async (size) => {
    const stream = new ReceiveStream(lent(full, size));
    expect(await stream.head(false)).toMatchObject({ toGuid: fullGuid, hasPackage: false });
    expect((await rest(stream)).equals(full)).toBe(true);
    expect(stream.bytes).toBe(full.length);
  });

  test.each([1, 500, 1_000_000])(
    'out of a package in pieces of %i bytes only the stream inside goes on',
    async (size) => {
      const bytes = fixture('full-props');
      const stream = new ReceiveStream(lent(bytes, size));
      expect(await stream.head(false)).toMatchObject({ toGuid: fullGuid, kind: 'filesystem', hasPackage: true });
      const inner = await rest(stream);
      // Begin, list of properties and end of the package are gone from the front; its last end record is ignored by zfs.
      expect(inner.equals(bytes.subarray(2 * recordBytes + 552))).toBe(true);
      expect(parseBeginRecord(inner.subarray(0, recordBytes)).isPackage).toBe(false);
    },
  );

  test('a package that is wanted stays one', async () => {
    const bytes = fixture('full-props');
    const stream = new ReceiveStream(lent(bytes, 500));
    expect(await stream.head(true)).toMatchObject({ toGuid: fullGuid, hasPackage: true });
    expect((await rest(stream)).equals(bytes)).toBe(true);
  });

  test('a package that announces a huge list is refused before that is read', async () => {
    const bytes = Buffer.from(fixture('full-props'));
    bytes.writeUInt32LE(0xffffffff, 4);
    const stream = new ReceiveStream(lent(bytes, 500));
    await expect(stream.head(false)).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' });
    expect(stream.bytes).toBeLessThan(1000);
  });

  test('cut anywhere in its head is told as cut', async () => {
    const bytes = fixture('full-props');
    for (let count = 0; count < 3 * recordBytes + 552; count += 61) {
      const stream = new ReceiveStream(lent(bytes.subarray(0, count), 100));
      await expect(stream.head(false), `${count} bytes`).rejects.toMatchObject({ code: 'STREAM_TRUNCATED' });
    }
  });

  test('its end is held back until the sender has declared it', async () => {
    let declare = (): void => undefined;
    const declared = new Promise<void>((resolve) => (declare = resolve));
    const stream = new ReceiveStream(
      (async function* () {
        yield full;
        await declared;
      })(),
    );
    await stream.head(false);
    const given: Uint8Array[] = [];
    const reading = (async () => {
      for (let piece = await stream.next(); piece !== null; piece = await stream.next()) given.push(piece.slice());
    })();
    for (let turn = 0; turn < 100; turn++) await Promise.resolve();
    expect(Buffer.concat(given).length).toBeLessThanOrEqual(full.length - 2 * recordBytes);
    declare();
    await reading;
    expect(Buffer.concat(given).equals(full)).toBe(true);
  });

  test('an error after the last byte leaves the end unsent', async () => {
    const failure = new SnapferryError('DIGEST_MISMATCH', 'damaged on the way');
    const stream = new ReceiveStream(
      (async function* () {
        await Promise.resolve();
        yield full;
        throw failure;
      })(),
    );
    await stream.head(false);
    let bytes = 0;
    const reading = async () => {
      for (let piece = await stream.next(); piece !== null; piece = await stream.next()) bytes += piece.byteLength;
    };
    await expect(reading()).rejects.toBe(failure);
    expect(bytes).toBeLessThanOrEqual(full.length - 2 * recordBytes);
  });

  test('an interruption reaches whoever waits, and closing does not wait for a source that is stuck', async () => {
    let isReturned = false;
    const stuck: TransferBytes = {
      [Symbol.asyncIterator]: () => ({
        next: () => new Promise<IteratorResult<Uint8Array>>(() => undefined),
        return: () => {
          isReturned = true;
          return new Promise(() => undefined);
        },
      }),
    };
    const stream = new ReceiveStream(stuck);
    const head = stream.head(false);
    const reason = new SnapferryError('CANCELLED', 'enough');
    stream.interrupt(reason);
    stream.interrupt(new Error('too late'));
    await expect(head).rejects.toBe(reason);
    await expect(stream.next()).rejects.toBe(reason);
    await stream.close();
    expect(isReturned).toBe(true);
  });

  test('closed early, the source is told, once', async () => {
    let returns = 0;
    const iterator = lent(full, 100)[Symbol.asyncIterator]();
    const stream = new ReceiveStream({
      [Symbol.asyncIterator]: () => ({
        next: () => iterator.next(),
        return: () => {
          returns += 1;
          return Promise.resolve({ done: true, value: undefined });
        },
      }),
    });
    await stream.head(false);
    await stream.close();
    await stream.close();
    expect(returns).toBe(1);
  });
});

import { setImmediate as nextTurn } from 'node:timers/promises';
import { Uint8ArrayList } from 'uint8arraylist';
import { afterEach, describe, expect, test } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import type { ByteStream } from '../../src/transport/byte-stream.ts';

/** Two connected ends, and what else must be taken down after the test. */
export interface TransportPair {
  readonly a: ByteStream;
  readonly b: ByteStream;
  readonly cleanup?: () => Promise<void>;
}

/** What a transport cannot help. */
export interface TransportTraits {
  /** An abort looks like an orderly end to the peer, because the system has no reset for it (unix sockets, pipes). */
  readonly abortLooksLikeEnd?: boolean;
  /** How many bytes may be on their way when the reader reads nothing, kernel and relays included. Default 8 MiB. */
  readonly inFlightBytesMax?: number;
}

const mebibyte = 1024 * 1024;

/** The promises of {@link ByteStream}, tried on a pair of connected ends. Every transport passes this suite. */
export function describeTransport(
  name: string,
  makePair: () => Promise<TransportPair>,
  traits: TransportTraits = {},
): void {
  describe(`transport ${name}`, () => {
    let cleanups: (() => Promise<void>)[] = [];

    const pair = async (): Promise<{ a: ByteStream; b: ByteStream }> => {
      const made = await makePair();
      cleanups.push(async () => {
        made.a.abort(new Error('the test is over'));
        made.b.abort(new Error('the test is over'));
        await Promise.allSettled([made.a.close(), made.b.close()]);
        await made.cleanup?.();
      });
      return made;
    };

    afterEach(async () => {
      const due = cleanups;
      cleanups = [];
      for (const cleanup of due) await cleanup();
    });

    test('carries bytes both ways', async () => {
      const { a, b } = await pair();
      const fromA = reader(a);
      const fromB = reader(b);
      await a.write(Buffer.from('to b'));
      expect(await fromB.take(4)).toEqual(Buffer.from('to b'));
      await b.write(Buffer.from('to a'));
      expect(await fromA.take(4)).toEqual(Buffer.from('to a'));
      await Promise.all([a.end(), b.end()]);
      expect(await fromA.rest()).toEqual(Buffer.alloc(0));
      expect(await fromB.rest()).toEqual(Buffer.alloc(0));
      await Promise.all([a.close(), b.close()]);
    });

    test('holds the writer back while the reader is slow, and loses nothing', async () => {
      const { a, b } = await pair();
      const total = 16 * mebibyte;
      const block = pattern(64 * 1024);
      let acceptedBytes = 0;
      const writing = (async () => {
        while (acceptedBytes < total) {
          await a.write(block.slice());
          acceptedBytes += block.byteLength;
        }
        await a.end();
      })();
      let receivedBytes = 0;
      for await (const piece of b.source) {
        // The first piece sets the reading in motion; only then does a reader that is slow show.
        if (receivedBytes === 0) {
          await untilUnchanged(() => acceptedBytes);
          expect(acceptedBytes).toBeLessThanOrEqual(traits.inFlightBytesMax ?? 8 * mebibyte);
        }
        const expected = repeated(block, receivedBytes % block.byteLength, piece.byteLength);
        if (Buffer.compare(piece, expected) !== 0) throw new Error(`wrong bytes at offset ${receivedBytes}`);
        receivedBytes += piece.byteLength;
      }
      await writing;
      expect(receivedBytes).toBe(total);
    });

    test('writes the pieces of a list in order, empty ones included', async () => {
      const { a, b } = await pair();
      const pieces = Array.from({ length: 200 }, (_, index) => pattern((index * 37) % 1500, index));
      const writing = a.write(new Uint8ArrayList(...pieces)).then(() => a.end());
      expect(await reader(b).rest()).toEqual(Buffer.concat(pieces));
      await writing;
    });

    test('a write without bytes is harmless', async () => {
      const { a, b } = await pair();
      await a.write(new Uint8Array(0));
      await a.write(new Uint8ArrayList());
      await a.write(Buffer.from('x'));
      await a.write(new Uint8ArrayList(new Uint8Array(0)));
      await a.end();
      expect(await reader(b).rest()).toEqual(Buffer.from('x'));
    });

    test.each([
      ['a', 'b'],
      ['b', 'a'],
    ] as const)('%s ends its direction, the other one goes on', async (first, second) => {
      const both = await pair();
      const [ending, going] = [both[first], both[second]];
      await ending.write(Buffer.from('last words'));
      await ending.end();
      await ending.end();
      expect(await reader(going).rest()).toEqual(Buffer.from('last words'));
      await going.write(Buffer.from('and the answer'));
      await going.end();
      expect(await reader(ending).rest()).toEqual(Buffer.from('and the answer'));
      await Promise.all([ending.close(), going.close()]);
    });

    test('carries both directions at once', async () => {
      const { a, b } = await pair();
      const total = 4 * mebibyte;
      const send = async (stream: ByteStream): Promise<void> => {
        const block = pattern(50_000);
        let sentBytes = 0;
        while (sentBytes < total) {
          await stream.write(new Uint8ArrayList(block.subarray(0, 4), block.subarray(4)));
          sentBytes += block.byteLength;
        }
        await stream.end();
      };
      const [atA, atB] = await Promise.all([count(a), count(b), send(a), send(b)]);
      expect(atA).toBe(Math.ceil(total / 50_000) * 50_000);
      expect(atB).toBe(atA);
      await Promise.all([a.close(), b.close()]);
    });

    test.each([
      ['a', 'b'],
      ['b', 'a'],
    ] as const)('an abort of %s is seen by %s', async (first, second) => {
      const both = await pair();
      const [aborting, other] = [both[first], both[second]];
      const otherReads = reader(other);
      await aborting.write(Buffer.from('x'));
      await otherReads.take(1);
      aborting.abort(new Error('enough'));
      const seen = await otherReads.rest().then(
        () => 'end',
        (error: unknown) => codeOf(error),
      );
      if (traits.abortLooksLikeEnd === true) expect(['end', 'CONNECTION_LOST']).toContain(seen);
      else expect(seen).toBe('CONNECTION_LOST');
      const block = pattern(256 * 1024);
      const refused = (async () => {
        for (;;) await other.write(block);
      })();
      expect(await refused.catch(codeOf)).toBe('CONNECTION_LOST');
    });

    test('an abort ends what this side is waiting for with the reason given', async () => {
      const { a } = await pair();
      const reason = new SnapferryError('PEER_SILENT', 'nothing was heard');
      const reading = reader(a).take(1).catch(codeOf);
      const writing = (async () => {
        for (;;) await a.write(pattern(mebibyte));
      })().catch(codeOf);
      await nextTurn();
      a.abort(reason);
      a.abort(new Error('a second abort changes nothing'));
      expect(await reading).toBe('PEER_SILENT');
      expect(await writing).toBe('PEER_SILENT');
      await a.close();
    });

    test('close is idempotent, and ends both sides in order', async () => {
      const { a, b } = await pair();
      await a.write(Buffer.from('bye'));
      const closing = a.close();
      expect(await reader(b).rest()).toEqual(Buffer.from('bye'));
      await b.close();
      await closing;
      await a.close();
      await a[Symbol.asyncDispose]();
      a.abort(new Error('after the close'));
    });

    test('a close does not wait for ever for a reader that has bytes left unread', async () => {
      const { a, b } = await pair();
      await b.write(pattern(1000));
      await b.end();
      await a.close();
      await b.close();
    });

    test('a write after end, close or abort is refused with a code', async () => {
      const { a, b } = await pair();
      await a.end();
      expect(await a.write(Buffer.from('x')).catch(codeOf)).toBe('CONNECTION_LOST');
      await Promise.all([a.close(), b.close()]);
      expect(await a.write(Buffer.from('x')).catch(codeOf)).toBe('CONNECTION_LOST');
      const other = await pair();
      other.a.abort(new Error('enough'));
      expect(await other.a.write(Buffer.from('x')).catch(codeOf)).toBe('CONNECTION_LOST');
    });

    test('the source can be iterated once', async () => {
      const { a } = await pair();
      a.source[Symbol.asyncIterator]();
      expect(() => a.source[Symbol.asyncIterator]()).toThrow(SnapferryError);
    });

    test('leaving the iteration early leaves a stream that can still write and be closed', async () => {
      const { a, b } = await pair();
      // More than a buffer, so that b may still be writing when a has stopped reading.
      const writing = b.write(pattern(100_000)).catch(codeOf);
      for await (const piece of a.source) {
        expect(piece.byteLength).toBeGreaterThan(0);
        break;
      }
      await a.write(Buffer.from('still here'));
      const closing = a.close();
      expect(await reader(b).rest()).toEqual(Buffer.from('still here'));
      await Promise.allSettled([b.close(), closing, writing]);
    });

    test('nothing is left behind', async () => {
      const before = handles();
      const made = await makePair();
      const fromB = reader(made.b);
      await made.a.write(Buffer.from('x'));
      await fromB.take(1);
      await Promise.all([made.a.close(), made.b.close()]);
      const aborted = await makePair();
      aborted.a.abort(new Error('enough'));
      aborted.b.abort(new Error('enough'));
      await Promise.all([aborted.a.close(), aborted.b.close()]);
      await made.cleanup?.();
      await aborted.cleanup?.();
      // Handles are freed some turns after their 'close'; the test's own time limit ends a wait for one that never is.
      while (handles() > before) await nextTurn();
    });
  });
}

/** Reads a stream by amounts. */
function reader(stream: ByteStream): { take(bytes: number): Promise<Buffer>; rest(): Promise<Buffer> } {
  const iterator = stream.source[Symbol.asyncIterator]();
  let held = Buffer.alloc(0);
  const more = async (): Promise<boolean> => {
    const result = await iterator.next();
    if (result.done === true) return false;
    held = Buffer.concat([held, result.value]);
    return true;
  };
  return {
    take: async (bytes) => {
      while (held.byteLength < bytes) {
        if (!(await more())) throw new Error(`the stream ended after ${held.byteLength} of ${bytes} bytes`);
      }
      const taken = held.subarray(0, bytes);
      held = held.subarray(bytes);
      return taken;
    },
    rest: async () => {
      while (await more());
      const taken = held;
      held = Buffer.alloc(0);
      return taken;
    },
  };
}

async function count(stream: ByteStream): Promise<number> {
  let bytes = 0;
  for await (const piece of stream.source) bytes += piece.byteLength;
  return bytes;
}

/** Bytes that differ from place to place, so that a lost or doubled piece shows. */
function pattern(bytes: number, seed = 0): Uint8Array {
  const filled = new Uint8Array(bytes);
  for (let index = 0; index < bytes; index += 1) filled[index] = (index * 31 + (index >> 8) * 7 + seed) & 0xff;
  return filled;
}

function repeated(block: Uint8Array, offset: number, bytes: number): Buffer {
  const copies = Math.ceil((offset + bytes) / block.byteLength);
  return Buffer.concat(Array.from({ length: copies }, () => block)).subarray(offset, offset + bytes);
}

/** Waits until `value` has stayed the same for many turns of the event loop. */
async function untilUnchanged(value: () => number): Promise<void> {
  let last = value();
  let unchangedTurns = 0;
  while (unchangedTurns < 200) {
    await nextTurn();
    unchangedTurns = value() === last ? unchangedTurns + 1 : 0;
    last = value();
  }
}

function codeOf(error: unknown): string {
  return error instanceof SnapferryError ? error.code : String(error);
}

function handles(): number {
  return process.getActiveResourcesInfo().filter((name) => /Wrap|Timeout|Process|Pipe|TCP/.test(name)).length;
}

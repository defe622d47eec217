import { describe, expect, it } from 'vitest';
import { watchBytes } from '../../src/replication/watch-bytes.ts';
import type { TransferBytes } from '../../src/sink.ts';

/** A sender that, after some pieces, waits until it is told to stop by its call's signal, and records its end. */
function sender(pieces: number, signal: AbortSignal) {
  const seen = { begun: false, ended: false };
  async function* send(): TransferBytes {
    seen.begun = true;
    try {
      for (let index = 0; index < pieces; index += 1) yield new Uint8Array(10);
      await new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(new Error('told to stop')), { once: true });
      });
    } finally {
      seen.ended = true;
    }
  }
  return { bytes: send(), seen };
}

describe('watchBytes', () => {
  it('counts, and knows a complete transfer', async () => {
    const counts: number[] = [];
    const source = (async function* () {
      yield await Promise.resolve(new Uint8Array(3));
      yield new Uint8Array(4);
    })();
    const watched = watchBytes(source, new AbortController(), (count) => counts.push(count));
    expect(watched.isComplete()).toBe(false);
    for await (const piece of watched.bytes) expect(piece.byteLength).toBeGreaterThan(0);
    expect(counts).toEqual([3, 4]);
    expect(watched.isComplete()).toBe(true);
    expect(watched.failure()).toBeNull();
    await watched.close();
  });

  it('closing gets through to a sender that waits, and that end is not taken for a failure of its own', async () => {
    const stop = new AbortController();
    const { bytes, seen } = sender(0, stop.signal);
    const watched = watchBytes(bytes, stop, () => {});
    const pending = watched.bytes[Symbol.asyncIterator]().next();
    pending.catch(() => {});
    await expect(watched.close()).rejects.toThrow('told to stop');
    await expect(pending).rejects.toThrow('told to stop');
    expect(seen.ended).toBe(true);
    expect(watched.failure()).toBeNull();
  });

  it('closing what was never begun tells its call to stop', async () => {
    const stop = new AbortController();
    const { bytes, seen } = sender(1, stop.signal);
    await watchBytes(bytes, stop, () => {}).close();
    expect(stop.signal.aborted).toBe(true);
    expect(seen.begun).toBe(false);
  });

  it('leaving the loop ends a sender without cancelling its call', async () => {
    const stop = new AbortController();
    const { bytes, seen } = sender(3, stop.signal);
    const watched = watchBytes(bytes, stop, () => {});
    for await (const piece of watched.bytes) if (piece.byteLength > 0) break;
    expect(seen.ended).toBe(true);
    expect(stop.signal.aborted).toBe(false);
    expect(watched.isComplete()).toBe(false);
    await watched.close();
  });

  it('keeps what the source threw', async () => {
    const failure = new Error('read error');
    const source: TransferBytes = { [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(failure) }) };
    const watched = watchBytes(source, new AbortController(), () => {});
    await expect(watched.bytes[Symbol.asyncIterator]().next()).rejects.toBe(failure);
    expect(watched.failure()).toEqual({ error: failure });
    await watched.close();
  });
});

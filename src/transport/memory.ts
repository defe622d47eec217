import { setImmediate } from 'node:timers';
import type { Uint8ArrayList } from 'uint8arraylist';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import type { ByteStream } from './byte-stream.ts';

/** What may be chosen about a {@link memoryPair}. */
export interface MemoryPairOptions {
  /** How many bytes one direction holds before a write waits for the reader, in bytes. Default 64 KiB. */
  readonly bufferBytesMax?: number;
  /** What the two ends are called in messages. Default `memory a` and `memory b`. */
  readonly descriptions?: readonly [string, string];
  /**
   * For tests: each piece is overwritten when the next one is asked for, as a transport that reads into the same
   * buffers again would do. Whoever keeps a piece without copying it is found out. Default false.
   */
  readonly poison?: boolean;
}

/**
 * Two byte streams connected to each other inside this process: what one writes the other reads. They behave as a
 * socket does: a write waits when the reader is slow, each direction ends on its own, and an abort is seen by the peer
 * as `CONNECTION_LOST`. Pieces are handed over, not copied. No timer and no handle is involved.
 */
export function memoryPair(options: MemoryPairOptions = {}): [ByteStream, ByteStream] {
  const bufferBytesMax = options.bufferBytesMax ?? 64 * 1024;
  const [nameA, nameB] = options.descriptions ?? ['memory a', 'memory b'];
  const aToB = new Lane(bufferBytesMax);
  const bToA = new Lane(bufferBytesMax);
  const poison = options.poison ?? false;
  return [new MemoryEnd(nameA, bToA, aToB, poison), new MemoryEnd(nameB, aToB, bToA, poison)];
}

/** One direction: a bounded queue with one writer and one reader. */
class Lane {
  readonly #bufferBytesMax: number;
  #pieces: Uint8Array[] = [];
  #bufferedBytes = 0;
  #ended = false;
  #readError: SnapferryError | undefined;
  #writeError: SnapferryError | undefined;
  #wakeReader: (() => void) | undefined;
  #wakeWriters: (() => void)[] = [];

  constructor(bufferBytesMax: number) {
    this.#bufferBytesMax = bufferBytesMax;
  }

  async push(pieces: Iterable<Uint8Array>): Promise<void> {
    if (this.#writeError !== undefined) throw this.#writeError;
    for (const piece of pieces) {
      if (piece.byteLength === 0) continue;
      this.#pieces.push(piece);
      this.#bufferedBytes += piece.byteLength;
    }
    this.#notifyReader();
    while (this.#bufferedBytes >= this.#bufferBytesMax) {
      await new Promise<void>((resolve) => this.#wakeWriters.push(resolve));
      // Set by fail() and refuse() while this write was waiting.
      const error = this.#writeError as SnapferryError | undefined;
      if (error !== undefined) throw error;
    }
  }

  async shift(): Promise<Uint8Array | undefined> {
    for (;;) {
      if (this.#readError !== undefined) throw this.#readError;
      const piece = this.#pieces.shift();
      if (piece !== undefined) {
        this.#bufferedBytes -= piece.byteLength;
        if (this.#wakeWriters.length > 0 && this.#bufferedBytes < this.#bufferBytesMax) this.#notifyWriters();
        return piece;
      }
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => (this.#wakeReader = resolve));
    }
  }

  /** The writer sends no more; what is queued can still be read. */
  end(error: SnapferryError): void {
    this.#ended = true;
    this.#writeError ??= error;
    this.#notifyReader();
  }

  /** The reader takes no more; what is queued or still to be written is of no use to anybody. */
  refuse(writeError: SnapferryError): void {
    this.#writeError ??= writeError;
    this.#ended = true;
    this.#drop();
  }

  /** Broken: both ends learn of it at once, and what was queued is lost as it would be in a reset connection. */
  fail(readError: SnapferryError, writeError: SnapferryError): void {
    this.#readError ??= readError;
    this.#writeError ??= writeError;
    this.#drop();
  }

  #drop(): void {
    this.#pieces = [];
    this.#bufferedBytes = 0;
    this.#notifyReader();
    this.#notifyWriters();
  }

  #notifyReader(): void {
    const wake = this.#wakeReader;
    this.#wakeReader = undefined;
    wake?.();
  }

  #notifyWriters(): void {
    const waiting = this.#wakeWriters;
    this.#wakeWriters = [];
    if (waiting.length === 0) return;
    // A turn of the event loop for each full buffer: an endless transfer in memory must not starve timers and signals.
    setImmediate(() => {
      for (const wake of waiting) wake();
    });
  }
}

class MemoryEnd implements ByteStream {
  readonly description: string;
  readonly source: AsyncIterable<Uint8Array>;
  readonly #incoming: Lane;
  readonly #outgoing: Lane;
  #state: 'open' | 'ended' | 'closed' = 'open';

  constructor(description: string, incoming: Lane, outgoing: Lane, poison: boolean) {
    this.description = description;
    this.#incoming = incoming;
    this.#outgoing = outgoing;
    let used = false;
    this.source = {
      [Symbol.asyncIterator]: () => {
        if (used) throw new SnapferryError('INTERNAL', `the source of ${description} was iterated a second time`);
        used = true;
        return readLane(incoming, poison);
      },
    };
  }

  write(bytes: Uint8Array | Uint8ArrayList): Promise<void> {
    return this.#outgoing.push(bytes instanceof Uint8Array ? [bytes] : bytes);
  }

  end(): Promise<void> {
    if (this.#state === 'open') {
      this.#state = 'ended';
      this.#outgoing.end(this.#lost('this side has already ended its direction'));
    }
    return Promise.resolve();
  }

  abort(reason: Error): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    const own = toSnapferryError(reason, 'CONNECTION_LOST', `${this.description} was aborted`);
    const peers = this.#lost('the peer aborted the connection');
    this.#outgoing.fail(peers, own);
    this.#incoming.fail(own, peers);
  }

  async close(): Promise<void> {
    await this.end();
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#incoming.refuse(this.#lost('the peer has closed the connection'));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #lost(what: string): SnapferryError {
    return new SnapferryError('CONNECTION_LOST', `the connection ${this.description} is gone: ${what}`);
  }
}

function readLane(lane: Lane, poison: boolean): AsyncIterableIterator<Uint8Array> {
  let done = false;
  let lent: Uint8Array | undefined;
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    async next() {
      lent?.fill(0xdb);
      const piece = done ? undefined : await lane.shift();
      if (piece === undefined) {
        done = true;
        return { done: true, value: undefined };
      }
      if (!poison) return { done: false, value: piece };
      // Not slice(): on a Buffer that is a view, not a copy.
      lent = new Uint8Array(piece);
      return { done: false, value: lent };
    },
    return() {
      lent?.fill(0xdb);
      done = true;
      return Promise.resolve({ done: true, value: undefined });
    },
  };
}

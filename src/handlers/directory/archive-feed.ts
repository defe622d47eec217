import type { TransferBytes } from '../../sink.ts';
import { SnapferryError } from '../../errors.ts';
import { truncated } from './archive-format.ts';

const noBytes = new Uint8Array(0);

/**
 * Lends exact amounts of bytes out of pieces of any size. What a method returns is valid until the next call. Errors of
 * the underlying bytes pass through unchanged. Whoever made it calls {@link ArchiveFeed.close}.
 */
export class ArchiveFeed {
  readonly #iterator: AsyncIterator<Uint8Array | Iterable<Uint8Array>>;
  #queue: Iterator<Uint8Array> | null = null;
  #piece: Uint8Array = noBytes;
  #position = 0;
  #ended = false;
  #scratch: Uint8Array = new Uint8Array(4096);
  readonly #signal: AbortSignal | undefined;
  /** Bytes handed out so far. */
  offset = 0;

  /** @param signal makes a method that waits for bytes throw `CANCELLED`, whatever the producer does */
  constructor(bytes: TransferBytes, signal?: AbortSignal) {
    this.#iterator = bytes[Symbol.asyncIterator]();
    this.#signal = signal;
  }

  /**
   * Exactly `count` bytes, or null when the stream has ended before the first of them.
   * @throws SnapferryError `STREAM_TRUNCATED` when it ends in the middle of them
   */
  async take(count: number): Promise<Uint8Array | null> {
    if (this.#piece.length - this.#position >= count) return this.#lend(count);
    if (this.#scratch.length < count) this.#scratch = new Uint8Array(count);
    const scratch = this.#scratch.subarray(0, count);
    let filled = 0;
    while (filled < count) {
      if (this.#position === this.#piece.length && !(await this.#advance())) {
        if (filled === 0) return null;
        throw truncated(this.offset);
      }
      const part = this.#lend(Math.min(count - filled, this.#piece.length - this.#position));
      scratch.set(part, filled);
      filled += part.length;
    }
    return scratch;
  }

  /**
   * Between 1 and `countMax` bytes, as many as are at hand without copying.
   * @throws SnapferryError `STREAM_TRUNCATED` when the stream has ended
   */
  async some(countMax: number): Promise<Uint8Array> {
    if (this.#position === this.#piece.length && !(await this.#advance())) throw truncated(this.offset);
    return this.#lend(Math.min(countMax, this.#piece.length - this.#position));
  }

  /** Tells the producer that nothing more is wanted. Idempotent; never throws. */
  async close(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    // Whoever closes early has an error of their own to report; the producer's would only hide it.
    const returned = Promise.resolve(this.#iterator.return?.()).catch(() => undefined);
    // A generator that waits for bytes cannot be returned from before they come.
    if (this.#signal?.aborted !== true) await returned;
  }

  #lend(count: number): Uint8Array {
    const start = this.#position;
    this.#position += count;
    this.offset += count;
    return this.#piece.subarray(start, this.#position);
  }

  async #advance(): Promise<boolean> {
    for (;;) {
      if (this.#ended) return false;
      const inner = this.#queue?.next();
      if (inner !== undefined && inner.done !== true) {
        this.#piece = inner.value;
      } else {
        this.#queue = null;
        const outer = await this.#pull();
        if (outer === null) return false;
        if (outer instanceof Uint8Array) this.#piece = outer;
        else {
          this.#queue = outer[Symbol.iterator]();
          continue;
        }
      }
      this.#position = 0;
      if (this.#piece.length > 0) return true;
    }
  }

  async #pull(): Promise<Uint8Array | Iterable<Uint8Array> | null> {
    try {
      const next = await this.#next();
      if (next.done !== true) return next.value;
    } catch (error) {
      this.#release();
      // A producer that threw is done; one that we no longer wait for must still be told.
      this.#ended = this.#signal?.aborted !== true;
      throw error;
    }
    this.#release();
    this.#ended = true;
    return null;
  }

  #next(): Promise<IteratorResult<Uint8Array | Iterable<Uint8Array>>> {
    const signal = this.#signal;
    if (signal === undefined) return this.#iterator.next();
    return new Promise((resolve, reject) => {
      const cancel = (): void => reject(new SnapferryError('CANCELLED', 'the transfer was cancelled'));
      if (signal.aborted) {
        cancel();
        return;
      }
      signal.addEventListener('abort', cancel, { once: true });
      const settled = (): void => signal.removeEventListener('abort', cancel);
      this.#iterator.next().then(resolve, reject).finally(settled);
    });
  }

  #release(): void {
    this.#piece = noBytes;
    this.#position = 0;
  }
}

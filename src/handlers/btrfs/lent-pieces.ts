import { SnapferryError } from '../../errors.ts';
import type { TransferBytes } from '../../sink.ts';

/** Reads the bytes of a transfer. Whoever makes it calls {@link LentPieces.close}. */
export class LentPieces {
  readonly #iterator: AsyncIterator<Uint8Array | Iterable<Uint8Array>>;
  readonly #signal: AbortSignal | undefined;
  #isEnded = false;

  /** @param signal makes {@link LentPieces.next} throw `CANCELLED`, whatever the producer does */
  constructor(bytes: TransferBytes, signal?: AbortSignal) {
    this.#iterator = bytes[Symbol.asyncIterator]();
    this.#signal = signal;
  }

  /** The next piece, in its parts, lent until the next call; null at the end. Throws what the producer throws. */
  async next(): Promise<Iterable<Uint8Array> | null> {
    let next: IteratorResult<Uint8Array | Iterable<Uint8Array>>;
    try {
      next = await this.#next();
    } catch (error) {
      // A producer that threw is done; one that is no longer waited for must still be told.
      this.#isEnded = this.#signal?.aborted !== true;
      throw error;
    }
    if (next.done === true) {
      this.#isEnded = true;
      return null;
    }
    return next.value instanceof Uint8Array ? [next.value] : next.value;
  }

  /** Tells the producer that nothing more is wanted. Idempotent; never throws. */
  async close(): Promise<void> {
    if (this.#isEnded) return;
    this.#isEnded = true;
    // Whoever closes early has an error of their own to report; the producer's would only hide it.
    const returned = Promise.resolve(this.#iterator.return?.()).catch(() => undefined);
    // A generator that waits for bytes cannot be returned from before they come.
    if (this.#signal?.aborted !== true) await returned;
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
}

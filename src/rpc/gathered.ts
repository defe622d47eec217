import { Uint8ArrayList } from 'uint8arraylist';
import type { TransferBytes } from '../sink.ts';
import { abortError, onAbort } from './aborting.ts';

/** How a source is read by {@link gathered}. */
export interface GatheredOptions {
  /** Bytes read ahead of whoever takes them; a piece is never split, so the last one may go beyond. */
  readonly bytesMax: number;
  /** Ends the reading at once: a source that hangs must not hang the connection. */
  readonly signal: AbortSignal;
}

interface Taker {
  readonly resolve: (result: IteratorResult<Uint8ArrayList>) => void;
  readonly reject: (cause: unknown) => void;
}

/**
 * The first stage of sending: reads a source on while the batch before is being written, and hands out all that has come
 * since as one list, so that what a stage and a write cost is paid per batch, not per piece. Pieces are kept, not copied:
 * the source must have given them away. What came before the source failed still comes out; what came before the signal
 * fired does not. The source is closed whatever happens. Own code: a generator cannot go on while its reader is busy.
 */
export function gathered(source: TransferBytes, options: GatheredOptions): AsyncIterableIterator<Uint8ArrayList> {
  return new GatheredSource(source, options);
}

class GatheredSource implements AsyncIterableIterator<Uint8ArrayList> {
  readonly #iterator: AsyncIterator<Uint8Array | Uint8ArrayList>;
  readonly #bytesMax: number;
  readonly #stopListening: () => void;
  #batch = new Uint8ArrayList();
  #taker: Taker | null = null;
  #isReading = false;
  #state: 'open' | 'ended' | 'failed' = 'open';
  #cause: unknown;

  constructor(source: TransferBytes, { bytesMax, signal }: GatheredOptions) {
    this.#bytesMax = bytesMax;
    this.#iterator = source[Symbol.asyncIterator]();
    const aborted = (): void => {
      this.#batch = new Uint8ArrayList();
      this.#fail(abortError(signal, 'the request'));
    };
    this.#stopListening = onAbort([signal], aborted);
    if (signal.aborted) aborted();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<Uint8ArrayList>> {
    return new Promise((resolve, reject) => {
      this.#taker = { resolve, reject };
      this.#hand();
      if (!this.#isReading && this.#state === 'open') void this.#readOn();
    });
  }

  return(): Promise<IteratorReturnResult<undefined>> {
    this.#batch = new Uint8ArrayList();
    this.#close('ended');
    return Promise.resolve({ done: true, value: undefined });
  }

  async #readOn(): Promise<void> {
    this.#isReading = true;
    try {
      while (this.#batch.byteLength < this.#bytesMax) {
        const next = await this.#iterator.next();
        if (this.#hasClosed()) break;
        if (next.done === true) {
          this.#state = 'ended';
          this.#stopListening();
        } else {
          this.#batch.append(next.value);
        }
        this.#hand();
        if (this.#hasClosed()) break;
      }
    } catch (cause) {
      this.#fail(cause);
    }
    this.#isReading = false;
  }

  /** Gives whoever waits what there is. */
  #hand(): void {
    const taker = this.#taker;
    if (taker === null) return;
    if (this.#batch.byteLength > 0) {
      const value = this.#batch;
      this.#batch = new Uint8ArrayList();
      taker.resolve({ done: false, value });
    } else if (this.#state === 'ended') {
      taker.resolve({ done: true, value: undefined });
    } else if (this.#state === 'failed') {
      taker.reject(this.#cause);
    } else {
      return;
    }
    this.#taker = null;
  }

  #fail(cause: unknown): void {
    if (this.#state !== 'open') return;
    this.#cause = cause;
    this.#close('failed');
    this.#hand();
  }

  #close(state: 'ended' | 'failed'): void {
    if (this.#state !== 'open') return;
    this.#state = state;
    this.#stopListening();
    void this.#closeSource();
  }

  /** Not waited for: a generator that hangs in next() would answer never. */
  async #closeSource(): Promise<void> {
    try {
      await this.#iterator.return?.();
    } catch {
      // Why the stream ended is known already.
    }
  }

  // A method, because the state changes while the source is waited for, and the compiler would take it as unchanged.
  #hasClosed(): boolean {
    return this.#state !== 'open';
  }
}

import type { SnapferryError } from '../errors.ts';

type Read = IteratorResult<Uint8Array, unknown>;

/** What the reader of a {@link TappedSource} is told. */
export interface TapListener {
  /** Somebody begins to wait for bytes. */
  readonly onWaiting: () => void;
  /** The wait is over. */
  readonly onHeard: () => void;
}

/**
 * The bytes a peer sends, which may change their reader even while one waits for them: what arrives then is the new
 * reader's.
 */
export class TappedSource implements AsyncIterable<Uint8Array> {
  readonly #iterator: AsyncIterator<Uint8Array, unknown>;
  readonly #listener: TapListener;
  #pending: Promise<Read> | null = null;
  #abandon: ((error: SnapferryError) => void) | null = null;
  #receivedBytes = 0;

  constructor(source: AsyncIterable<Uint8Array>, listener: TapListener) {
    this.#iterator = source[Symbol.asyncIterator]();
    this.#listener = listener;
  }

  /** Bytes read so far. */
  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** Whether somebody waits for bytes. */
  get isWaiting(): boolean {
    return this.#pending !== null;
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return { next: () => this.#next() };
  }

  /**
   * Gives the source to another reader: `rest`, if there is any, comes first. Whoever waits for a piece gets `error`.
   */
  handOver(rest: Uint8Array, error: SnapferryError): AsyncIterable<Uint8Array> {
    this.#abandon?.(error);
    const iterator = this.#iterator;
    let left: Uint8Array | null = rest.byteLength > 0 ? rest : null;
    let pending = this.#pending;
    const next = async (): Promise<IteratorResult<Uint8Array, undefined>> => {
      if (left !== null) {
        const value = left;
        left = null;
        return { done: false, value };
      }
      const reading = pending ?? iterator.next();
      pending = null;
      const read = await reading;
      return read.done === true ? { done: true, value: undefined } : read;
    };
    const stop = async (): Promise<IteratorReturnResult<undefined>> => {
      await iterator.return?.();
      return { done: true, value: undefined };
    };
    return { [Symbol.asyncIterator]: () => ({ next, return: stop }) };
  }

  #next(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.#listener.onWaiting();
    const reading = this.#iterator.next();
    this.#pending = reading;
    return new Promise((resolve, reject) => {
      this.#abandon = reject;
      const over = (): boolean => {
        if (this.#pending !== reading) return true;
        this.#pending = null;
        this.#listener.onHeard();
        return false;
      };
      reading.then(
        (read) => {
          if (over()) return;
          if (read.done !== true) this.#receivedBytes += read.value.byteLength;
          resolve(read.done === true ? { done: true, value: undefined } : read);
        },
        (error: unknown) => {
          over();
          reject(error instanceof Error ? error : new Error(String(error)));
        },
      );
    });
  }
}

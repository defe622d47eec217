import { toSnapferryError, SnapferryError } from '../errors.ts';
import type { TransferBytes } from '../sink.ts';
import { abortError, onAbort, orAborted } from './aborting.ts';

type Piece = TransferBytes extends AsyncIterable<infer P> ? P : never;

/** How a handler's stream is tied to the call that asked for it. */
export interface LocalStreamOptions {
  /** For messages: what is being received. */
  readonly doing: string;
  /** Tells the handler to stop; fires, too, when the caller cancels or the connection is closed. */
  readonly abort: AbortController;
  /** Called once it is over. */
  readonly onSettled: () => void;
}

/** A handler's stream with the promises of the wire: whole or a throw, stopped when left, closed always. */
export class LocalStream implements AsyncIterableIterator<Piece> {
  readonly #iterator: AsyncIterator<Piece>;
  readonly #options: LocalStreamOptions;
  readonly #stopListening: () => void;
  #failure: SnapferryError | null = null;
  #isOver = false;
  #isReading = false;

  constructor(source: TransferBytes, options: LocalStreamOptions) {
    this.#iterator = source[Symbol.asyncIterator]();
    this.#options = options;
    const { signal } = options.abort;
    const aborted = (): void => this.stop(abortError(signal, options.doing));
    this.#stopListening = onAbort([signal], aborted);
    if (signal.aborted) aborted();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Piece, undefined>> {
    const { abort, doing } = this.#options;
    try {
      for (;;) {
        if (this.#failure !== null) throw this.#failure;
        if (this.#isOver) return { done: true, value: undefined };
        this.#isReading = true;
        const next = await orAborted(() => this.#iterator.next(), abort.signal, doing);
        if (next.done === true) this.#settle();
        else if (next.value.byteLength > 0) return next;
      }
    } catch (cause) {
      const failure = toSnapferryError(cause, 'SOURCE_FAILED', doing);
      this.stop(failure);
      throw this.#failure ?? failure;
    } finally {
      this.#isReading = false;
    }
  }

  /** Stops the handler, and waits until its stream is closed unless it is being read. */
  async return(): Promise<IteratorReturnResult<undefined>> {
    await this.#end(null);
    return { done: true, value: undefined };
  }

  /** Stops the handler; who reads on gets `failure`, since what has come is not the whole. */
  stop(failure: SnapferryError): void {
    void this.#end(failure);
  }

  async #end(failure: SnapferryError | null): Promise<void> {
    if (this.#isOver) return;
    this.#failure = failure;
    this.#settle();
    const { abort, doing } = this.#options;
    abort.abort(failure ?? new SnapferryError('CANCELLED', `${doing} was stopped by its receiver`));
    const closed = Promise.resolve(this.#iterator.return?.()).catch(() => undefined);
    // A generator that hangs in next() would answer never.
    if (!this.#isReading) await closed;
  }

  #settle(): void {
    this.#isOver = true;
    this.#stopListening();
    this.#options.onSettled();
  }
}

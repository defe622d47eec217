import type { Uint8ArrayList } from 'uint8arraylist';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import type { Connection } from './connection.ts';
import { streamDigest } from './digest.ts';
import { decodeTrailer, errorFromWire, type Trailer } from './messages.ts';
import { errorId } from './protocol.ts';

/** How a stream being received is tied to its request. */
export interface IncomingStreamOptions {
  /** For messages: what is being received. */
  readonly doing: string;
  /** Cancels from outside. */
  readonly signal?: AbortSignal | undefined;
  /** Asks the sender to stop. */
  readonly cancel: () => void;
  /** Called once the connection is past the stream, or dead. */
  readonly onSettled: () => void;
  /** How long a cancelled sender may take to end its stream. */
  readonly drainMsMax: number;
}

/**
 * The receiving end of a transfer: ends normally only after the whole stream and, in version 2, a trailer without error
 * whose count and digest agree. Stopping early cancels the sender and reads the rest away, so that the connection stays
 * in step; version 1 has no cancel, so there the connection is closed. Not a generator: one that was never started does
 * not run its `finally`.
 */
export class IncomingStream implements AsyncIterableIterator<Uint8ArrayList> {
  readonly #connection: Connection;
  readonly #options: IncomingStreamOptions;
  readonly #payload: AsyncGenerator<Uint8ArrayList, void, void>;
  readonly #digest: ReturnType<typeof streamDigest>;
  #state: 'open' | 'ended' | 'stopped' = 'open';
  #failure: SnapferryError | null = null;
  #pending: Promise<unknown> = Promise.resolve();
  #isTrailerRead = false;
  readonly #onAbort = (): void => this.#stop(abortError(this.#options.signal, this.#options.doing));

  constructor(connection: Connection, options: IncomingStreamOptions) {
    this.#connection = connection;
    this.#options = options;
    this.#payload = connection.readStream();
    this.#digest = streamDigest(connection.digest);
    if (options.signal?.aborted === true) this.#onAbort();
    else options.signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Uint8ArrayList, undefined>> {
    if (this.#failure !== null) throw this.#failure;
    if (this.#state !== 'open') return { done: true, value: undefined };
    const read = this.#read();
    this.#pending = read.catch(() => undefined);
    return this.#orStopped(read);
  }

  /** Stops: the sender is cancelled and what is under way is read away behind the caller's back. */
  return(): Promise<IteratorReturnResult<undefined>> {
    this.#stop(null);
    return Promise.resolve({ done: true, value: undefined });
  }

  async #read(): Promise<IteratorResult<Uint8ArrayList, undefined>> {
    try {
      const next = await this.#payload.next();
      if (next.done !== true) {
        (await this.#digest).update(next.value);
        return next;
      }
      if (this.#connection.version === 2) await this.#checkTrailer();
    } catch (error) {
      this.#settle('ended');
      this.#failure = toSnapferryError(error, 'CONNECTION_LOST', this.#options.doing);
      throw this.#failure;
    }
    this.#settle('ended');
    return { done: true, value: undefined };
  }

  /** A cancelled call must not wait for a peer that sends nothing. */
  async #orStopped<T>(read: Promise<T>): Promise<T> {
    const { signal } = this.#options;
    if (signal === undefined) return read;
    return new Promise<T>((resolve, reject) => {
      const stopped = (): void => reject(abortError(signal, this.#options.doing));
      signal.addEventListener('abort', stopped, { once: true });
      read.then(resolve, reject).finally(() => signal.removeEventListener('abort', stopped));
    });
  }

  async #readTrailer(): Promise<Trailer | null> {
    if (this.#isTrailerRead) return null;
    this.#isTrailerRead = true;
    return this.#connection.readMessage('trailer', this.#connection.limits.headerBytesMax, decodeTrailer);
  }

  async #checkTrailer(): Promise<void> {
    const trailer = await this.#readTrailer();
    if (trailer === null) throw new SnapferryError('STREAM_TRUNCATED', 'the connection ended before the trailer');
    if (trailer.errorId !== errorId.none) throw errorFromWire(trailer, this.#options.doing);
    const damage = await this.#damage(trailer);
    if (damage === null) return;
    const error = new SnapferryError('DIGEST_MISMATCH', `${this.#options.doing}: ${damage}`);
    this.#connection.fail(error);
    throw error;
  }

  async #damage(trailer: Trailer): Promise<string | null> {
    const digest = await this.#digest;
    if (trailer.bytes !== digest.bytes) return `${digest.bytes} bytes arrived where ${trailer.bytes} were sent`;
    const agreed = this.#connection.digest;
    if (agreed === null) return null;
    if (trailer.digest?.algorithm !== agreed) return `the trailer has no ${agreed} digest although that was agreed`;
    return trailer.digest.value === digest.value() ? null : `the ${agreed} digest of the stream does not agree`;
  }

  #stop(failure: SnapferryError | null): void {
    if (this.#state !== 'open') return;
    this.#failure = failure;
    this.#state = 'stopped';
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
    const timedOut = (): void =>
      this.#connection.fail(
        new SnapferryError('TIMEOUT', `the peer did not end its stream after ${this.#options.doing} was cancelled`),
      );
    const timer = setTimeout(timedOut, this.#options.drainMsMax);
    timer.unref();
    void this.#drain().finally(() => {
      clearTimeout(timer);
      this.#options.onSettled();
    });
  }

  async #drain(): Promise<void> {
    const doing = this.#options.doing;
    if (this.#connection.version === 1) {
      this.#connection.fail(
        new SnapferryError('CANCELLED', `${doing} was stopped; version 1 cannot do that but by closing`),
      );
      return;
    }
    this.#options.cancel();
    try {
      await this.#pending;
      for (let next = await this.#payload.next(); next.done !== true;) next = await this.#payload.next();
      await this.#readTrailer();
    } catch (error) {
      this.#connection.fail(toSnapferryError(error, 'CONNECTION_LOST', doing));
    }
  }

  #settle(state: 'ended'): void {
    if (this.#state !== 'open') return;
    this.#state = state;
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
    this.#options.onSettled();
  }
}

/** The error for a call whose signal was aborted; a SnapferryError given as the reason is kept. */
export function abortError(signal: AbortSignal | undefined, doing: string): SnapferryError {
  const reason: unknown = signal?.reason;
  if (reason instanceof SnapferryError) return reason;
  return new SnapferryError('CANCELLED', `${doing} was cancelled`, { cause: reason });
}

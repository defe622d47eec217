import type { Uint8ArrayList } from 'uint8arraylist';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import { abortError, onAbort } from './aborting.ts';
import type { Connection } from './connection.ts';
import { streamDigest, type StreamDigest } from './digest.ts';
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
  readonly #payload: AsyncIterator<Uint8ArrayList, void, void>;
  readonly #digest: Promise<StreamDigest>;
  #measure: StreamDigest | null = null;
  #state: 'open' | 'ended' | 'stopped' = 'open';
  #failure: SnapferryError | null = null;
  #pending: Promise<unknown> = Promise.resolve();
  #isTrailerRead = false;
  #stopped: (failure: SnapferryError | null) => void = () => undefined;
  readonly #stopListening: () => void;

  constructor(connection: Connection, options: IncomingStreamOptions) {
    this.#connection = connection;
    this.#options = options;
    this.#payload = connection.readStream();
    this.#digest = streamDigest(connection.digest);
    const { signal, doing } = options;
    const aborted = (): void => this.stop(abortError(signal, doing));
    this.#stopListening = onAbort(signal === undefined ? [] : [signal], aborted);
    if (signal?.aborted === true) aborted();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<Uint8ArrayList, undefined>> {
    if (this.#failure !== null) return Promise.reject(this.#failure);
    if (this.#state !== 'open') return Promise.resolve({ done: true, value: undefined });
    const read = this.#read();
    this.#pending = read;
    return this.#orStopped(read);
  }

  /** Stops: the sender is cancelled and what is under way is read away behind the caller's back. */
  return(): Promise<IteratorReturnResult<undefined>> {
    this.stop(null);
    return Promise.resolve({ done: true, value: undefined });
  }

  /** As {@link return}, and who reads on gets `failure`, since what has come is not the whole. */
  stop(failure: SnapferryError | null): void {
    if (this.#state !== 'open') return;
    this.#failure = failure;
    this.#state = 'stopped';
    this.#stopListening();
    this.#stopped(failure);
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

  async #read(): Promise<IteratorResult<Uint8ArrayList, undefined>> {
    try {
      const next = await this.#payload.next();
      if (next.done !== true) {
        this.#measure ??= await this.#digest;
        this.#measure.update(next.value);
        return next;
      }
      if (this.#connection.version === 2) await this.#checkTrailer();
    } catch (error) {
      const failure = toSnapferryError(error, 'CONNECTION_LOST', this.#options.doing);
      if (failure.connectionDead) this.#connection.fail(failure);
      this.#settle();
      this.#failure ??= failure;
      throw failure;
    }
    this.#settle();
    return { done: true, value: undefined };
  }

  /** Who stops, or is stopped, must not wait for a peer that sends nothing. */
  #orStopped<T>(read: Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#stopped = (failure) => {
        if (failure !== null) reject(failure);
      };
      read.then(resolve, reject);
    });
  }

  async #readTrailer(): Promise<Trailer | null> {
    if (this.#isTrailerRead) return null;
    this.#isTrailerRead = true;
    const bytesMax = this.#connection.limits.headerBytesMax;
    return this.#connection.readMessage({ what: 'trailer', bytesMax, shape: decodeTrailer, isDue: true });
  }

  async #checkTrailer(): Promise<void> {
    const trailer = await this.#readTrailer();
    if (trailer === null) throw new SnapferryError('STREAM_TRUNCATED', 'the connection ended before the trailer');
    if (trailer.errorId !== errorId.none) throw errorFromWire(trailer, this.#options.doing);
    const damage = await this.#damage(trailer);
    if (damage === null) return;
    throw new SnapferryError('DIGEST_MISMATCH', `${this.#options.doing}: ${damage}`);
  }

  async #damage(trailer: Trailer): Promise<string | null> {
    const digest = await this.#digest;
    if (trailer.bytes !== digest.bytes) return `${digest.bytes} bytes arrived where ${trailer.bytes} were sent`;
    const agreed = this.#connection.digest;
    // A sender that speaks of a digest heard another hello than this side: something changed it on the way.
    if (agreed === null) return trailer.digest === null ? null : 'the trailer has a digest although none was agreed';
    if (trailer.digest?.algorithm !== agreed) return `the trailer has no ${agreed} digest although that was agreed`;
    return trailer.digest.value === digest.value() ? null : `the ${agreed} digest of the stream does not agree`;
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
      await this.#pending.catch(() => undefined);
      for (let next = await this.#payload.next(); next.done !== true;) next = await this.#payload.next();
      await this.#readTrailer();
    } catch (error) {
      this.#connection.fail(toSnapferryError(error, 'CONNECTION_LOST', doing));
    }
  }

  #settle(): void {
    if (this.#state !== 'open') return;
    this.#state = 'ended';
    this.#stopListening();
    this.#options.onSettled();
  }
}

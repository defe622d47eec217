import type { Readable, Writable } from 'node:stream';
import type { Uint8ArrayList } from 'uint8arraylist';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import type { ByteStream } from './byte-stream.ts';
import { IncomingBytes } from './incoming-bytes.ts';

/** How long a close waits for the peer to end its direction too before it drops what is left, in milliseconds. */
export const lingerMsDefault = 5000;

/** What {@link nodeByteStream} is made of. */
export interface NodeByteStreamOptions {
  /** Bytes from the peer. May be the same object as `writable`; a socket must have been made with `allowHalfOpen`. */
  readonly readable: Readable;
  /** Bytes to the peer. */
  readonly writable: Writable;
  /** What it is, for messages: `ssh web1`, `unix /run/x.sock`. */
  readonly description: string;
  /** How long {@link ByteStream.close} waits for the peer's end, in milliseconds. Default {@link lingerMsDefault}. */
  readonly lingerMs?: number;
  /**
   * Asked once when the peer's direction has ended (undefined) or either direction broke: the error to report instead.
   * A child process waits here for its exit status.
   */
  readonly verdict?: (error: SnapferryError | undefined, receivedBytes: number) => Promise<SnapferryError | undefined>;
  /**
   * Releases what belongs to the connection beside the two streams; called by a close, when this side's direction is being
   * ended and what still comes is thrown away, and after an abort; so it may be called twice. Its rejection becomes the
   * close's. `settled` resolves when all is flushed and the peer has ended. Default: waits for that, at most `lingerMs`.
   */
  readonly release?: (settled: Promise<void>, receivedBytes: number) => Promise<void>;
  /** Called by an abort before the two streams are destroyed: resets a socket, kills a child. */
  readonly onAbort?: () => void;
  /** Where incoming bytes come from if not from `readable`'s `data` events; `readable` still tells end and errors. */
  readonly incoming?: IncomingBytes;
}

/**
 * A {@link ByteStream} over Node streams: two of them (a child's stdout and stdin) or one duplex (a socket). The
 * result owns them. Errors of either stream become `CONNECTION_LOST` with the cause kept.
 */
export function nodeByteStream(options: NodeByteStreamOptions): ByteStream {
  return new NodeByteStream(options);
}

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: SnapferryError) => void;
}

type Listener = (...args: never[]) => void;

const ignore = (): void => undefined;

class NodeByteStream implements ByteStream {
  readonly description: string;
  readonly source: AsyncIterable<Uint8Array>;
  readonly #options: NodeByteStreamOptions;
  readonly #readable: Readable;
  readonly #writable: Writable;
  readonly #shared: boolean;
  readonly #incoming: IncomingBytes;
  readonly #listeners: [Readable | Writable, string, Listener][] = [];
  readonly #peerEnded: Promise<void>;
  readonly #destroyed: Promise<void>;
  #notePeerEnded: () => void = ignore;
  #noteDestroyed: () => void = ignore;
  #streamsOpen: number;
  #readingOver = false;
  #drainWaiters: Waiter[] = [];
  #writeBroken: Promise<SnapferryError> | undefined;
  #ending: Promise<void> | undefined;
  #closing: Promise<void> | undefined;
  #failure: SnapferryError | undefined;
  #aborted = false;

  constructor(options: NodeByteStreamOptions) {
    this.#options = options;
    this.description = options.description;
    this.#readable = options.readable;
    this.#writable = options.writable;
    this.#shared = options.readable === (options.writable as unknown);
    this.#streamsOpen = this.#shared ? 1 : 2;
    this.#peerEnded = new Promise((resolve) => (this.#notePeerEnded = resolve));
    this.#destroyed = new Promise((resolve) => (this.#noteDestroyed = resolve));
    this.#incoming = options.incoming ?? this.#dataEvents();
    this.#listen();
    let used = false;
    this.source = {
      [Symbol.asyncIterator]: () => {
        if (used) throw new SnapferryError('INTERNAL', `the source of ${this.description} was iterated a second time`);
        used = true;
        return this.#incoming.iterator();
      },
    };
  }

  write(bytes: Uint8Array | Uint8ArrayList): Promise<void> {
    const writable = this.#writable;
    if (this.#ending !== undefined && this.#writeBroken === undefined) {
      return Promise.reject(this.#lost('nothing can be written after this side has ended its direction'));
    }
    if (writable.destroyed) this.#breakWriting(this.#lost('it is closed'));
    if (this.#writeBroken !== undefined) return this.#writeBroken.then(rethrow);
    if (bytes instanceof Uint8Array) {
      if (bytes.byteLength > 0) writable.write(bytes);
    } else {
      writable.cork();
      for (const piece of bytes) if (piece.byteLength > 0) writable.write(piece);
      writable.uncork();
    }
    if (!writable.writableNeedDrain && !writable.destroyed) return Promise.resolve();
    return new Promise((resolve, reject) => this.#drainWaiters.push({ resolve, reject }));
  }

  end(): Promise<void> {
    this.#ending ??= this.#end();
    return this.#ending;
  }

  abort(reason: Error): void {
    if (this.#aborted) return;
    this.#aborted = true;
    const error = toSnapferryError(reason, 'CONNECTION_LOST', `the connection ${this.description} was aborted`);
    this.#incoming.abort(error);
    this.#writeBroken = Promise.resolve(error);
    this.#rejectWaiters(error);
    this.#options.onAbort?.();
    this.#destroy();
    // What belongs to the connection is released even if nobody calls close().
    void this.#release(Promise.resolve())?.catch(ignore);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #end(): Promise<void> {
    if (this.#writeBroken !== undefined) return this.#writeBroken.then(rethrow);
    // A child that has exited takes its stdin with it: nothing is lost if nothing was still to be written.
    if (this.#writable.destroyed && this.#writable.writableLength === 0) return;
    await new Promise<void>((resolve, reject) => {
      this.#drainWaiters.push({ resolve, reject });
      this.#writable.end();
    });
  }

  async #close(): Promise<void> {
    let failure: SnapferryError | undefined;
    if (!this.#aborted) {
      this.#incoming.discard();
      const flushed = this.end().then(
        () => undefined,
        (error: unknown) => toSnapferryError(error),
      );
      failure = await this.#linger(Promise.all([flushed, this.#peerEnded]).then(ignore));
      this.#destroy();
      failure ??= this.#failure ?? (await flushed);
    }
    await this.#destroyed;
    if (this.#hasAborted()) await this.#release(Promise.resolve())?.catch(ignore);
    else if (failure !== undefined) throw failure;
  }

  async #linger(settled: Promise<void>): Promise<SnapferryError | undefined> {
    const released = this.#release(settled);
    if (released !== undefined) {
      return released.then(
        () => undefined,
        (error: unknown) => toSnapferryError(error, 'CONNECTION_LOST', this.description),
      );
    }
    await atMost(this.#options.lingerMs ?? lingerMsDefault, settled);
    return this.#writable.writableLength > 0 ? this.#lost('the peer did not read all that was sent') : undefined;
  }

  #release(settled: Promise<void>): Promise<void> | undefined {
    return this.#options.release?.(settled, this.#incoming.receivedBytes);
  }

  // A method, because an abort may come while a close waits, and the compiler would take the field as unchanged.
  #hasAborted(): boolean {
    return this.#aborted;
  }

  #dataEvents(): IncomingBytes {
    const readable = this.#readable;
    let listening = false;
    const incoming = new IncomingBytes({
      bufferedBytesMax: 256 * 1024,
      onRoom: () => {
        if (listening) {
          readable.resume();
          return;
        }
        listening = true;
        this.#on(readable, 'data', (piece: Uint8Array) => {
          if (!incoming.push(piece)) readable.pause();
        });
      },
    });
    return incoming;
  }

  #listen(): void {
    this.#on(this.#readable, 'end', () => this.#endReading(undefined));
    this.#on(this.#readable, 'error', (error: Error) => this.#broke(error, true));
    this.#on(this.#readable, 'close', () => {
      this.#endReading(this.#lost('it was closed before the peer had ended it'));
      if (this.#shared) this.#writableClosed();
      this.#streamClosed();
    });
    this.#on(this.#writable, 'drain', () => this.#resolveWaiters());
    this.#on(this.#writable, 'finish', () => this.#resolveWaiters());
    if (this.#shared) return;
    this.#on(this.#writable, 'error', (error: Error) => this.#broke(error, false));
    this.#on(this.#writable, 'close', () => {
      this.#writableClosed();
      this.#streamClosed();
    });
  }

  #on(stream: Readable | Writable, event: string, listener: Listener): void {
    this.#listeners.push([stream, event, listener]);
    stream.on(event, listener as (...args: unknown[]) => void);
  }

  #broke(cause: Error, reading: boolean): void {
    const message = `the connection ${this.description} broke: ${cause.message}`;
    const error = new SnapferryError('CONNECTION_LOST', message, { cause });
    this.#failure ??= error;
    if (reading) this.#endReading(error);
    if (!reading || this.#shared) this.#breakWriting(error);
  }

  #endReading(error: SnapferryError | undefined): void {
    if (this.#readingOver) return;
    this.#readingOver = true;
    this.#notePeerEnded();
    if (this.#options.verdict === undefined) this.#incoming.end(error);
    else void this.#judge(error).then((verdict) => this.#incoming.end(verdict));
  }

  #breakWriting(error: SnapferryError): void {
    this.#writeBroken ??= this.#judge(error).then((verdict) => {
      this.#rejectWaiters(verdict ?? error);
      return verdict ?? error;
    });
  }

  async #judge(error: SnapferryError | undefined): Promise<SnapferryError | undefined> {
    const verdict = await this.#options.verdict?.(error, this.#incoming.receivedBytes);
    return verdict ?? error;
  }

  #writableClosed(): void {
    if (this.#drainWaiters.length === 0) return;
    if (this.#ending === undefined) this.#breakWriting(this.#lost('it was closed before everything was written'));
    else this.#resolveWaiters();
  }

  #streamClosed(): void {
    this.#streamsOpen -= 1;
    if (this.#streamsOpen > 0) return;
    for (const [stream, event, listener] of this.#listeners) {
      // The error listeners stay: an error after the close must not become an uncaught exception.
      if (event !== 'error') stream.off(event, listener as (...args: unknown[]) => void);
    }
    this.#noteDestroyed();
  }

  #resolveWaiters(): void {
    const waiters = this.#drainWaiters;
    this.#drainWaiters = [];
    for (const waiter of waiters) waiter.resolve();
  }

  #rejectWaiters(error: SnapferryError): void {
    const waiters = this.#drainWaiters;
    this.#drainWaiters = [];
    for (const waiter of waiters) waiter.reject(error);
  }

  #destroy(): void {
    this.#readable.destroy();
    this.#writable.destroy();
  }

  #lost(what: string): SnapferryError {
    return new SnapferryError('CONNECTION_LOST', `the connection ${this.description} is gone: ${what}`);
  }
}

function rethrow(error: SnapferryError): never {
  throw error;
}

/** Resolves when `done` does, or after that many milliseconds. */
async function atMost(limitMs: number, done: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, limitMs)));
  await Promise.race([done, late]);
  clearTimeout(timer);
}

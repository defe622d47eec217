import { isErrorCode, SnapferryError, toSnapferryError } from '../../errors.ts';
import { systemClock } from '../../jobs/clock.ts';
import type { Clock } from '../../jobs/clock.ts';
import { handedOverStream } from '../../rpc/handed-over-stream.ts';
import type { ByteStream } from '../../transport/byte-stream.ts';
import { connectUnix } from '../../transport/unix.ts';
import { buildCall, parseGreeting, parseResponse } from './control-message.ts';
import { ControlTimeoutError, within } from './control-timeout.ts';
import type { ControlWait } from './control-timeout.ts';
import { LineReader } from './line-reader.ts';
import type { ReadLine } from './line-reader.ts';

/** What may be chosen about a client. Times in ms. */
export interface ControlClientOptions {
  /** How long connection and greeting may take. Default 10 000. */
  readonly connectTimeoutMs?: number;
  /** How long the daemon may take nothing of a command. Default 10 000. */
  readonly sendTimeoutMs?: number;
  /** How long the daemon may say nothing while it carries out a command; null: for ever. Default 60 000. */
  readonly receiveTimeoutMs?: number | null;
  /** How long a line of the daemon's may be. Default 64 MiB. */
  readonly replyBytesMax?: number;
  /** Gives up connecting. */
  readonly signal?: AbortSignal;
  /** Default: the machine's. */
  readonly clock?: Clock;
}

/** What may be chosen about one command. */
export interface ControlCallOptions {
  /** Stops waiting. The connection is dropped then, which is how the daemon learns of it. */
  readonly signal?: AbortSignal;
  /** Told each piece of news. */
  readonly onProgress?: (progress: unknown) => void;
  /** Instead of the client's, in ms; null: for ever. */
  readonly receiveTimeoutMs?: number | null;
}

/** What came of a command. */
export type ControlCallResult =
  /** It was carried out. */
  | { readonly kind: 'received'; readonly response: unknown }
  /** The daemon did not carry it out, and said why; the client can go on. The code is null where the daemon gave none. */
  | { readonly kind: 'refused'; readonly code: string | null; readonly message: string }
  /** The daemon ended the connection before it answered. The client is closed now, as after `failed`. */
  | { readonly kind: 'closed' }
  /** No answer: a time that ran out, a connection that broke, an answer that is none, a signal. */
  | { readonly kind: 'failed'; readonly error: SnapferryError };

/**
 * Connects to a daemon: to the unix socket at that path, or over a stream, which belongs to the client from now on. Whoever asked for
 * the client closes it.
 * @throws SnapferryError `CONNECT_FAILED` (also for what is no daemon of ours), `TIMEOUT` ({@link ControlTimeoutError}),
 *   `CANCELLED`; the stream is released then
 */
export async function controlClient(
  target: string | ByteStream,
  options: ControlClientOptions = {},
): Promise<ControlClient> {
  const { connectTimeoutMs = 10_000, clock = systemClock, signal } = options;
  const beganMs = clock.monotonicMs();
  const stream = typeof target === 'string' ? await connect(target, connectTimeoutMs, signal) : target;
  const reader = new LineReader(stream.source);
  try {
    const leftMs = Math.max(0, connectTimeoutMs - (clock.monotonicMs() - beganMs));
    const late = () => timedOut('connect', stream, `did not greet within ${connectTimeoutMs} ms`);
    const first = await interruptible(signal, within(clock, leftMs, reader.line(greetingBytesMax), late));
    return new ControlClient(stream, reader, greetedVersion(first, stream), options);
  } catch (cause) {
    const error = toSnapferryError(cause, 'CONNECT_FAILED', `cannot talk to the daemon at ${stream.description}`);
    stream.abort(error);
    await stream.close();
    throw error;
  }
}

const greetingBytesMax = 4096;

/** The asking side of a control socket. One command at a time. Made by {@link controlClient}. */
export class ControlClient implements AsyncDisposable {
  /** Of the daemon. */
  readonly version: string;
  readonly #stream: ByteStream;
  readonly #reader: LineReader;
  readonly #options: ControlClientOptions;
  readonly #clock: Clock;
  #state: 'open' | 'busy' | 'closed' | 'detached' = 'open';

  /** For {@link controlClient}: the daemon has greeted. */
  constructor(stream: ByteStream, reader: LineReader, version: string, options: ControlClientOptions) {
    this.version = version;
    this.#stream = stream;
    this.#reader = reader;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#readAhead();
  }

  /**
   * Has a command carried out and resolves with its response.
   * @throws SnapferryError with the daemon's code and words (`fromPeer`; `INVALID_REQUEST` for a code not known here),
   *   `CONNECTION_LOST`, `TIMEOUT`, `CANCELLED`, `PROTOCOL_VIOLATION`; as {@link attempt} for wrong use
   */
  async call(cmd: string, opts: object = {}, options: ControlCallOptions = {}): Promise<unknown> {
    return responseOf(await this.attempt(cmd, opts, options), cmd);
  }

  /**
   * The same, with a result for each end it can have.
   * @throws SnapferryError for wrong use, nothing being sent: `CONNECTION_LOST` for a client that is closed or detached, `BUSY` while
   *   another command is being carried out, `INVALID_REQUEST` for what cannot be sent
   */
  async attempt(cmd: string, opts: object = {}, options: ControlCallOptions = {}): Promise<ControlCallResult> {
    this.#requireOpen();
    const line = buildCall(cmd, opts);
    this.#state = 'busy';
    const result = await this.#exchange(cmd, line, options).catch((cause: unknown): ControlCallResult => ({
      kind: 'failed',
      error: toSnapferryError(cause, 'INTERNAL', cmd),
    }));
    const isOver = result.kind === 'closed' || result.kind === 'failed';
    if (isOver) this.#drop(result.kind === 'failed' ? result.error : this.#lost('the daemon ended the connection'));
    else if (!this.#isClosed()) this.#state = 'open';
    this.#readAhead();
    return result;
  }

  /**
   * Takes the channel away from the client and keeps it open, after a command that took it over: what the daemon sends from here on,
   * also what has already arrived. The caller owns the stream then.
   * @throws SnapferryError as {@link attempt} for wrong use
   */
  detach(): ByteStream {
    this.#requireOpen();
    this.#state = 'detached';
    return handedOverStream(this.#stream, this.#reader.rest(), Promise.resolve());
  }

  /** Ends the connection; a command in progress fails. Idempotent, never rejects, and nothing to a stream that was detached. */
  async close(): Promise<void> {
    if (this.#state === 'detached') return;
    const isBusy = this.#state === 'busy';
    this.#state = 'closed';
    if (isBusy) this.#stream.abort(new SnapferryError('CANCELLED', 'the control client was closed by this side'));
    // There is nothing on its way that could be lost.
    await this.#stream.close().catch(() => undefined);
  }

  /** As {@link close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #exchange(cmd: string, line: Uint8Array, options: ControlCallOptions): Promise<ControlCallResult> {
    const { signal, onProgress } = options;
    const hasLastWords = this.#reader.hasBytes;
    if (!hasLastWords) await interruptible(signal, this.#send(cmd, line));
    for (;;) {
      const found = await interruptible(signal, this.#receive(cmd, options));
      if (found.kind === 'end') return { kind: 'closed' };
      const reply = parseResponse(lineOf(found, this.#stream));
      if (hasLastWords && reply.kind !== 'error') throw unasked(this.#stream);
      if (reply.kind === 'response') return { kind: 'received', response: reply.response };
      if (reply.kind === 'error') return { kind: 'refused', code: reply.code, message: reply.message };
      // Null is only the daemon's way to find out whether somebody still listens.
      if (reply.progress !== null) onProgress?.(reply.progress);
    }
  }

  async #send(cmd: string, line: Uint8Array): Promise<void> {
    const { sendTimeoutMs = 10_000 } = this.#options;
    const late = () => timedOut('send', this.#stream, `did not take ${cmd} within ${sendTimeoutMs} ms`);
    try {
      await within(this.#clock, sendTimeoutMs, this.#stream.write(line), late);
    } catch (error) {
      // A daemon that has left may have said why before.
      if (!(error instanceof SnapferryError) || error.code !== 'CONNECTION_LOST') throw error;
    }
  }

  /** A daemon that leaves says so without being asked; once a write has failed, what was not read before is lost. */
  #readAhead(): void {
    this.#reader.fill().catch(() => undefined);
  }

  #receive(cmd: string, options: ControlCallOptions): Promise<ReadLine> {
    const own = this.#options.receiveTimeoutMs === undefined ? 60_000 : this.#options.receiveTimeoutMs;
    const { receiveTimeoutMs = own } = options;
    const line = this.#reader.line(this.#options.replyBytesMax ?? 64 * 1024 * 1024);
    if (receiveTimeoutMs === null) return line;
    const late = () => timedOut('receive', this.#stream, `said nothing about ${cmd} for ${receiveTimeoutMs} ms`);
    return within(this.#clock, receiveTimeoutMs, line, late);
  }

  #requireOpen(): void {
    if (this.#state === 'open') return;
    if (this.#state !== 'busy') throw this.#lost(`this control client is ${this.#state}`);
    throw new SnapferryError('BUSY', 'this control client is waiting for the answer to another command');
  }

  // A method, because a close may come while a command waits, and the compiler would take the field as unchanged.
  #isClosed(): boolean {
    return this.#state === 'closed';
  }

  #drop(error: SnapferryError): void {
    this.#state = 'closed';
    this.#stream.abort(error);
  }

  #lost(what: string): SnapferryError {
    return new SnapferryError('CONNECTION_LOST', `${this.#stream.description}: ${what}`);
  }
}

async function connect(path: string, timeoutMs: number, signal: AbortSignal | undefined): Promise<ByteStream> {
  try {
    return await connectUnix(path, { timeoutMs, ...(signal === undefined ? {} : { signal }) });
  } catch (error) {
    if (error instanceof SnapferryError && error.code === 'TIMEOUT') {
      throw new ControlTimeoutError('connect', error.message);
    }
    throw error;
  }
}

function greetedVersion(first: ReadLine, stream: ByteStream): string {
  try {
    return parseGreeting(lineOf(first, stream));
  } catch (cause) {
    const message = `${stream.description} is not the control socket of a daemon: ${toSnapferryError(cause).message}`;
    throw new SnapferryError('CONNECT_FAILED', message, { cause });
  }
}

function lineOf(found: ReadLine, stream: ByteStream): Uint8Array {
  if (found.kind === 'line') return found.line;
  if (found.kind === 'tooLong') {
    throw new SnapferryError('LIMIT_EXCEEDED', `${stream.description} sent a line that is longer than allowed`);
  }
  const message = `${stream.description} ended ${found.kind === 'cut' ? 'inside a line' : 'without a word'}`;
  throw new SnapferryError('STREAM_TRUNCATED', message);
}

function unasked(stream: ByteStream): SnapferryError {
  return new SnapferryError('PROTOCOL_VIOLATION', `${stream.description} answered what it was not asked`);
}

function timedOut(wait: ControlWait, stream: ByteStream, what: string): ControlTimeoutError {
  return new ControlTimeoutError(wait, `the daemon at ${stream.description} ${what}`);
}

/** Settles as `work` does, or rejects with `CANCELLED` when the signal is aborted; then nobody waits for `work` any more. */
async function interruptible<T>(signal: AbortSignal | undefined, work: Promise<T>): Promise<T> {
  if (signal === undefined) return work;
  work.catch(() => undefined);
  let stop: () => void = () => undefined;
  const interrupted = new Promise<never>((_, reject) => {
    const onAbort = (): void => {
      reject(new SnapferryError('CANCELLED', 'the control command was cancelled', { cause: signal.reason }));
    };
    signal.addEventListener('abort', onAbort, { once: true });
    stop = () => signal.removeEventListener('abort', onAbort);
    if (signal.aborted) onAbort();
  });
  try {
    return await Promise.race([work, interrupted]);
  } finally {
    stop();
  }
}

/**
 * The response of a command.
 * @throws SnapferryError why there is none, see {@link ControlClient.call}
 */
export function responseOf(result: ControlCallResult, cmd: string): unknown {
  switch (result.kind) {
    case 'received':
      return result.response;
    case 'refused': {
      const code = result.code !== null && isErrorCode(result.code) ? result.code : 'INVALID_REQUEST';
      throw new SnapferryError(code, result.message, { fromPeer: true });
    }
    case 'closed':
      throw new SnapferryError('CONNECTION_LOST', `the daemon ended the connection before it answered ${cmd}`);
    case 'failed':
      throw result.error;
  }
}

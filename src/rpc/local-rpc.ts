import { pino } from 'pino';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import type { TransferBytes } from '../sink.ts';
import { abortError } from './incoming-stream.ts';
import type * as api from './interfaces.ts';
import { orAborted } from './outgoing-stream.ts';

/** What a {@link LocalRPC} can be told. */
export interface LocalRPCOptions {
  /** Told to the handler. Default `local`. */
  readonly clientIdentity?: string | undefined;
  readonly logger?: api.Logger | undefined;
}

/** The same calls as over a wire, to a handler in this process: same errors, same cancellation, same PullMe. */
export const LocalRPC = {
  connect(handler: api.RPCHandler, options: LocalRPCOptions = {}): api.RPCRequester {
    return new LocalRequester(handler, options);
  },
} as const;

class LocalRequester implements api.RPCRequester {
  readonly protocolVersion = 2;
  readonly #handler: api.RPCHandler;
  readonly #clientIdentity: string;
  readonly #logger: api.Logger;
  readonly #died = new AbortController();

  constructor(handler: api.RPCHandler, options: LocalRPCOptions) {
    this.#handler = handler;
    this.#clientIdentity = options.clientIdentity ?? 'local';
    this.#logger = options.logger ?? pino({ level: 'silent' });
  }

  filesystems(request: api.FilesystemsRequest, options?: api.CallOptions) {
    return this.#call('Filesystems', options, (context) => this.#handler.filesystems(request, context));
  }

  filesystemVersions(request: api.FilesystemVersionsRequest, options?: api.CallOptions) {
    return this.#call('FilesystemVersions', options, (context) => this.#handler.filesystemVersions(request, context));
  }

  initialTransfer(request: api.InitialTransferRequest, options?: api.CallOptions): Promise<api.Transfer> {
    const call = (context: api.RequestContext) => this.#handler.initialTransfer(request, context);
    return this.#transfer('InitialTransfer', options, call);
  }

  incrementalTransfer(request: api.IncrementalTransferRequest, options?: api.CallOptions): Promise<api.Transfer> {
    const call = (context: api.RequestContext) => this.#handler.incrementalTransfer(request, context);
    return this.#transfer('IncrementalTransfer', options, call);
  }

  transferEstimate(request: api.TransferEstimateRequest, options?: api.CallOptions): Promise<number | null> {
    const call = async (context: api.RequestContext) =>
      (await this.#handler.transferEstimate?.(request, context)) ?? null;
    return this.#call('TransferEstimate', options, call);
  }

  transferCompleted(request: api.TransferCompletedRequest, options?: api.CallOptions): Promise<void> {
    const call = async (context: api.RequestContext) => this.#handler.transferCompleted?.(request, context);
    return this.#call('TransferCompleted', options, call);
  }

  async pullMe(
    request: api.PullMeRequest,
    handler: api.RPCHandler,
    options?: api.CallOptions,
  ): Promise<api.PullReport | null> {
    const pull = await this.#call('PullMe', options, async (context) => {
      if (this.#handler.pullMe === undefined) throw new SnapferryError('ACCESS_DENIED', 'nothing is received here');
      return this.#handler.pullMe(request, context);
    });
    const inverted = new LocalRequester(handler, { clientIdentity: '', logger: this.#logger });
    const onAbort = (): void => inverted.forceClose();
    options?.signal?.addEventListener('abort', onAbort, { once: true });
    try {
      return await this.#call('PullMe', options, () => pull(inverted));
    } finally {
      options?.signal?.removeEventListener('abort', onAbort);
    }
  }

  close(): Promise<void> {
    this.#died.abort(new SnapferryError('CONNECTION_LOST', 'the local connection is closed'));
    return Promise.resolve();
  }

  forceClose(): void {
    this.#died.abort(new SnapferryError('CANCELLED', 'the connection was closed by this side'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Runs the handler as a remote one would be run: stoppable, with a SnapferryError for whatever it throws. */
  async #call<T>(
    doing: string,
    options: api.CallOptions = {},
    call: (context: api.RequestContext, abort: AbortController) => Promise<T>,
    onUnused?: (result: T) => void,
  ): Promise<T> {
    const abort = new AbortController();
    const unlink = linkAborts([options.signal, this.#died.signal], abort, doing);
    const timedOut = (): void =>
      abort.abort(new SnapferryError('TIMEOUT', `${doing}: no answer within ${options.timeoutMs ?? 0} ms`));
    const timer = options.timeoutMs === undefined ? undefined : setTimeout(timedOut, options.timeoutMs);
    let called: Promise<T> | null = null;
    try {
      return await orAborted(() => (called = call(this.#context(abort.signal, options), abort)), abort.signal);
    } catch (cause) {
      if (onUnused !== undefined) void (called as Promise<T> | null)?.then(onUnused, () => undefined);
      throw describe(cause, doing);
    } finally {
      clearTimeout(timer);
      unlink();
    }
  }

  async #transfer(
    doing: string,
    options: api.CallOptions | undefined,
    call: (context: api.RequestContext) => Promise<api.Transfer>,
  ): Promise<api.Transfer> {
    // The handler's signal outlives the call here: it stops the stream, too.
    const abort = new AbortController();
    const unlink = linkAborts([options?.signal, this.#died.signal], abort, doing);
    const context = this.#context(abort.signal, options ?? {});
    const discard = (transfer: api.Transfer): void => void transfer.bytes[Symbol.asyncIterator]().return?.();
    try {
      const transfer = await this.#call(doing, options, () => call(context), discard);
      return { ...transfer, bytes: new LocalStream(transfer.bytes, abort, doing, unlink) };
    } catch (error) {
      abort.abort(error);
      unlink();
      throw error;
    }
  }

  #context(signal: AbortSignal, options: api.CallOptions): api.RequestContext {
    return {
      clientIdentity: this.#clientIdentity,
      signal,
      logger: this.#logger,
      progress: (progress) => options.onProgress?.(progress),
    };
  }
}

type Piece = TransferBytes extends AsyncIterable<infer P> ? P : never;

/** A handler's stream with the promises of the wire: whole or a throw, stopped when left, closed always. */
class LocalStream implements AsyncIterableIterator<Piece> {
  readonly #iterator: AsyncIterator<Piece>;
  readonly #abort: AbortController;
  readonly #doing: string;
  readonly #onSettled: () => void;
  #failure: SnapferryError | null = null;
  #isOver = false;

  constructor(source: TransferBytes, abort: AbortController, doing: string, onSettled: () => void) {
    this.#iterator = source[Symbol.asyncIterator]();
    this.#abort = abort;
    this.#doing = doing;
    this.#onSettled = onSettled;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Piece, undefined>> {
    if (this.#failure !== null) throw this.#failure;
    if (this.#isOver) return { done: true, value: undefined };
    try {
      const next = await orAborted(() => this.#iterator.next(), this.#abort.signal);
      if (next.done !== true) return next;
      this.#settle();
      return { done: true, value: undefined };
    } catch (cause) {
      this.#failure = describe(cause, this.#doing, 'SOURCE_FAILED');
      this.#settle();
      void Promise.resolve(this.#iterator.return?.()).catch(() => undefined);
      throw this.#failure;
    }
  }

  async return(): Promise<IteratorReturnResult<undefined>> {
    if (!this.#isOver) {
      this.#settle();
      this.#abort.abort(new SnapferryError('CANCELLED', `${this.#doing} was stopped by its receiver`));
      await Promise.resolve(this.#iterator.return?.()).catch(() => undefined);
    }
    return { done: true, value: undefined };
  }

  #settle(): void {
    this.#isOver = true;
    this.#onSettled();
  }
}

function describe(cause: unknown, doing: string, code: 'INTERNAL' | 'SOURCE_FAILED' = 'INTERNAL'): SnapferryError {
  return cause instanceof SnapferryError ? cause : toSnapferryError(cause, code, doing);
}

/** Aborts `target` when one of the signals is; returns how to stop listening. */
function linkAborts(signals: (AbortSignal | undefined)[], target: AbortController, doing: string): () => void {
  const unlinks = signals.map((signal) => {
    const onAbort = (): void => target.abort(abortError(signal, doing));
    if (signal?.aborted === true) onAbort();
    else signal?.addEventListener('abort', onAbort, { once: true });
    return () => signal?.removeEventListener('abort', onAbort);
  });
  return () => unlinks.forEach((unlink) => unlink());
}

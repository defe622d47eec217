import { setTimeout as delay } from 'node:timers/promises';
import { pino } from 'pino';
import type { DatasetPath, FilesystemVersion } from '../dataset.ts';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import { linkAborts, orAborted } from './aborting.ts';
import { callLimit, type CallLimit } from './call-limit.ts';
import type * as api from './interfaces.ts';
import { LocalStream } from './local-stream.ts';

/** What a {@link LocalRPC} can be told. */
export interface LocalRPCOptions {
  /** Told to the handler. Default `local`. */
  readonly clientIdentity?: string | undefined;
  /** Silent by default. */
  readonly logger?: api.Logger | undefined;
}

/**
 * The same calls as over a wire, to a handler in this process: same errors, same cancellation, same PullMe. What differs:
 * calls made ahead run side by side, and a PullMe from `local` is not refused, since there is nobody else.
 */
export const LocalRPC = {
  connect(handler: api.RPCHandler, options: LocalRPCOptions = {}): api.RPCRequester {
    return new LocalRequester(handler, options, false);
  },
} as const;

const closeMsMax = 10_000;

/** One call under way. */
interface LocalCall {
  readonly doing: string;
  readonly limit: CallLimit;
  /** Stops the handler. */
  readonly abort: AbortController;
  readonly context: api.RequestContext;
  /** Nothing is listened to any more. Idempotent. */
  readonly end: () => void;
}

class LocalRequester implements api.RPCRequester {
  readonly protocolVersion = 2;
  readonly #handler: api.RPCHandler;
  readonly #clientIdentity: string;
  readonly #logger: api.Logger;
  readonly #isInverted: boolean;
  readonly #died = new AbortController();
  readonly #pending = new Set<Promise<unknown>>();
  readonly #streams = new Set<LocalStream>();
  #closing: Promise<void> | null = null;

  constructor(handler: api.RPCHandler, options: LocalRPCOptions, isInverted: boolean) {
    this.#handler = handler;
    this.#clientIdentity = options.clientIdentity ?? 'local';
    this.#logger = options.logger ?? pino({ level: 'silent' });
    this.#isInverted = isInverted;
  }

  filesystems(request: api.FilesystemsRequest, options?: api.CallOptions): Promise<DatasetPath[]> {
    return this.#call('Filesystems', options, (context) => this.#handler.filesystems(request, context));
  }

  filesystemVersions(request: api.FilesystemVersionsRequest, options?: api.CallOptions): Promise<FilesystemVersion[]> {
    return this.#call('FilesystemVersions', options, (context) => this.#handler.filesystemVersions(request, context));
  }

  initialTransfer(request: api.InitialTransferRequest, options?: api.CallOptions): Promise<api.Transfer> {
    const ask = (context: api.RequestContext) => this.#handler.initialTransfer(request, context);
    return this.#transfer('InitialTransfer', options, ask);
  }

  incrementalTransfer(request: api.IncrementalTransferRequest, options?: api.CallOptions): Promise<api.Transfer> {
    const ask = (context: api.RequestContext) => this.#handler.incrementalTransfer(request, context);
    return this.#transfer('IncrementalTransfer', options, ask);
  }

  transferEstimate(request: api.TransferEstimateRequest, options?: api.CallOptions): Promise<number | null> {
    const ask = async (context: api.RequestContext) =>
      (await this.#handler.transferEstimate?.(request, context)) ?? null;
    return this.#call('TransferEstimate', options, ask);
  }

  transferCompleted(request: api.TransferCompletedRequest, options?: api.CallOptions): Promise<void> {
    const ask = async (context: api.RequestContext) => this.#handler.transferCompleted?.(request, context);
    return this.#call('TransferCompleted', options, ask);
  }

  async pullMe(
    request: api.PullMeRequest,
    handler: api.RPCHandler,
    options?: api.CallOptions,
  ): Promise<api.PullReport | null> {
    if (this.#isInverted) throw new SnapferryError('INVALID_REQUEST', 'PullMe inside a PullMe');
    return this.#track(async () => {
      const call = this.#begin('PullMe', options);
      const inverted = new LocalRequester(handler, { clientIdentity: '', logger: this.#logger }, true);
      const unlink = linkAborts([call.abort.signal], inverted.#died, 'the push');
      try {
        const permit = async (): Promise<api.Pull> => {
          if (this.#handler.pullMe === undefined) throw new SnapferryError('ACCESS_DENIED', 'nothing is received here');
          return this.#handler.pullMe(request, call.context);
        };
        const pull = await this.#run(call, permit);
        call.limit.begun();
        return await this.#run(call, () => pull(inverted));
      } finally {
        call.end();
        unlink();
        inverted.#die(new SnapferryError('INVALID_REQUEST', 'the pull is over, and with it its client'));
      }
    });
  }

  close(): Promise<void> {
    // Inside an inversion the connection is the peer's to close.
    if (this.#isInverted) return Promise.resolve();
    this.#closing ??= this.#close();
    return this.#closing;
  }

  forceClose(): void {
    this.#die(new SnapferryError('CANCELLED', 'the connection was closed by this side'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    this.#stopStreams(new SnapferryError('CANCELLED', 'the transfer was stopped: the connection is being closed'));
    const patience = new AbortController();
    const waited = delay(closeMsMax, undefined, { signal: patience.signal }).catch(() => undefined);
    await Promise.race([Promise.allSettled(this.#pending), waited]);
    patience.abort();
    this.#die(new SnapferryError('CONNECTION_LOST', 'the local connection is closed'));
  }

  #die(cause: SnapferryError): void {
    this.#died.abort(cause);
    this.#stopStreams(cause);
  }

  #stopStreams(cause: SnapferryError): void {
    for (const stream of this.#streams) stream.stop(cause);
  }

  #begin(doing: string, options: api.CallOptions = {}): LocalCall {
    if (this.#closing !== null && !this.#died.signal.aborted) {
      throw new SnapferryError('CONNECTION_LOST', 'the local connection is being closed');
    }
    const limit = callLimit(options, doing);
    const abort = new AbortController();
    const unlink = linkAborts([limit.signal, this.#died.signal], abort, doing);
    let isOver = false;
    const progress = (news: api.Progress): void => {
      if (isOver) return;
      try {
        options.onProgress?.(news);
      } catch (error) {
        this.#logger.warn({ err: error }, 'the receiver of progress failed');
      }
    };
    const end = (): void => {
      isOver = true;
      limit.end();
      unlink();
    };
    const context = { clientIdentity: this.#clientIdentity, signal: abort.signal, logger: this.#logger, progress };
    return { doing, limit, abort, context, end };
  }

  /** Runs the handler as a remote one would be run: stoppable, with a SnapferryError for whatever it throws. */
  async #run<T>({ doing, abort }: LocalCall, start: () => Promise<T>, onUnused?: (result: T) => void): Promise<T> {
    let started: Promise<T> | null = null;
    try {
      return await orAborted(() => (started = start()), abort.signal, doing);
    } catch (cause) {
      void (started as Promise<T> | null)?.then(onUnused, () => undefined);
      throw cause instanceof SnapferryError ? cause : toSnapferryError(cause, 'INTERNAL', doing);
    }
  }

  /** A close waits for what is under way. */
  #track<T>(start: () => Promise<T>): Promise<T> {
    const running = start();
    this.#pending.add(running);
    const forget = (): void => void this.#pending.delete(running);
    running.then(forget, forget);
    return running;
  }

  #call<T>(
    doing: string,
    options: api.CallOptions | undefined,
    ask: (context: api.RequestContext) => Promise<T>,
  ): Promise<T> {
    return this.#track(async () => {
      const call = this.#begin(doing, options);
      try {
        return await this.#run(call, () => ask(call.context));
      } finally {
        call.end();
      }
    });
  }

  #transfer(
    doing: string,
    options: api.CallOptions | undefined,
    ask: (context: api.RequestContext) => Promise<api.Transfer>,
  ): Promise<api.Transfer> {
    return this.#track(async () => {
      const call = this.#begin(doing, options);
      const { abort } = call;
      const receive = (transfer: api.Transfer): LocalStream => {
        let stream: LocalStream | null = null;
        const onSettled = (): void => {
          call.end();
          if (stream !== null) this.#streams.delete(stream);
        };
        stream = new LocalStream(transfer.bytes, { doing, abort, onSettled });
        return stream;
      };
      try {
        // One that comes too late finds its call aborted, and is closed.
        const transfer = await this.#run(call, () => ask(call.context), receive);
        call.limit.begun();
        const bytes = receive(transfer);
        this.#streams.add(bytes);
        return { ...transfer, bytes };
      } catch (error) {
        abort.abort(error);
        call.end();
        throw error;
      }
    });
  }
}

import { setTimeout as delay } from 'node:timers/promises';
import { pino } from 'pino';
import type { JSONInput } from '../chunker/json-message.ts';
import type { DatasetPath, FilesystemVersion } from '../dataset.ts';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import type { ByteStream } from '../transport/byte-stream.ts';
import { linkAborts, orAborted } from './aborting.ts';
import { callLimit, type CallLimit } from './call-limit.ts';
import { customRequestsOf } from './custom-requests.ts';
import type * as api from './interfaces.ts';
import { answerLocally, closedOnFailure, localValue, streamOf } from './local-custom.ts';
import { LocalStream } from './local-stream.ts';

/** What a {@link LocalRPC} can be told. */
export interface LocalRPCOptions {
  /** Told to the handler. Default `local`. */
  readonly clientIdentity?: string | undefined;
  /** Silent by default. */
  readonly logger?: api.Logger | undefined;
  /** What handlers find as `context.attached`. */
  readonly attached?: unknown;
  /** Makes the two ends of a stream for an Upgrade, as `memoryPair` does. Without it, Upgrade is refused. */
  readonly pair?: (() => readonly [ByteStream, ByteStream]) | undefined;
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
  readonly #options: LocalRPCOptions;
  readonly #custom: ReadonlyMap<number, api.CustomRequest>;
  readonly #logger: api.Logger;
  readonly #isInverted: boolean;
  readonly #died = new AbortController();
  readonly #pending = new Set<Promise<unknown>>();
  readonly #streams = new Set<LocalStream>();
  #closing: Promise<void> | null = null;

  constructor(handler: api.RPCHandler, options: LocalRPCOptions, isInverted: boolean) {
    this.#handler = handler;
    this.#options = options;
    this.#custom = customRequestsOf(handler);
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

  async request<Request extends JSONInput, A extends api.AnswerShape>(
    definition: api.CustomCall<Request, A>,
    request: Request,
    options: api.CustomCallOptions = {},
  ): Promise<api.AnswerOf<A>> {
    // Its shape is used on this side by the handler's own definition alone.
    const call = definition as unknown as api.CustomCall;
    const { upload } = options;
    if (!call.upload && upload !== undefined) throw new TypeError(`custom request ${call.name} has no upload`);
    const asked = { call, request, upload, custom: this.#custom };
    if (call.answer !== 'stream') {
      const ask = (context: api.RequestContext) => answerLocally(asked, context);
      const value = this.#call(call.name, options, ask).then((answer) => localValue(call, answer));
      return closedOnFailure(value, upload) as Promise<api.AnswerOf<A>>;
    }
    const ask = async (context: api.RequestContext) => streamOf(await answerLocally(asked, context), call.name);
    return closedOnFailure(this.#transfer(call.name, options, ask), upload) as Promise<api.AnswerOf<A>>;
  }

  async upgrade(protocol: string, options?: api.CallOptions): Promise<ByteStream> {
    if (this.#isInverted) throw new SnapferryError('INVALID_REQUEST', 'Upgrade inside a PullMe');
    if (this.#streams.size > 0) throw new SnapferryError('BUSY', 'a transfer is open; read it to its end or leave it');
    await Promise.allSettled(this.#pending);
    const { pair } = this.#options;
    const entry = this.#handler.protocols?.find(({ name }) => name === protocol);
    if (entry === undefined || pair === undefined) {
      throw new SnapferryError('UNKNOWN_REQUEST', `protocol ${JSON.stringify(protocol)} is not spoken here`);
    }
    const serve = await this.#call('Upgrade', options, (context) => entry.open(context));
    const [near, far] = pair();
    serve(far).catch((error: unknown) => {
      this.#logger.warn({ err: error }, 'an upgraded connection failed');
      far.abort(toSnapferryError(error));
    });
    this.#die(new SnapferryError('CONNECTION_LOST', 'the local connection was handed over to another protocol'));
    return near;
  }

  detach(): ByteStream {
    throw new SnapferryError('INVALID_REQUEST', 'there is no stream to take within one process');
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
    const { clientIdentity = 'local', attached } = this.#options;
    const context = { clientIdentity, signal: abort.signal, logger: this.#logger, attached, progress };
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

import type { JSONValue } from '../chunker/json-message.ts';
import type { DatasetPath, FilesystemVersion } from '../dataset.ts';
import { SnapferryError } from '../errors.ts';
import { abortError, onAbort } from './aborting.ts';
import type { JSONInput } from '../chunker/json-message.ts';
import type { ByteStream } from '../transport/byte-stream.ts';
import { calls, type Call } from './call-table.ts';
import type { Connection } from './connection.ts';
import { noBytes, readShaped, unknownInVersion1 } from './custom-calls.ts';
import { cancelMsMax, Exchanges, expectType, readBody, type Exchange, type ReadAnswer } from './exchanges.ts';
import { Fields } from './fields.ts';
import { IncomingStream } from './incoming-stream.ts';
import type * as api from './interfaces.ts';
import {
  decodePaths,
  decodeVersions,
  encodeFinishedError,
  encodeReport,
  tellable,
  type ResponseHeader,
} from './messages.ts';
import { requestType, responseType } from './protocol.ts';
import { Upload } from './upload.ts';

const closeMsMax = 10_000;

/** Answers the peer's pull over the inverted connection until it has finished. */
export type ServeInverted = (handler: api.RPCHandler) => Promise<api.PullReport | null>;

/** What a pull came to: its report, or what it failed with. */
export type PullOutcome = { readonly report: api.PullReport } | { readonly error: unknown };

/**
 * The asking side of a connection. Requests are written as soon as they are made, answers are read in the same order;
 * nothing is written behind a transfer, a PullMe or a Close until that is over.
 */
export class Requester implements api.RPCRequester {
  readonly #connection: Connection;
  readonly #exchanges: Exchanges;
  readonly #serveInverted: ServeInverted | null;
  #openStream: IncomingStream | null = null;
  #closing: Promise<void> | null = null;

  /** @param serveInverted null inside an inversion, where there is no further one */
  constructor(connection: Connection, serveInverted: ServeInverted | null) {
    this.#connection = connection;
    this.#exchanges = new Exchanges(connection);
    this.#serveInverted = serveInverted;
  }

  get protocolVersion(): 1 | 2 {
    return this.#connection.version;
  }

  filesystems(request: api.FilesystemsRequest, options: api.CallOptions = {}): Promise<DatasetPath[]> {
    return this.#ask(calls.filesystems, request, options, this.#body(responseType.filesystems, decodePaths));
  }

  filesystemVersions(
    request: api.FilesystemVersionsRequest,
    options: api.CallOptions = {},
  ): Promise<FilesystemVersion[]> {
    const read = this.#body(responseType.filesystemDiff, decodeVersions);
    return this.#ask(calls.filesystemVersions, request, options, read);
  }

  initialTransfer(request: api.InitialTransferRequest, options: api.CallOptions = {}): Promise<api.Transfer> {
    return this.#transfer(calls.initialTransfer, request, options);
  }

  incrementalTransfer(request: api.IncrementalTransferRequest, options: api.CallOptions = {}): Promise<api.Transfer> {
    return this.#transfer(calls.incrementalTransfer, request, options);
  }

  async transferEstimate(request: api.TransferEstimateRequest, options: api.CallOptions = {}): Promise<number | null> {
    if (this.protocolVersion === 1) return null;
    const bytesOf = (value: JSONValue): number | null => new Fields(value, 'TransferEstimate').integerOrNull('Bytes');
    return this.#ask(calls.transferEstimate, request, options, this.#body(responseType.json, bytesOf));
  }

  async transferCompleted(request: api.TransferCompletedRequest, options: api.CallOptions = {}): Promise<void> {
    if (this.protocolVersion === 1) return;
    await this.#ask(calls.transferCompleted, request, options, readOk);
  }

  async pullMe(
    request: api.PullMeRequest,
    handler: api.RPCHandler,
    options: api.CallOptions = {},
  ): Promise<api.PullReport | null> {
    const serveInverted = this.#serveInverted;
    if (serveInverted === null) throw new SnapferryError('INVALID_REQUEST', 'PullMe inside a PullMe');
    const { signal } = options;
    const read: ReadAnswer<api.PullReport | null> = async (header, exchange) => {
      expectType(header, responseType.ok, exchange);
      // Half a pull cannot be left but by dropping the connection.
      const drop = (): void => this.#connection.fail(abortError(signal, 'the push'));
      if (signal?.aborted === true) drop();
      const stopListening = onAbort(signal === undefined ? [] : [signal], drop);
      return serveInverted(handler).finally(stopListening);
    };
    const body = calls.pullMe.encode(request);
    return this.#exchanges.ask({ type: calls.pullMe.type, body, options, read, exclusive: true });
  }

  async request<Request extends JSONInput, A extends api.AnswerShape>(
    call: api.CustomCall<Request, A>,
    request: Request,
    options: api.CustomCallOptions = {},
  ): Promise<api.AnswerOf<A>> {
    const { type, name, answer } = call;
    if (!call.upload && options.upload !== undefined) throw new TypeError(`custom request ${name} has no upload`);
    if (this.protocolVersion === 1) throw unknownInVersion1(name);
    const isStream = answer === 'stream';
    const read: ReadAnswer<unknown> = (header, exchange) => {
      if (isStream) return this.#receive(header, exchange);
      return answer === 'ok'
        ? readOk(header, exchange)
        : readShaped(header, exchange, { connection: this.#connection, shape: answer });
    };
    const upload = call.upload ? new Upload(this.#connection, options.upload ?? noBytes()) : undefined;
    const value = await this.#exchanges.ask({
      type,
      name,
      body: request,
      options,
      read,
      exclusive: isStream || call.upload,
      keepTurn: isStream,
      ...(upload === undefined ? {} : { upload, alone: true }),
      ...(isStream ? { discard: (late: unknown) => leave(late as api.Transfer) } : {}),
    });
    return value as api.AnswerOf<A>;
  }

  async upgrade(protocol: string, options: api.CallOptions = {}): Promise<ByteStream> {
    if (this.#serveInverted === null) throw new SnapferryError('INVALID_REQUEST', 'Upgrade inside a PullMe');
    if (this.protocolVersion === 1) throw unknownInVersion1(`Upgrade to ${protocol}`);
    const read: ReadAnswer<ByteStream> = (header, exchange) => {
      expectType(header, responseType.ok, exchange);
      return Promise.resolve(this.#connection.detach());
    };
    return this.#exchanges.ask({
      type: requestType.upgrade,
      body: { Protocol: protocol },
      options,
      read,
      exclusive: true,
      alone: true,
      silent: true,
      discard: (stream) => stream.abort(new SnapferryError('CANCELLED', `the upgrade to ${protocol} was cancelled`)),
    });
  }

  detach(): ByteStream {
    if (this.#serveInverted === null)
      throw new SnapferryError('INVALID_REQUEST', 'the connection is the peer’s to give');
    if (!this.#exchanges.isIdle) {
      throw new SnapferryError(
        'BUSY',
        'the connection cannot be taken away while a call is under way; wait for its end',
      );
    }
    return this.#connection.detach();
  }

  /**
   * Ends a PullMe from the pulling side: the roles are as before once it is answered. A transfer the pull has left open
   * is stopped first.
   */
  async finish(outcome: PullOutcome): Promise<void> {
    this.#stopStream('the pull is over');
    const isVersion2 = this.protocolVersion === 2;
    const body = {
      Finished: true,
      InitialReplPolicy: '',
      Report: isVersion2 && 'report' in outcome ? encodeReport(outcome.report) : undefined,
      Error:
        isVersion2 && 'error' in outcome
          ? encodeFinishedError(tellable(outcome.error, 'INTERNAL', 'the pull'))
          : undefined,
    };
    await this.#exchanges.ask({ type: requestType.pullMe, body, options: {}, read: readOk, exclusive: true });
  }

  /** No call is possible any more, though the connection lives on: the roles are as before. */
  retire(): void {
    this.#exchanges.end(new SnapferryError('INVALID_REQUEST', 'the pull is over, and with it its client'));
  }

  close(goodbye = ''): Promise<void> {
    // Inside an inversion the connection is the peer's to close.
    if (this.#serveInverted === null) return Promise.resolve();
    this.#closing ??= this.#close(goodbye);
    return this.#closing;
  }

  forceClose(): void {
    this.#connection.fail(new SnapferryError('CANCELLED', 'the connection was closed by this side'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(goodbye: string): Promise<void> {
    const timedOut = (): void =>
      this.#connection.fail(new SnapferryError('TIMEOUT', `no answer to Close within ${closeMsMax} ms`));
    const timer = setTimeout(timedOut, closeMsMax);
    try {
      this.#stopStream('the connection is being closed by this side');
      const body = { Goodbye: goodbye };
      const read: ReadAnswer<void> = (header, exchange) => {
        // Whoever has waited behind it must not be let in now: the peer reads no more.
        this.#exchanges.end(new SnapferryError('CONNECTION_LOST', `${this.#connection.description} is closed`));
        return readOk(header, exchange);
      };
      await this.#exchanges.ask({ type: requestType.close, body, options: {}, read, exclusive: true });
    } catch (error) {
      // A peer that is gone cannot be said goodbye to; there is nothing left to lose by that.
      this.#connection.logger.debug({ err: error }, 'close was not answered');
    } finally {
      clearTimeout(timer);
    }
    await this.#connection.close();
  }

  #stopStream(why: string): void {
    this.#openStream?.stop(new SnapferryError('CANCELLED', `the transfer was stopped: ${why}`));
  }

  async #ask<Request, T>(
    call: Call<Request>,
    request: Request,
    options: api.CallOptions,
    read: ReadAnswer<T>,
  ): Promise<T> {
    return this.#exchanges.ask({ type: call.type, body: call.encode(request), options, read });
  }

  async #transfer<Request>(call: Call<Request>, request: Request, options: api.CallOptions): Promise<api.Transfer> {
    return this.#exchanges.ask({
      type: call.type,
      body: call.encode(request),
      options,
      read: (header, exchange) => this.#receive(header, exchange),
      exclusive: true,
      keepTurn: true,
      discard: leave,
    });
  }

  /** The stream that follows a header; the turn is over when it has been read to its end or left. */
  #receive(header: ResponseHeader, exchange: Exchange): Promise<api.Transfer> {
    const connection = this.#connection;
    expectType(header, responseType.chunkedStream, exchange);
    const bytes = new IncomingStream(connection, {
      doing: exchange.doing,
      signal: exchange.options.signal,
      cancel: exchange.cancel,
      onSettled: () => {
        this.#openStream = null;
        connection.onProgress = null;
        exchange.release();
      },
      drainMsMax: cancelMsMax,
    });
    this.#openStream = bytes;
    const { streamFormat = null, estimatedBytes = null, resumed = false } = header;
    return Promise.resolve({ format: streamFormat, estimatedBytes, resumed, bytes });
  }

  #body<T>(type: number, shape: (value: JSONValue) => T): ReadAnswer<T> {
    return async (header, exchange) => {
      expectType(header, type, exchange);
      return readBody(this.#connection, exchange, shape);
    };
  }
}

const readOk: ReadAnswer<void> = (header, exchange) => {
  expectType(header, responseType.ok, exchange);
  return Promise.resolve();
};

/** A transfer nobody wants any more. */
function leave(transfer: api.Transfer): void {
  void transfer.bytes[Symbol.asyncIterator]().return?.();
}

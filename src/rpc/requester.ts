import { randomFillSync } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import type { JSONInput, JSONValue } from '../chunker/json-message.ts';
import type { DatasetPath, FilesystemVersion } from '../dataset.ts';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import { calls, type Call } from './call-table.ts';
import type { Connection } from './connection.ts';
import { Fields } from './fields.ts';
import { abortError, IncomingStream } from './incoming-stream.ts';
import type * as api from './interfaces.ts';
import {
  decodePaths,
  decodeResponseHeader,
  decodeVersions,
  encodeCancel,
  encodeFinishedError,
  encodeReport,
  encodeRequestHeader,
  errorFromWire,
  type ResponseHeader,
} from './messages.ts';
import { errorId, requestName, requestType, responseType } from './protocol.ts';
import { TurnQueue } from './turn-queue.ts';

const closeMsMax = 10_000;
const cancelMsMax = 30_000;

/** One call on its way: what was asked, and when the connection is past its answer. */
interface Exchange {
  readonly id: Uint8Array;
  readonly doing: string;
  readonly options: api.CallOptions;
  /** Lets the next answer be read. */
  readonly release: () => void;
}

/** How an answer is read; a reader of a stream keeps the turn and releases it later. */
type ReadAnswer<T> = (header: ResponseHeader, exchange: Exchange) => Promise<T>;

/** Answers the peer's pull over the inverted connection until it has finished. */
export type ServeInverted = (handler: api.RPCHandler) => Promise<api.PullReport | null>;

/**
 * The asking side of a connection. Requests are written as soon as they are made, answers are read in the same order;
 * nothing is written behind a transfer, a PullMe or a Close until that is over.
 */
export class Requester implements api.RPCRequester {
  readonly #connection: Connection;
  readonly #turns: TurnQueue;
  readonly #serveInverted: ServeInverted | null;
  #closing: Promise<void> | null = null;

  /** @param serveInverted null inside an inversion, where there is no further one */
  constructor(connection: Connection, serveInverted: ServeInverted | null) {
    this.#connection = connection;
    this.#serveInverted = serveInverted;
    this.#turns = new TurnQueue(connection.limits.pipelinedRequestsMax);
    const onDeath = (): void => this.#turns.fail(connection.died.reason as SnapferryError);
    if (connection.died.aborted) onDeath();
    else connection.died.addEventListener('abort', onDeath, { once: true });
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
    await this.#ask(calls.transferCompleted, request, options, this.#ok());
  }

  async pullMe(
    request: api.PullMeRequest,
    handler: api.RPCHandler,
    options: api.CallOptions = {},
  ): Promise<api.PullReport | null> {
    const serveInverted = this.#serveInverted;
    if (serveInverted === null) throw new SnapferryError('INVALID_REQUEST', 'PullMe inside a PullMe');
    const serve: ReadAnswer<api.PullReport | null> = async (header, exchange) => {
      this.#expect(header, responseType.ok, exchange.doing);
      const onAbort = (): void => this.#connection.fail(abortError(options.signal, 'the push'));
      options.signal?.addEventListener('abort', onAbort, { once: true });
      try {
        return await serveInverted(handler);
      } finally {
        options.signal?.removeEventListener('abort', onAbort);
      }
    };
    const body = calls.pullMe.encode(request);
    return this.#exchange(calls.pullMe.type, body, options, serve, { exclusive: true });
  }

  /** Ends a PullMe from the pulling side: the roles are as before once it is answered. */
  async finish(outcome: { report: api.PullReport } | { error: SnapferryError }): Promise<void> {
    const isVersion2 = this.protocolVersion === 2;
    const body = {
      Finished: true,
      InitialReplPolicy: '',
      Report: isVersion2 && 'report' in outcome ? encodeReport(outcome.report) : undefined,
      Error: isVersion2 && 'error' in outcome ? encodeFinishedError(outcome.error) : undefined,
    };
    await this.#exchange(requestType.pullMe, body, {}, this.#ok(), { exclusive: true });
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
      await this.#exchange(requestType.close, { Goodbye: goodbye }, {}, this.#ok(), { exclusive: true });
    } catch (error) {
      // A peer that is gone cannot be said goodbye to; there is nothing left to lose by that.
      this.#connection.logger.debug({ err: error }, 'close was not answered');
    } finally {
      clearTimeout(timer);
    }
    await this.#connection.close();
  }

  #ask<Request, T>(call: Call<Request>, request: Request, options: api.CallOptions, read: ReadAnswer<T>): Promise<T> {
    return this.#exchange(call.type, call.encode(request), options, read, { exclusive: false });
  }

  async #transfer<Request>(call: Call<Request>, request: Request, options: api.CallOptions): Promise<api.Transfer> {
    const read: ReadAnswer<api.Transfer> = (header, exchange) => {
      this.#expect(header, responseType.chunkedStream, exchange.doing);
      const bytes = new IncomingStream(this.#connection, {
        doing: exchange.doing,
        signal: options.signal,
        cancel: () => this.#connection.sendControl(encodeCancel(exchange.id)),
        onSettled: exchange.release,
        drainMsMax: cancelMsMax,
      });
      return Promise.resolve({
        format: header.streamFormat ?? null,
        estimatedBytes: header.estimatedBytes ?? null,
        resumed: header.resumed ?? false,
        bytes,
      });
    };
    return this.#exchange(call.type, call.encode(request), options, read, {
      exclusive: true,
      keepTurn: true,
      // Answered too late for a caller who has left: the stream is read away.
      discard: (transfer) => void transfer.bytes[Symbol.asyncIterator]().return?.(),
    });
  }

  /**
   * One request and its answer. The caller is let go at once when it cancels or times out; the answer is then read away
   * in its turn, so that the connection stays in step.
   */
  async #exchange<T>(
    type: number,
    body: JSONInput,
    options: api.CallOptions,
    read: ReadAnswer<T>,
    mode: { exclusive: boolean; keepTurn?: boolean; discard?: (answer: T) => void },
  ): Promise<T> {
    const doing = requestName(type);
    // Many calls may share one signal; their listeners go when they are over, so their number is no leak.
    if (options.signal !== undefined) setMaxListeners(0, options.signal);
    const id = randomFillSync(new Uint8Array(16));
    const turn = await this.#turns.enter({
      exclusive: mode.exclusive,
      begin: () => this.#write(type, id, body),
      signal: options.signal,
      doing,
    });
    const exchange: Exchange = { id, doing, options, release: turn.release };
    const answer = this.#answer(exchange, turn.ready, read).then(
      (value) => {
        if (mode.keepTurn !== true) turn.release();
        return value;
      },
      (error: unknown) => {
        turn.release();
        throw error;
      },
    );
    return this.#orGiveUp(answer, exchange, mode.discard);
  }

  /** A write that fails shows in the answer that does not come; until then the peer may still have something to say. */
  #write(type: number, id: Uint8Array, body: JSONInput): void {
    const request = this.#connection.encode(encodeRequestHeader({ type, id }), body);
    this.#connection.send(request).catch(() => undefined);
  }

  async #answer<T>(exchange: Exchange, ready: Promise<void>, read: ReadAnswer<T>): Promise<T> {
    const connection = this.#connection;
    await ready;
    if (connection.failure !== null) throw connection.failure;
    connection.onProgress = exchange.options.onProgress ?? null;
    try {
      const limit = connection.limits.headerBytesMax;
      const header = await connection.readMessage('response header', limit, decodeResponseHeader);
      if (header === null) throw this.#ended(exchange.doing);
      this.#checkId(header, exchange);
      if (header.errorId !== errorId.none) throw errorFromWire(header, exchange.doing);
      return await read(header, exchange);
    } catch (cause) {
      const error = toSnapferryError(cause, 'INTERNAL', exchange.doing);
      // An answer that is not what the protocol says leaves us not knowing where the next one begins.
      if (error.connectionDead) connection.fail(error);
      throw error;
    } finally {
      connection.onProgress = null;
    }
  }

  async #orGiveUp<T>(answer: Promise<T>, exchange: Exchange, discard?: (answer: T) => void): Promise<T> {
    const { signal, timeoutMs } = exchange.options;
    if (signal === undefined && timeoutMs === undefined) return answer;
    return new Promise<T>((resolve, reject) => {
      let givenUp = false;
      const giveUp = (error: SnapferryError): void => {
        if (givenUp) return;
        givenUp = true;
        settle();
        this.#cancel(exchange, answer);
        reject(error);
      };
      const onAbort = (): void => giveUp(abortError(signal, exchange.doing));
      const onTimeout = (): void =>
        giveUp(new SnapferryError('TIMEOUT', `${exchange.doing}: no answer within ${timeoutMs ?? 0} ms`));
      const timer = timeoutMs === undefined ? undefined : setTimeout(onTimeout, timeoutMs);
      const settle = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
      };
      if (signal?.aborted === true) onAbort();
      else signal?.addEventListener('abort', onAbort, { once: true });
      answer.then(
        (value) => {
          settle();
          if (givenUp) discard?.(value);
          else resolve(value);
        },
        (error: unknown) => {
          settle();
          // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- passed on as it came
          reject(error);
        },
      );
    });
  }

  /** Asks the peer to stop, and does not wait for ever for the answer that must still come. */
  #cancel(exchange: Exchange, answer: Promise<unknown>): void {
    this.#connection.sendControl(encodeCancel(exchange.id));
    const timedOut = (): void =>
      this.#connection.fail(new SnapferryError('TIMEOUT', `${exchange.doing} was cancelled but never answered`));
    const timer = setTimeout(timedOut, cancelMsMax);
    timer.unref();
    answer.then(
      () => clearTimeout(timer),
      () => clearTimeout(timer),
    );
  }

  #ok(): ReadAnswer<void> {
    return (header, exchange) => {
      this.#expect(header, responseType.ok, exchange.doing);
      return Promise.resolve();
    };
  }

  #body<T>(type: number, shape: (value: JSONValue) => T): ReadAnswer<T> {
    return async (header, exchange) => {
      this.#expect(header, type, exchange.doing);
      const limit = this.#connection.limits.responseBodyBytesMax;
      const body = await this.#connection.readMessage(`answer to ${exchange.doing}`, limit, (value) => ({
        value: shape(value),
      }));
      if (body === null) throw this.#ended(exchange.doing);
      return body.value;
    };
  }

  #ended(doing: string): SnapferryError {
    return new SnapferryError('CONNECTION_LOST', `${doing}: ${this.#connection.description} ended without an answer`);
  }

  #expect(header: ResponseHeader, type: number, doing: string): void {
    if (header.responseType === type) return;
    const got = `response type 0x${header.responseType.toString(16)} where 0x${type.toString(16)} belongs`;
    throw new SnapferryError('PROTOCOL_VIOLATION', `${doing}: the peer answered with ${got}`);
  }

  /** Zeros are what the Go implementation puts into errors, and into every answer when it is asked with zeros. */
  #checkId(header: ResponseHeader, exchange: Exchange): void {
    if (Buffer.compare(header.requestId, exchange.id) === 0) return;
    const isZero = header.requestId.every((byte) => byte === 0);
    if (isZero && (header.errorId !== errorId.none || this.protocolVersion === 1)) return;
    throw new SnapferryError('PROTOCOL_VIOLATION', `${exchange.doing}: the answer belongs to another request`);
  }
}

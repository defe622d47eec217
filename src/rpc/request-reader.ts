import type { JSONValue } from '../chunker/json-message.ts';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import { onAbort, RequestAbort } from './aborting.ts';
import type { Connection } from './connection.ts';
import type { RequestBody, RequestTable } from './dispatch-table.ts';
import { Fields, undecodable } from './fields.ts';
import { IncomingStream } from './incoming-stream.ts';
import { decodeRequestHeader, type RequestHeader } from './messages.ts';
import { errorId, requestType } from './protocol.ts';
import { RequestQueue } from './request-queue.ts';

/** One request as it was read, or what kept it from being read. */
export interface Incoming {
  readonly header: RequestHeader;
  readonly body: RequestBody | { readonly error: SnapferryError; readonly errorId: number };
  /** What follows the body; nothing behind it is read before it is over. */
  readonly upload: IncomingUpload | null;
  /** Cancels it, whether it is being handled or still waits. */
  readonly abort: RequestAbort;
  /** Resolves when it has been answered and more may be read. */
  readonly answered: Promise<void>;
  readonly settle: () => void;
}

/** The stream behind a request. */
export interface IncomingUpload {
  readonly stream: IncomingStream;
  /** Resolves when the connection is past it, or dead. */
  readonly over: Promise<void>;
}

/** How long a peer may go on sending an upload that is not needed any more. */
const uploadDrainMsMax = 30_000;

const noFields = new Fields(null, 'custom request');
const noId = new Uint8Array(16);

/** Requests nothing may be read behind before they are answered: what follows may be framed otherwise, or not for us. */
const handsOver = new Set<number>([
  requestType.protocolVersion,
  requestType.pullMe,
  requestType.upgrade,
  requestType.close,
]);

/**
 * Reads requests ahead while one is being handled, so that a Cancel or the end of the peer is noticed. Knows every
 * request that has come and is not answered yet, and aborts those that have lost their requester.
 */
export class RequestReader {
  readonly #connection: Connection;
  readonly #finishedBytesMax: number | null;
  readonly #table: RequestTable;
  readonly #queue: RequestQueue<Incoming>;
  readonly #unanswered = new Set<Incoming>();
  #failure: SnapferryError | null = null;
  #stopListening: () => void = () => undefined;
  #waitTimer: NodeJS.Timeout | undefined;

  /** @param isInverted a Finished is read then, and the report in it may be as long as an answer */
  constructor(connection: Connection, table: RequestTable, isInverted: boolean) {
    this.#connection = connection;
    this.#table = table;
    this.#finishedBytesMax = isInverted ? connection.limits.responseBodyBytesMax : null;
    this.#queue = new RequestQueue(connection.limits.pipelinedRequestsMax, connection.limits.requestBodyBytesMax);
  }

  /** Begins to read, and to listen for Cancels. */
  start(): void {
    const connection = this.#connection;
    this.#stopListening = onAbort([connection.died], () => {
      this.#abortAll(connection.died.reason as SnapferryError);
      this.#queue.end();
    });
    this.listenForCancels();
    void this.#readAll();
  }

  /** Cancels are for this side's requests again, after a pull in which this side asked. */
  listenForCancels(): void {
    this.#connection.onCancel = (id) => this.#cancel(id);
  }

  /** Listens no more. What is still being read when the connection ends is thrown away. */
  stop(): void {
    this.#connection.onCancel = null;
    this.#stopListening();
    this.#queue.end();
  }

  /** Whether nothing has come that is not answered yet. */
  get isIdle(): boolean {
    return this.#unanswered.size === 0;
  }

  /**
   * The next request; null when the peer has ended the connection in order, or {@link endWithin} is over.
   * @param waitMsMax a peer that asks nothing for so long is let go
   * @param what is waited for, for the error
   * @throws SnapferryError what broke the connection
   */
  async next(waitMsMax: number, what: string): Promise<Incoming | null> {
    const connection = this.#connection;
    const timedOut = (): void =>
      connection.fail(new SnapferryError('TIMEOUT', `${connection.description}: no ${what} for ${waitMsMax} ms`));
    this.#waitTimer = setTimeout(timedOut, waitMsMax).unref();
    return this.#next();
  }

  /** As {@link next}, but a peer that asks nothing is let go in order. May be called while another wait is under way. */
  async nextOrEnd(waitMsMax: number): Promise<Incoming | null> {
    this.endWithin(waitMsMax);
    return this.#next();
  }

  /** No longer than this is waited for the next request, which is not a failure then. */
  endWithin(waitMsMax: number): void {
    clearTimeout(this.#waitTimer);
    this.#waitTimer = setTimeout(() => this.#queue.end(), waitMsMax);
  }

  async #next(): Promise<Incoming | null> {
    try {
      const incoming = await this.#queue.next();
      const failure = this.#connection.failure ?? (incoming === null ? this.#failure : null);
      if (failure !== null) throw failure;
      return incoming;
    } finally {
      clearTimeout(this.#waitTimer);
    }
  }

  /** It has been answered: it can no longer be cancelled, and if `goOn`, what comes behind it is read. */
  answered(incoming: Incoming, goOn: boolean): void {
    this.#unanswered.delete(incoming);
    if (goOn) incoming.settle();
  }

  async #readAll(): Promise<void> {
    try {
      while (await this.#readOne());
    } catch (error) {
      this.#failure = toSnapferryError(error, 'CONNECTION_LOST');
    }
    this.#queue.end();
  }

  /** Whether there may be another. */
  async #readOne(): Promise<boolean> {
    const connection = this.#connection;
    const { headerBytesMax } = connection.limits;
    let header: RequestHeader | null;
    try {
      header = await connection.readMessage({
        what: 'request header',
        bytesMax: headerBytesMax,
        shape: decodeRequestHeader,
      });
    } catch (cause) {
      if (connection.failure !== null) throw connection.failure;
      const error = toSnapferryError(cause);
      await this.#queue.push(this.#incoming({ type: 0, id: noId }, { error, errorId: errorId.decodeHeader }, null), 0);
      return false;
    }
    if (header === null) {
      this.#abortAll(new SnapferryError('CONNECTION_LOST', `${connection.description} was ended by the requester`));
      return false;
    }
    await this.#readRest(header);
    return true;
  }

  async #readRest(header: RequestHeader): Promise<void> {
    const name = this.#table.nameOf(header.type);
    const hasUpload = header.upload === true && this.#connection.version === 2;
    if (!this.#table.isKnown(header.type, this.#connection.version)) {
      // Answered before its body is read: a peer that sent only the header waits for that.
      const error = new SnapferryError('UNKNOWN_REQUEST', `${name} is not known here`);
      await this.#queue.push(this.#incoming(header, { error, errorId: errorId.unknownRequestType }, null), 0);
      await this.#readBody(header.type, name);
      if (hasUpload) await this.#skipUpload(name);
      return;
    }
    let bytes = 0;
    const body = await this.#readBody(header.type, name, (payloadBytes) => (bytes = payloadBytes));
    const abort = new RequestAbort();
    const upload = hasUpload ? this.#upload(name, abort.signal) : null;
    const incoming = this.#incoming(header, body, upload, abort);
    const room = this.#queue.push(incoming, bytes);
    if (room !== null) await room;
    if (handsOver.has(header.type)) await incoming.answered;
    if (upload !== null) await upload.over;
  }

  #upload(name: string, signal?: AbortSignal): IncomingUpload {
    let onSettled: () => void = () => undefined;
    const over = new Promise<void>((resolve) => (onSettled = resolve));
    const doing = `the upload of ${name}`;
    // Whoever asked stops sending when it reads the answer.
    const cancel = (): void => undefined;
    const stream = new IncomingStream(this.#connection, {
      doing,
      signal,
      cancel,
      onSettled,
      drainMsMax: uploadDrainMsMax,
    });
    return { stream, over };
  }

  async #skipUpload(name: string): Promise<void> {
    const { stream, over } = this.#upload(name);
    await stream.return();
    await over;
  }

  async #readBody(type: number, name: string, onSize?: (payloadBytes: number) => void): Promise<Incoming['body']> {
    const connection = this.#connection;
    const { requestBodyBytesMax } = connection.limits;
    const isLong = type === requestType.pullMe && this.#finishedBytesMax !== null;
    try {
      const what = `${name} request`;
      const bytesMax = isLong ? this.#finishedBytesMax : requestBodyBytesMax;
      const shape = (value: JSONValue): RequestBody => ({
        value,
        fields: this.#table.isCustom(type) ? noFields : new Fields(value, what),
      });
      const body = await connection.readMessage({
        what,
        bytesMax,
        shape,
        isDue: true,
        ...(onSize === undefined ? {} : { onSize }),
      });
      if (body === null) throw new SnapferryError('STREAM_TRUNCATED', `${what} has no body`);
      return body;
    } catch (cause) {
      if (connection.failure !== null) throw connection.failure;
      return { error: undecodable(cause), errorId: errorId.decodeRequestBody };
    }
  }

  #incoming(
    header: RequestHeader,
    body: Incoming['body'],
    upload: IncomingUpload | null,
    abort = new RequestAbort(),
  ): Incoming {
    let settle: () => void = () => undefined;
    const answered = new Promise<void>((resolve) => (settle = resolve));
    const incoming = { header, body, upload, abort, answered, settle };
    this.#unanswered.add(incoming);
    return incoming;
  }

  #cancel(id: Uint8Array): void {
    const reason = new SnapferryError('CANCELLED', 'cancelled by the requester');
    for (const incoming of this.#unanswered) {
      if (Buffer.compare(incoming.header.id, id) === 0) incoming.abort.abort(reason);
    }
  }

  #abortAll(reason: SnapferryError): void {
    for (const incoming of this.#unanswered) incoming.abort.abort(reason);
  }
}

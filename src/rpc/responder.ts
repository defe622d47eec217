import type { JSONValue } from '../chunker/json-message.ts';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import { calls } from './call-table.ts';
import type { Connection } from './connection.ts';
import { isKnownRequest, prepareHandle, type Answer, type Handle } from './dispatch-table.ts';
import { Fields } from './fields.ts';
import { decideHello, decodeHello, type HelloOptions } from './hello.ts';
import type { Pull, PullReport, RequestContext, RPCHandler } from './interfaces.ts';
import {
  decodeFinishedError,
  decodeReport,
  decodeRequestHeader,
  encodeError,
  encodeResponseHeader,
  errorFromWire,
  type RequestHeader,
  type ResponseHeader,
} from './messages.ts';
import { orAborted, sendStream } from './outgoing-stream.ts';
import { errorId, requestName, requestType, responseType } from './protocol.ts';
import { RequestQueue } from './request-queue.ts';
import { Requester } from './requester.ts';

/** Who answers, and to whom. */
export interface ResponderOptions {
  readonly handler: RPCHandler;
  /** Empty when unknown. */
  readonly clientIdentity: string;
  /** Null inside an inversion, where no hello is said. */
  readonly hello?: HelloOptions | null;
}

/** One request as it was read, or what kept it from being read. */
interface Incoming {
  readonly header: RequestHeader;
  readonly body: { fields: Fields } | { error: SnapferryError; errorId: number };
  /** Cancels it, whether it is being handled or still waits. */
  readonly abort: AbortController;
  /** Resolves when it has been answered. */
  readonly answered: Promise<void>;
  readonly settle: () => void;
}

/** The end of a conversation: closed by the peer, or (inverted) the peer's pull finished. */
type Outcome =
  | { readonly kind: 'closed' }
  | { readonly kind: 'finished'; readonly report: PullReport | null; readonly error: SnapferryError | null };

const noId = new Uint8Array(16);
/** Requests nothing may be read behind: what follows belongs to somebody else, or to nobody. */
const handsOver = new Set<number>([requestType.pullMe, requestType.close]);

/**
 * The answering side of a connection. Requests are read ahead while one is handled, so that a Cancel or the peer's end is
 * noticed; they are answered one by one in order. A handler's error is an answer, never the end of the connection.
 */
export class Responder {
  readonly #connection: Connection;
  readonly #options: ResponderOptions;
  readonly #queue: RequestQueue<Incoming>;
  readonly #isInverted: boolean;
  #current: Incoming | null = null;
  #isGreeted: boolean;
  #readFailure: SnapferryError | null = null;

  constructor(connection: Connection, options: ResponderOptions) {
    this.#connection = connection;
    this.#options = options;
    this.#isInverted = options.hello === null || options.hello === undefined;
    this.#isGreeted = this.#isInverted;
    this.#queue = new RequestQueue(connection.limits.pipelinedRequestsMax);
  }

  /**
   * Answers until the peer says goodbye or ends the connection, then closes it.
   * @throws SnapferryError when the connection broke, or had to be broken because a stream towards a version-1 peer failed
   */
  async serve(): Promise<void> {
    await this.#run();
    await this.#connection.close();
  }

  /**
   * Answers a peer that pulls, until it says that it has finished.
   * @returns its report; null from a version-1 peer
   * @throws SnapferryError when the pull failed over there, or anything but Finished ended it
   */
  async serveInverted(): Promise<PullReport | null> {
    const outcome = await this.#run();
    if (outcome.kind === 'finished') {
      if (outcome.error !== null) throw outcome.error;
      return outcome.report;
    }
    const error = new SnapferryError('CONNECTION_LOST', 'the peer ended the connection before it had finished pulling');
    this.#connection.fail(error);
    throw error;
  }

  async #run(): Promise<Outcome> {
    const connection = this.#connection;
    connection.onCancel = (id) => this.#cancel(id);
    const onDeath = (): void => this.#abortAll(connection.failure);
    connection.died.addEventListener('abort', onDeath, { once: true });
    void this.#readRequests();
    try {
      return await this.#answerAll();
    } finally {
      connection.onCancel = null;
      connection.died.removeEventListener('abort', onDeath);
    }
  }

  async #answerAll(): Promise<Outcome> {
    for (;;) {
      const incoming = await this.#nextRequest();
      if (incoming === null) {
        if (this.#readFailure !== null) throw this.#readFailure;
        return { kind: 'closed' };
      }
      this.#current = incoming;
      let outcome: Outcome | null;
      try {
        outcome = await this.#respond(incoming);
      } finally {
        this.#current = null;
        if (this.#connection.failure !== null) incoming.settle();
      }
      // The reader goes on only where this side keeps answering.
      if (outcome !== null) return outcome;
      incoming.settle();
    }
  }

  /** The next request; a peer that asks nothing for too long is let go. */
  async #nextRequest(): Promise<Incoming | null> {
    const { limits } = this.#connection;
    const waitMsMax = this.#isGreeted ? limits.requestWaitMsMax : limits.helloMsMax;
    const timedOut = (): void =>
      this.#connection.fail(new SnapferryError('TIMEOUT', `no request for ${waitMsMax} ms`, { retryable: true }));
    const timer = setTimeout(timedOut, waitMsMax);
    timer.unref();
    try {
      return await this.#queue.next();
    } finally {
      clearTimeout(timer);
    }
  }

  async #readRequests(): Promise<void> {
    try {
      for (;;) {
        const incoming = await this.#readRequest();
        if (incoming === null) break;
        await this.#queue.push(incoming);
        if ('error' in incoming.body && incoming.body.errorId === errorId.decodeHeader) break;
        if (incoming.header.type === requestType.protocolVersion || handsOver.has(incoming.header.type)) {
          await incoming.answered;
        }
      }
    } catch (error) {
      this.#readFailure = toSnapferryError(error, 'CONNECTION_LOST');
    }
    this.#queue.end();
  }

  async #readRequest(): Promise<Incoming | null> {
    const { limits } = this.#connection;
    let header: RequestHeader | null;
    try {
      header = await this.#connection.readMessage('request header', limits.headerBytesMax, decodeRequestHeader);
    } catch (cause) {
      if (this.#connection.failure !== null) throw this.#connection.failure;
      return incomingOf({ type: 0, id: noId }, { error: toSnapferryError(cause), errorId: errorId.decodeHeader });
    }
    if (header === null) return null;
    const known = isKnownRequest(header.type);
    const unknown = {
      error: new SnapferryError('UNKNOWN_REQUEST', `${requestName(header.type)} is not known here`),
      errorId: errorId.unknownRequestType,
    };
    // Answered before its body is read: a peer that sent only the header waits for that.
    if (!known) await this.#queue.push(incomingOf(header, unknown));
    const name = requestName(header.type);
    const body = await this.#readBody(name);
    if (body === null) return null;
    return known ? incomingOf(header, body) : this.#readRequest();
  }

  async #readBody(name: string): Promise<Incoming['body'] | null> {
    const limit = this.#connection.limits.requestBodyBytesMax;
    try {
      const what = `${name} request`;
      const read = (value: JSONValue): { fields: Fields } => ({ fields: new Fields(value, what) });
      return await this.#connection.readMessage(what, limit, read);
    } catch (cause) {
      if (this.#connection.failure !== null) throw this.#connection.failure;
      return { error: toSnapferryError(cause), errorId: errorId.decodeRequestBody };
    }
  }

  /** Answers one request. An outcome ends this side's answering. */
  async #respond(incoming: Incoming): Promise<Outcome | null> {
    const { header, body } = incoming;
    if (!('error' in body)) {
      try {
        return await this.#dispatch(incoming, body.fields);
      } catch (cause) {
        return this.#respondError(incoming, cause, null);
      }
    }
    const isFatal = body.errorId === errorId.decodeHeader;
    await this.#sendError(header.id, body.error, body.errorId);
    return isFatal ? { kind: 'closed' } : null;
  }

  async #respondError(incoming: Incoming, cause: unknown, id: number | null): Promise<Outcome | null> {
    if (this.#connection.failure !== null) throw this.#connection.failure;
    const error = toSnapferryError(cause);
    const name = requestName(incoming.header.type);
    const level = error.code === 'INTERNAL' ? 'error' : 'info';
    this.#connection.logger[level]({ err: cause, request: name }, `${name} failed: ${error.message}`);
    const isMismatch = error.code === 'PROTOCOL_VERSION';
    await this.#sendError(incoming.header.id, error, isMismatch ? errorId.protocolVersionMismatch : id);
    return isMismatch ? { kind: 'closed' } : null;
  }

  async #dispatch(incoming: Incoming, body: Fields): Promise<Outcome | null> {
    const { type, id } = incoming.header;
    if (type === requestType.protocolVersion) return this.#greet(id, body);
    if (!this.#isGreeted) throw new SnapferryError('PROTOCOL_VERSION', 'the first request must be ProtocolVersion');
    if (type === requestType.close) {
      this.#connection.logger.debug({ goodbye: body.text('Goodbye') }, 'the peer closes');
      await this.#sendHeader(id, responseType.ok);
      return { kind: 'closed' };
    }
    if (type === requestType.pullMe) return this.#pullMe(incoming, body);
    let handle: Handle;
    try {
      handle = prepareHandle(type, this.#options.handler, body);
    } catch (cause) {
      return this.#respondError(incoming, cause, errorId.decodeRequestBody);
    }
    await this.#sendAnswer(incoming, await this.#handle(incoming, handle));
    return null;
  }

  async #handle(incoming: Incoming, handle: Handle): Promise<Answer> {
    const { signal } = incoming.abort;
    let handled: Promise<Answer> | null = null;
    try {
      return await orAborted(() => (handled = handle(this.#context(incoming))), signal);
    } catch (error) {
      // A transfer that comes too late for a cancelled request is closed, or its child would live on.
      void (handled as Promise<Answer> | null)?.then(closeUnused, () => undefined);
      throw error;
    }
  }

  async #greet(id: Uint8Array, body: Fields): Promise<null> {
    const hello = this.#isGreeted ? null : (this.#options.hello ?? null);
    if (hello === null) {
      await this.#sendHeader(id, responseType.ok);
      return null;
    }
    const decision = decideHello(decodeHello(body), id, hello);
    this.#isGreeted = true;
    const answer = this.#connection.encode(decision.answer);
    const sent = this.#connection.send(answer);
    decision.apply(this.#connection);
    await sent;
    return null;
  }

  async #sendAnswer(incoming: Incoming, answer: Answer): Promise<void> {
    const { id, type } = incoming.header;
    if (answer.kind === 'ok') return this.#sendHeader(id, responseType.ok);
    if (answer.kind === 'body') {
      // Encoded before anything is sent: what cannot be encoded is an error, not an empty message.
      const header = encodeResponseHeader(okHeader(id, answer.type), this.#connection.version);
      return this.#connection.send(this.#connection.encode(header, answer.body));
    }
    const { format, estimatedBytes, resumed, bytes } = answer.transfer;
    const header = { ...okHeader(id, responseType.chunkedStream), streamFormat: format, estimatedBytes, resumed };
    await this.#connection.send(this.#connection.encode(encodeResponseHeader(header, this.#connection.version)));
    try {
      await sendStream(this.#connection, bytes, incoming.abort.signal);
    } catch (error) {
      this.#connection.logger.warn({ err: error, request: requestName(type) }, 'a transfer failed');
      if (this.#connection.failure !== null) throw this.#connection.failure;
    }
  }

  async #pullMe(incoming: Incoming, body: Fields): Promise<Outcome | null> {
    const { id } = incoming.header;
    if (body.flag('Finished')) {
      if (!this.#isInverted) throw new SnapferryError('INVALID_REQUEST', 'Finished without a PullMe before it');
      const error = body.has('Error') ? errorFromWire(decodeFinishedError(body.raw('Error')), 'the pull') : null;
      const report = body.has('Report') ? decodeReport(body.raw('Report')) : null;
      await this.#sendHeader(id, responseType.ok);
      return { kind: 'finished', report, error };
    }
    if (this.#isInverted) throw new SnapferryError('INVALID_REQUEST', 'PullMe inside a PullMe');
    const pull = await this.#permitPull(incoming, body);
    await this.#sendHeader(id, responseType.ok);
    await this.#pull(pull);
    return null;
  }

  /** Everything that can refuse a pull comes before its confirmation. */
  async #permitPull(incoming: Incoming, body: Fields): Promise<Pull> {
    const { handler, clientIdentity } = this.#options;
    if (clientIdentity === '' || clientIdentity === 'local') {
      throw new SnapferryError('ACCESS_DENIED', 'PullMe needs a client with an identity of its own');
    }
    if (handler.pullMe === undefined) throw new SnapferryError('ACCESS_DENIED', 'nothing is received here');
    const request = calls.pullMe.decode(body);
    return handler.pullMe(request, this.#context(incoming));
  }

  async #pull(pull: Pull): Promise<void> {
    const connection = this.#connection;
    connection.onCancel = null;
    const requester = new Requester(connection, null);
    try {
      let outcome: { report: PullReport } | { error: SnapferryError };
      try {
        outcome = { report: await pull(requester) };
      } catch (cause) {
        outcome = { error: toSnapferryError(cause) };
        connection.logger.warn({ err: cause }, 'a pull over an inverted connection failed');
        if (connection.version === 1) connection.fail(outcome.error);
      }
      if (connection.failure !== null) throw connection.failure;
      await requester.finish(outcome);
    } finally {
      connection.onCancel = (id) => this.#cancel(id);
    }
  }

  #context(incoming: Incoming): RequestContext {
    return {
      clientIdentity: this.#options.clientIdentity,
      signal: incoming.abort.signal,
      logger: this.#connection.logger,
      progress: (progress) => this.#connection.sendProgress(progress),
    };
  }

  #cancel(id: Uint8Array): void {
    const reason = new SnapferryError('CANCELLED', 'cancelled by the requester');
    for (const incoming of [this.#current, ...this.#queue.waiting]) {
      if (incoming !== null && Buffer.compare(incoming.header.id, id) === 0) incoming.abort.abort(reason);
    }
  }

  #abortAll(reason: SnapferryError | null): void {
    for (const incoming of [this.#current, ...this.#queue.waiting]) {
      incoming?.abort.abort(reason);
      incoming?.settle();
    }
    this.#queue.end();
  }

  async #sendHeader(id: Uint8Array, type: number): Promise<void> {
    await this.#connection.send(
      this.#connection.encode(encodeResponseHeader(okHeader(id, type), this.#connection.version)),
    );
  }

  async #sendError(id: Uint8Array, error: SnapferryError, wireErrorId: number | null): Promise<void> {
    const wire = encodeError(error);
    const header: ResponseHeader = {
      ...wire,
      errorId: wireErrorId ?? (this.#connection.version === 1 ? errorId.handler : wire.errorId),
      requestId: id,
      responseType: responseType.none,
    };
    await this.#connection.send(this.#connection.encode(encodeResponseHeader(header, this.#connection.version)));
  }
}

function incomingOf(header: RequestHeader, body: Incoming['body']): Incoming {
  let settle: () => void = () => undefined;
  const answered = new Promise<void>((resolve) => (settle = resolve));
  return { header, body, abort: new AbortController(), answered, settle };
}

function okHeader(requestId: Uint8Array, type: number): ResponseHeader {
  return { requestId, errorId: errorId.none, message: '', code: null, retryable: null, responseType: type };
}

async function closeUnused(answer: Answer): Promise<void> {
  if (answer.kind !== 'stream') return;
  await answer.transfer.bytes[Symbol.asyncIterator]().return?.();
}

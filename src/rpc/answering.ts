import { SnapferryError, toSnapferryError } from '../errors.ts';
import type { ByteStream } from '../transport/byte-stream.ts';
import { linkAborts, orAborted, type RequestAbort } from './aborting.ts';
import { closeUnused, sendAnswer, sendError, sendOk } from './answers.ts';
import { calls } from './call-table.ts';
import type { Connection } from './connection.ts';
import { noBytes } from './custom-calls.ts';
import type { Answer, Prepared, RequestBody, RequestTable } from './dispatch-table.ts';
import { undecodable, type Fields } from './fields.ts';
import { decideHello, decodeHello, type HelloOptions } from './hello.ts';
import type { RequestContext, RPCHandler } from './interfaces.ts';
import { decodeFinished, permitPull, runPull, type Finished } from './inversion.ts';
import { tellable } from './messages.ts';
import { errorId, requestType } from './protocol.ts';
import { RequestInProgress } from './request-in-progress.ts';
import { escapeText, logRequest, shortForm } from './request-log.ts';
import type { Incoming, RequestReader } from './request-reader.ts';
import { Stragglers } from './stragglers.ts';

/** Who answers, and to whom. */
export interface AnsweringOptions {
  readonly handler: RPCHandler;
  /** Empty when unknown. */
  readonly clientIdentity: string;
  /** Null inside an inversion, where no hello is said. */
  readonly hello: HelloOptions | null;
  /** What handlers find as `context.attached`, asked for at every request. */
  readonly attached?: (() => unknown) | undefined;
  /** Why nobody is served: the answer to the hello. */
  readonly refusal?: SnapferryError | undefined;
}

/** How a conversation ended, where it did not break. */
export type Ending =
  /** The peer closed it, with these words. */
  | { readonly kind: 'closed'; readonly goodbye: string }
  /** The peer ended the stream without closing. */
  | { readonly kind: 'vanished' }
  /** This side left. */
  | { readonly kind: 'left' }
  /** This side refused to go on. */
  | { readonly kind: 'refused'; readonly error: SnapferryError }
  /** The stream belongs to somebody else now. */
  | { readonly kind: 'detached' };

/** What ends the answering. */
export type Outcome =
  | Ending
  | ({ readonly kind: 'finished' } & Finished)
  | { readonly kind: 'upgraded'; readonly stream: ByteStream; readonly serve: (stream: ByteStream) => Promise<void> };

/** A request whose body could be read but is not what its type says. */
class Undecodable extends Error {}

/** Answers single requests. A handler's error is an answer, never the end of the connection. */
export class Answering {
  /** Whether every further request is answered with `GOODBYE`. */
  isLeaving = false;
  /** Aborts what a protocol does with a connection it was handed. */
  readonly handedOver = new AbortController();
  readonly #connection: Connection;
  readonly #options: AnsweringOptions;
  readonly #table: RequestTable;
  readonly #requests: RequestReader;
  readonly #isInverted: boolean;
  readonly #stragglers = new Stragglers();
  #isGreeted: boolean;
  #hasSaidGoodbye = false;

  constructor(
    connection: Connection,
    options: AnsweringOptions,
    { table, requests }: { readonly table: RequestTable; readonly requests: RequestReader },
  ) {
    this.#connection = connection;
    this.#options = options;
    this.#table = table;
    this.#requests = requests;
    this.#isInverted = options.hello === null;
    this.#isGreeted = this.#isInverted;
  }

  /** Whether hello has been said. */
  get isGreeted(): boolean {
    return this.#isGreeted;
  }

  /** Whether the peer has been told that this side leaves. */
  get hasSaidGoodbye(): boolean {
    return this.#hasSaidGoodbye;
  }

  /** A request that is about to be answered. */
  begin({ header }: Incoming): RequestInProgress {
    return new RequestInProgress(this.#connection, header.type, this.#table.nameOf(header.type));
  }

  /** Answers one request. An outcome ends this side's answering. */
  async respond(incoming: Incoming, request: RequestInProgress): Promise<Outcome | null> {
    const { header, body } = incoming;
    const isHeader = !('error' in body && body.errorId === errorId.decodeHeader);
    if (isHeader && !this.#isGreeted && header.type !== requestType.protocolVersion) {
      return this.#refuseVersion(incoming, request, 'the first request must be ProtocolVersion');
    }
    if (!('error' in body)) {
      try {
        return await this.#dispatch(incoming, request, body);
      } catch (cause) {
        return this.#respondError(incoming, request, cause);
      }
    }
    request.error = body.error;
    this.#connection.logger.info({ err: body.error, request: request.name }, 'a request cannot be read');
    await sendError(this.#connection, header.id, body.error, body.errorId);
    return isHeader ? null : { kind: 'refused', error: body.error };
  }

  async #respondError({ header }: Incoming, request: RequestInProgress, cause: unknown): Promise<null> {
    if (this.#connection.failure !== null) throw this.#connection.failure;
    const { name } = request;
    const isUndecodable = cause instanceof Undecodable;
    const error = isUndecodable ? undecodable(cause.cause) : tellable(cause, 'INTERNAL', name);
    request.error = error;
    request.isOver = true;
    const level = error.code === 'INTERNAL' ? 'error' : 'info';
    const text = escapeText(toSnapferryError(isUndecodable ? cause.cause : cause).message);
    this.#connection.logger[level]({ err: cause, request: name }, `${name} failed: ${text}`);
    await sendError(this.#connection, header.id, error, isUndecodable ? errorId.decodeRequestBody : null);
    return null;
  }

  async #refuseVersion({ header }: Incoming, request: RequestInProgress, why: string): Promise<Outcome> {
    const error = new SnapferryError('PROTOCOL_VERSION', why);
    request.error = error;
    await sendError(this.#connection, header.id, error, errorId.protocolVersionMismatch);
    return { kind: 'refused', error };
  }

  async #dispatch(incoming: Incoming, request: RequestInProgress, body: RequestBody): Promise<Outcome | null> {
    const { type, id } = incoming.header;
    const { fields } = body;
    if (type === requestType.protocolVersion) return this.#greet(incoming, request, fields);
    if (type === requestType.close) return this.#close(id, request, body);
    if (type === requestType.pullMe && this.#isInverted && decoding(() => fields.flag('Finished'))) {
      return this.#finish(id, request, fields);
    }
    if (this.#isLeavingNow()) throw new SnapferryError('GOODBYE', 'this side is shutting down; try again in a moment');
    if (type === requestType.pullMe) return this.#pullMe(incoming, request, body);
    if (type === requestType.upgrade) return this.#upgrade(incoming, request, body);
    const { version } = this.#connection;
    const prepared = decoding(() => this.#table.prepare(type, body, incoming.upload !== null, version));
    this.#log(request, prepared.short, body);
    const answer = await this.#handle(incoming, request, prepared);
    request.error = await sendAnswer(this.#connection, incoming, request, answer);
    return null;
  }

  async #handle(incoming: Incoming, request: RequestInProgress, { handle }: Prepared): Promise<Answer> {
    const { abort } = incoming;
    if (this.#stragglers.areMany) await this.#stragglers.few(abort);
    const upload = incoming.upload?.stream ?? noBytes();
    let handled: Promise<Answer> | null = null;
    try {
      return await abort.orAborted(() => (handled = handle(this.#context(request, abort), upload)));
    } catch (error) {
      // It may still offer a transfer, too late for a request that was cancelled.
      const late = (handled as Promise<Answer> | null)?.then(closeUnused, () => undefined);
      if (late !== undefined) this.#stragglers.add(late);
      throw error;
    }
  }

  async #greet(incoming: Incoming, request: RequestInProgress, body: Fields): Promise<Outcome | null> {
    const { id } = incoming.header;
    const offered = decoding(() => decodeHello(body));
    const hello = this.#isGreeted ? null : this.#options.hello;
    if (hello === null) {
      await sendOk(this.#connection, id);
      return null;
    }
    const decision = decideHello(offered, id, hello);
    if ('refusal' in decision) return this.#refuseVersion(incoming, request, decision.refusal);
    const leaving = this.isLeaving ? new SnapferryError('GOODBYE', 'this side is shutting down') : undefined;
    const refusal = this.#options.refusal ?? leaving;
    if (refusal !== undefined) {
      request.error = refusal;
      // One that offers version 2 understands the code of the error.
      await sendError(this.#connection, id, refusal, null, decision.version);
      return { kind: 'refused', error: refusal };
    }
    this.#isGreeted = true;
    const answer = this.#connection.encode(decision.answer);
    const sent = this.#connection.send(answer);
    decision.apply(this.#connection);
    await sent;
    return null;
  }

  async #close(id: Uint8Array, request: RequestInProgress, body: RequestBody): Promise<Outcome> {
    const goodbye = decoding(() => body.fields.text('Goodbye'));
    this.#log(request, () => goodbye, body);
    // One that does not wait for the answer has left all the same.
    const unheard = (error: unknown): void => this.#connection.logger.debug({ err: error }, 'goodbye was not awaited');
    await sendOk(this.#connection, id).catch(unheard);
    return { kind: 'closed', goodbye };
  }

  async #finish(id: Uint8Array, request: RequestInProgress, body: Fields): Promise<Outcome> {
    const finished = decoding(() => decodeFinished(body));
    request.error = finished.error;
    await sendOk(this.#connection, id);
    return { kind: 'finished', ...finished };
  }

  async #pullMe(incoming: Incoming, request: RequestInProgress, body: RequestBody): Promise<null> {
    if (decoding(() => body.fields.flag('Finished'))) {
      throw new SnapferryError('INVALID_REQUEST', 'Finished without a PullMe before it');
    }
    if (this.#isInverted) throw new SnapferryError('INVALID_REQUEST', 'PullMe inside a PullMe');
    // Decoded only for those who may ask at all.
    const decode = () => decoding(() => calls.pullMe.decode(body.fields, this.#connection.version));
    const pull = await permitPull(this.#options.handler, decode, this.#context(request, incoming.abort));
    this.#log(request, () => calls.pullMe.short(decode()), body);
    await sendOk(this.#connection, incoming.header.id);
    try {
      request.error = await runPull(this.#connection, pull);
    } finally {
      this.#requests.listenForCancels();
    }
    return null;
  }

  async #upgrade(incoming: Incoming, request: RequestInProgress, body: RequestBody): Promise<Outcome> {
    const name = decoding(() => body.fields.text('Protocol'));
    this.#log(request, () => name, body);
    if (this.#isInverted) throw new SnapferryError('INVALID_REQUEST', 'Upgrade inside a PullMe');
    const protocol = this.#options.handler.protocols?.find((other) => other.name === name);
    if (protocol === undefined) {
      throw new SnapferryError('UNKNOWN_REQUEST', `protocol ${JSON.stringify(name)} is not spoken here`);
    }
    const connection = this.#connection;
    linkAborts([incoming.abort.signal], this.handedOver, 'the upgrade');
    const { signal } = this.handedOver;
    const serve = await orAborted(() => protocol.open(this.#context(request, { signal })), signal);
    connection.holdControl = true;
    await sendOk(connection, incoming.header.id);
    // The end of this connection is not the end of what the protocol does with the stream.
    this.#requests.stop();
    return { kind: 'upgraded', stream: connection.detach(), serve };
  }

  #isLeavingNow(): boolean {
    if (!this.isLeaving) return false;
    this.#hasSaidGoodbye = true;
    return true;
  }

  #log(request: RequestInProgress, short: () => string, { value }: RequestBody): void {
    const { name } = request;
    request.describe = () => shortForm({ name, short });
    logRequest(this.#connection.logger, { name, short, body: value });
  }

  #context(request: RequestInProgress, abort: Pick<RequestAbort, 'signal'>): RequestContext {
    const connection = this.#connection;
    return {
      clientIdentity: this.#options.clientIdentity,
      get signal() {
        return abort.signal;
      },
      logger: connection.logger,
      attached: this.#options.attached?.(),
      progress: (progress) => {
        if (!request.isOver) connection.sendProgress(progress);
      },
    };
  }
}

function decoding<T>(decode: () => T): T {
  try {
    return decode();
  } catch (cause) {
    throw new Undecodable('cannot decode the request', { cause });
  }
}

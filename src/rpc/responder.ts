import { SnapferryError, toSnapferryError } from '../errors.ts';
import { orAborted } from './aborting.ts';
import { closeUnused, sendAnswer, sendError, sendOk } from './answers.ts';
import { calls } from './call-table.ts';
import type { Connection } from './connection.ts';
import { prepareHandle, type Answer, type Handle } from './dispatch-table.ts';
import { undecodable, type Fields } from './fields.ts';
import { decideHello, decodeHello, type HelloOptions } from './hello.ts';
import type { Pull, PullReport, RequestContext, RPCHandler } from './interfaces.ts';
import { decodeFinishedError, decodeReport, errorFromWire, tellable } from './messages.ts';
import { errorId, requestName, requestType } from './protocol.ts';
import { RequestReader, type Incoming } from './request-reader.ts';
import { Requester, type PullOutcome } from './requester.ts';
import { Stragglers } from './stragglers.ts';

/** Who answers, and to whom. */
export interface ResponderOptions {
  readonly handler: RPCHandler;
  /** Empty when unknown. */
  readonly clientIdentity: string;
  /** Null inside an inversion, where no hello is said. */
  readonly hello: HelloOptions | null;
}

/** The end of a conversation: closed, because of an error or in order, or (inverted) the peer's pull finished. */
type Outcome =
  | { readonly kind: 'closed'; readonly error: SnapferryError | null }
  | { readonly kind: 'finished'; readonly report: PullReport | null; readonly error: SnapferryError | null };

/** A request whose body could be read but is not what its type says. */
class Undecodable extends Error {}

/**
 * The answering side of a connection. Requests are answered one by one in order. A handler's error is an answer, never
 * the end of the connection.
 */
export class Responder {
  readonly #connection: Connection;
  readonly #options: ResponderOptions;
  readonly #requests: RequestReader;
  readonly #isInverted: boolean;
  readonly #stragglers = new Stragglers();
  #current: Incoming | null = null;
  #isGreeted: boolean;

  constructor(connection: Connection, options: ResponderOptions) {
    this.#connection = connection;
    this.#options = options;
    this.#isInverted = options.hello === null;
    this.#isGreeted = this.#isInverted;
    this.#requests = new RequestReader(connection, this.#isInverted);
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
    const why = `the peer ended the connection before it had finished pulling`;
    const error = outcome.error ?? new SnapferryError('CONNECTION_LOST', why);
    this.#connection.fail(error);
    throw error;
  }

  async #run(): Promise<Outcome> {
    this.#requests.start();
    try {
      return await this.#answerAll();
    } finally {
      this.#requests.stop();
    }
  }

  async #answerAll(): Promise<Outcome> {
    const { requestWaitMsMax, helloMsMax } = this.#connection.limits;
    for (;;) {
      const incoming = await this.#requests.next(this.#isGreeted ? requestWaitMsMax : helloMsMax);
      if (incoming === null) return { kind: 'closed', error: null };
      this.#current = incoming;
      let outcome: Outcome | null = null;
      try {
        outcome = await this.#respond(incoming);
      } finally {
        this.#current = null;
        // The reader goes on only where this side keeps answering.
        this.#requests.answered(incoming, outcome === null);
      }
      if (outcome !== null) return outcome;
    }
  }

  /** Answers one request. An outcome ends this side's answering. */
  async #respond(incoming: Incoming): Promise<Outcome | null> {
    const { header, body } = incoming;
    const isHeader = !('error' in body && body.errorId === errorId.decodeHeader);
    if (isHeader && !this.#isGreeted && header.type !== requestType.protocolVersion) {
      return this.#refuseVersion(header.id, 'the first request must be ProtocolVersion');
    }
    if (!('error' in body)) {
      try {
        return await this.#dispatch(incoming, body.fields);
      } catch (cause) {
        return this.#respondError(incoming, cause);
      }
    }
    this.#connection.logger.info({ err: body.error, request: requestName(header.type) }, 'a request cannot be read');
    await sendError(this.#connection, header.id, body.error, body.errorId);
    return isHeader ? null : { kind: 'closed', error: body.error };
  }

  async #respondError({ header }: Incoming, cause: unknown): Promise<null> {
    if (this.#connection.failure !== null) throw this.#connection.failure;
    const name = requestName(header.type);
    const isUndecodable = cause instanceof Undecodable;
    const error = isUndecodable ? undecodable(cause.cause) : tellable(cause, 'INTERNAL', name);
    const level = error.code === 'INTERNAL' ? 'error' : 'info';
    this.#connection.logger[level]({ err: cause, request: name }, `${name} failed: ${toSnapferryError(cause).message}`);
    await sendError(this.#connection, header.id, error, isUndecodable ? errorId.decodeRequestBody : null);
    return null;
  }

  async #refuseVersion(id: Uint8Array, why: string): Promise<Outcome> {
    const error = new SnapferryError('PROTOCOL_VERSION', why);
    await sendError(this.#connection, id, error, errorId.protocolVersionMismatch);
    return { kind: 'closed', error };
  }

  async #dispatch(incoming: Incoming, body: Fields): Promise<Outcome | null> {
    const connection = this.#connection;
    const { type, id } = incoming.header;
    if (type === requestType.protocolVersion) return this.#greet(id, body);
    if (type === requestType.close) {
      connection.logger.debug({ goodbye: decoding(() => body.text('Goodbye')) }, 'the peer closes');
      await sendOk(connection, id);
      return { kind: 'closed', error: null };
    }
    if (type === requestType.pullMe) return this.#pullMe(incoming, body);
    const handle = decoding(() => prepareHandle(type, this.#options.handler, body));
    const answer = await this.#handle(incoming, handle);
    await sendAnswer(connection, incoming.header, answer, incoming.abort.signal);
    return null;
  }

  async #handle(incoming: Incoming, handle: Handle): Promise<Answer> {
    const { signal } = incoming.abort;
    await this.#stragglers.few(signal);
    let handled: Promise<Answer> | null = null;
    try {
      return await orAborted(() => (handled = handle(this.#context(incoming))), signal);
    } catch (error) {
      // It may still offer a transfer, too late for a request that was cancelled.
      const late = (handled as Promise<Answer> | null)?.then(closeUnused, () => undefined);
      if (late !== undefined) this.#stragglers.add(late);
      throw error;
    }
  }

  async #greet(id: Uint8Array, body: Fields): Promise<Outcome | null> {
    const offered = decoding(() => decodeHello(body));
    const hello = this.#isGreeted ? null : this.#options.hello;
    if (hello === null) {
      await sendOk(this.#connection, id);
      return null;
    }
    const decision = decideHello(offered, id, hello);
    if ('refusal' in decision) return this.#refuseVersion(id, decision.refusal);
    this.#isGreeted = true;
    const answer = this.#connection.encode(decision.answer);
    const sent = this.#connection.send(answer);
    decision.apply(this.#connection);
    await sent;
    return null;
  }

  async #pullMe(incoming: Incoming, body: Fields): Promise<Outcome | null> {
    const { id } = incoming.header;
    if (decoding(() => body.flag('Finished'))) {
      if (!this.#isInverted) throw new SnapferryError('INVALID_REQUEST', 'Finished without a PullMe before it');
      const failure = decoding(() => (body.has('Error') ? decodeFinishedError(body.raw('Error')) : null));
      const report = decoding(() => (body.has('Report') ? decodeReport(body.raw('Report')) : null));
      await sendOk(this.#connection, id);
      return { kind: 'finished', report, error: failure === null ? null : errorFromWire(failure, 'the pull') };
    }
    if (this.#isInverted) throw new SnapferryError('INVALID_REQUEST', 'PullMe inside a PullMe');
    const pull = await this.#permitPull(incoming, body);
    await sendOk(this.#connection, id);
    await this.#pull(pull);
    return null;
  }

  /** Everything that can refuse a pull comes before its confirmation. */
  async #permitPull(incoming: Incoming, body: Fields): Promise<Pull> {
    const { handler, clientIdentity } = this.#options;
    if (clientIdentity === '' || clientIdentity === 'local') {
      throw new SnapferryError('ACCESS_DENIED', 'PullMe needs a client with an identity of its own');
    }
    const request = decoding(() => calls.pullMe.decode(body));
    const context = this.#context(incoming);
    const { signal } = incoming.abort;
    return orAborted(async () => {
      if (handler.pullMe === undefined) throw new SnapferryError('ACCESS_DENIED', 'nothing is received here');
      return handler.pullMe(request, context);
    }, signal);
  }

  /** Runs a confirmed pull and tells its outcome; where that fails there is nothing left to tell it with. */
  async #pull(pull: Pull): Promise<void> {
    const connection = this.#connection;
    connection.onCancel = null;
    const requester = new Requester(connection, null);
    try {
      const outcome = await this.#outcomeOf(pull, requester);
      // Version 1 knows no other sign of a failed pull than the end of the connection.
      if (connection.version === 1 && 'error' in outcome) throw outcome.error;
      if (connection.failure !== null) throw connection.failure;
      await requester.finish(outcome);
    } catch (cause) {
      const failure = toSnapferryError(cause);
      connection.fail(failure);
      throw failure;
    } finally {
      requester.retire();
      this.#requests.listenForCancels();
    }
  }

  async #outcomeOf(pull: Pull, requester: Requester): Promise<PullOutcome> {
    try {
      return { report: await pull(requester) };
    } catch (error) {
      this.#connection.logger.warn({ err: error }, 'a pull over an inverted connection failed');
      return { error };
    }
  }

  #context(incoming: Incoming): RequestContext {
    return {
      clientIdentity: this.#options.clientIdentity,
      signal: incoming.abort.signal,
      logger: this.#connection.logger,
      // News of a request that is over would pass for news of the next one.
      progress: (progress) => {
        if (this.#current === incoming) this.#connection.sendProgress(progress);
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

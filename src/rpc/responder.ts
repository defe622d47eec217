import { SnapferryError, toSnapferryError } from '../errors.ts';
import type { ByteStream } from '../transport/byte-stream.ts';
import { Answering, type AnsweringOptions, type Ending, type Outcome } from './answering.ts';
import type { Connection } from './connection.ts';
import { Departure } from './departure.ts';
import { RequestTable } from './dispatch-table.ts';
import type { PullReport } from './interfaces.ts';
import { traced, type RequestInProgress, type RequestWatch } from './request-in-progress.ts';
import { RequestReader, type Incoming } from './request-reader.ts';

/** Who answers, and to whom. */
export interface ResponderOptions extends AnsweringOptions {
  readonly watch?: RequestWatch | undefined;
  /** How long a responder that leaves waits for a request to which it can say so, in ms. Default 1000. */
  readonly goodbyeMs?: number | undefined;
}

const goodbyeMsDefault = 1000;
/** How long a cancelled request may take to end, and the last words to leave, before the connection is dropped. */
const dropMs = 5000;

/** The answering side of a connection, from the first request to the end. Requests are answered one by one in order. */
export class Responder {
  readonly #connection: Connection;
  readonly #options: ResponderOptions;
  readonly #requests: RequestReader;
  readonly #answering: Answering;
  readonly #departure: Departure;
  #current: { readonly incoming: Incoming; readonly request: RequestInProgress } | null = null;
  #upgraded: ByteStream | null = null;

  /** @throws RangeError for custom requests of the handler that contradict each other or the protocol */
  constructor(connection: Connection, options: ResponderOptions) {
    this.#connection = connection;
    this.#options = options;
    const table = new RequestTable(options.handler);
    this.#requests = new RequestReader(connection, table, options.hello === null);
    this.#answering = new Answering(connection, options, { table, requests: this.#requests });
    this.#departure = new Departure({ cancel: () => this.#runOut(), drop: () => this.#drop(), dropMs });
  }

  /** The request being answered. */
  get current(): RequestInProgress | null {
    return this.#current?.request ?? null;
  }

  /**
   * Answers until the peer says goodbye or ends the connection, then closes it; or until another protocol, to which it was
   * handed over, is done.
   * @throws SnapferryError when the connection broke, or had to be broken because a stream towards a version-1 peer failed
   */
  async serve(): Promise<Ending> {
    try {
      const outcome = await this.#run();
      if (outcome.kind === 'upgraded') return await this.#serveUpgraded(outcome);
      if (outcome.kind === 'finished') throw new SnapferryError('INTERNAL', 'Finished was accepted without a PullMe');
      // A peer that is idle does not notice the end of the stream, and would keep it open.
      if (outcome.kind === 'left') this.#departure.dropWithin(this.#goodbyeMs);
      await this.#connection.close();
      return outcome;
    } catch (error) {
      if (this.#connection.isDetached && this.#upgraded === null) return { kind: 'detached' };
      throw error;
    } finally {
      this.#departure.end();
    }
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
    const error = outcome.kind === 'refused' ? outcome.error : new SnapferryError('CONNECTION_LOST', why);
    this.#connection.fail(error);
    throw error;
  }

  /**
   * Leaves: the request in progress may finish within `graceMs` and is cancelled then, the next one is answered with
   * `GOODBYE`, and the connection is closed. Called again, it can only get shorter.
   */
  leave(graceMs: number): void {
    this.#answering.isLeaving = true;
    this.#departure.within(graceMs);
    if (this.#current !== null || this.#upgraded !== null) return;
    this.#requests.endWithin(Math.min(this.#goodbyeMs, this.#departure.remainingMs));
  }

  /** Cancels the request being answered. False if there is none. */
  cancel(reason: SnapferryError): boolean {
    this.#current?.incoming.abort.abort(reason);
    return this.#current !== null;
  }

  /**
   * Takes the connection away between two requests: the stream, with what was already received.
   * @throws SnapferryError `BUSY` while a request is under way, or what killed the connection
   */
  detach(): ByteStream {
    if (this.#current !== null || !this.#requests.isIdle) {
      throw new SnapferryError('BUSY', 'the connection cannot be taken away while a request is under way');
    }
    return this.#connection.detach();
  }

  get #goodbyeMs(): number {
    return this.#options.goodbyeMs ?? goodbyeMsDefault;
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
    for (;;) {
      const incoming = await this.#next();
      if (incoming === null) return { kind: this.#answering.isLeaving ? 'left' : 'vanished' };
      const outcome = await this.#answer(incoming);
      if (outcome !== null) return outcome;
    }
  }

  #next(): Promise<Incoming | null> {
    const { requestWaitMsMax, helloMsMax } = this.#connection.limits;
    const { isLeaving, isGreeted, hasSaidGoodbye } = this.#answering;
    if (isLeaving) return this.#requests.nextOrEnd(hasSaidGoodbye ? 0 : this.#goodbyeMs);
    return this.#requests.next(isGreeted ? requestWaitMsMax : helloMsMax, isGreeted ? 'request' : 'hello');
  }

  async #answer(incoming: Incoming): Promise<Outcome | null> {
    const request = this.#answering.begin(incoming);
    const { watch, clientIdentity } = this.#options;
    this.#current = { incoming, request };
    let outcome: Outcome | null = null;
    try {
      watch?.onBegun?.(request);
      const respond = () => this.#answering.respond(incoming, request);
      outcome = await traced({ request, clientIdentity }, respond);
      if (incoming.upload !== null) {
        await incoming.upload.stream.return();
        await incoming.upload.over;
      }
    } catch (error) {
      request.error ??= toSnapferryError(error);
      throw error;
    } finally {
      this.#current = null;
      request.isOver = true;
      // The reader goes on only where this side keeps answering.
      this.#requests.answered(incoming, outcome === null);
      watch?.onEnded?.(request, request.result());
    }
    return outcome;
  }

  async #serveUpgraded({ stream, serve }: Extract<Outcome, { kind: 'upgraded' }>): Promise<Ending> {
    this.#upgraded = stream;
    try {
      await serve(stream);
    } catch (cause) {
      const error = toSnapferryError(cause, 'INTERNAL', 'the protocol the connection was handed over to');
      stream.abort(error);
      throw error;
    }
    return { kind: 'detached' };
  }

  /** The grace is over. */
  #runOut(): void {
    const reason = new SnapferryError('CANCELLED', 'this side is shutting down; try again in a moment', {
      retryable: true,
    });
    this.cancel(reason);
    this.#answering.handedOver.abort(reason);
  }

  #drop(): void {
    const error = new SnapferryError('TIMEOUT', `${this.#connection.description} did not end within ${dropMs} ms`);
    this.#connection.fail(error);
    this.#upgraded?.abort(error);
  }
}

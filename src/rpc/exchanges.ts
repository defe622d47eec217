import type { JSONInput, JSONValue } from '../chunker/json-message.ts';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import { abortError, onAbort } from './aborting.ts';
import { checkAnswerId } from './answer-id.ts';
import { callLimit, type CallLimit } from './call-limit.ts';
import type { Connection } from './connection.ts';
import type { CallOptions } from './interfaces.ts';
import {
  decodeResponseHeader,
  encodeCancel,
  encodeRequestHeader,
  errorFromWire,
  type ResponseHeader,
} from './messages.ts';
import { errorId, requestName } from './protocol.ts';
import { newRequestId } from './request-id.ts';
import { TurnQueue } from './turn-queue.ts';
import type { Upload } from './upload.ts';

/** How long a cancelled request may take until the connection is past its answer. */
export const cancelMsMax = 30_000;

/** One call on its way: what was asked, and how to stop it. */
export interface Exchange {
  readonly doing: string;
  readonly options: CallOptions;
  /** Asks the peer to stop handling it. */
  readonly cancel: () => void;
  /** Lets the next answer be read. */
  readonly release: () => void;
}

/** Reads what follows the header of an answer that is no error. */
export type ReadAnswer<T> = (header: ResponseHeader, exchange: Exchange) => Promise<T>;

/** One request to be made. */
export interface Asked<T> {
  readonly type: number;
  /** For messages. Default: the name of the type. */
  readonly name?: string;
  readonly body: JSONInput;
  readonly options: CallOptions;
  readonly read: ReadAnswer<T>;
  /** Nothing may be written behind it until it is over. */
  readonly exclusive?: boolean;
  /** It is not written before all others are over. */
  readonly alone?: boolean;
  /** Nothing at all is written behind it, no heartbeat and no Cancel either, until its answer is there. */
  readonly silent?: boolean;
  /** What follows the body. */
  readonly upload?: Upload;
  /** The reader releases the turn itself, when a stream has been read. */
  readonly keepTurn?: boolean;
  /** Gets an answer that came too late for a caller who had left. */
  readonly discard?: (answer: T) => void;
}

/**
 * The requests of one side and their answers, in order. A caller is let go at once when it cancels or times out; the
 * answer is then read away in its turn, so that the connection stays in step.
 */
export class Exchanges {
  readonly #connection: Connection;
  readonly #turns: TurnQueue;
  readonly #stopListening: () => void;

  constructor(connection: Connection) {
    this.#connection = connection;
    this.#turns = new TurnQueue(connection.limits.pipelinedRequestsMax);
    const { died } = connection;
    const onDeath = (): void => this.#turns.fail(died.reason as SnapferryError);
    this.#stopListening = onAbort([died], onDeath);
    if (died.aborted) onDeath();
  }

  /** Whether no request is under way or waits to be made. */
  get isIdle(): boolean {
    return this.#turns.isIdle;
  }

  /** No request is made from here on: whoever tries gets `failure`. */
  end(failure: SnapferryError): void {
    this.#stopListening();
    this.#turns.fail(failure);
  }

  /**
   * One request and its answer.
   * @throws SnapferryError the peer's error, `CANCELLED`, `TIMEOUT`, or what killed the connection
   */
  async ask<T>(asked: Asked<T>): Promise<T> {
    const connection = this.#connection;
    const doing = asked.name ?? requestName(asked.type);
    const limit = callLimit(asked.options, doing);
    try {
      const id = newRequestId();
      const { upload } = asked;
      const header = encodeRequestHeader({ type: asked.type, id, upload: upload !== undefined });
      const request = connection.encode(header, asked.body);
      const entered = this.#turns.enter({
        exclusive: asked.exclusive ?? false,
        alone: asked.alone,
        begin: () => {
          if (asked.silent === true) connection.holdControl = true;
          // A failed write shows in the answer that does not come; until then the peer may still have something to say.
          void connection.send(request).catch(() => undefined);
          upload?.start();
        },
        signal: limit.signal,
        doing,
      });
      const turn = entered instanceof Promise ? await entered : entered;
      const cancel = (): void => {
        void upload?.stop();
        connection.sendControl(encodeCancel(id));
      };
      const release = upload === undefined ? turn.release : (): void => void upload.stop().finally(turn.release);
      const exchange: Exchange = { doing, options: asked.options, cancel, release };
      const answer = this.#answer(asked, exchange, { id, ready: turn.ready, limit });
      return await this.#orGiveUp(answer, exchange, limit, asked.discard);
    } catch (error) {
      // Also where the request was never made.
      void asked.upload?.stop();
      throw error;
    } finally {
      limit.end();
    }
  }

  async #answer<T>(
    asked: Asked<T>,
    exchange: Exchange,
    { id, ready, limit }: { id: Uint8Array; ready: Promise<void> | null; limit: CallLimit },
  ): Promise<T> {
    let isReleased = false;
    try {
      if (ready !== null) await ready;
      const value = await this.#read(asked, exchange, id, limit);
      isReleased = asked.keepTurn === true;
      return value;
    } catch (cause) {
      // What the peer says of an upload that failed here is only an echo.
      const error = asked.upload?.failure ?? toSnapferryError(cause, 'INTERNAL', exchange.doing);
      // An answer that is not what the protocol says leaves us not knowing where the next one begins.
      if (error.connectionDead) this.#connection.fail(error);
      throw error;
    } finally {
      if (!isReleased) {
        this.#connection.onProgress = null;
        this.#connection.holdControl = false;
        exchange.release();
      }
    }
  }

  async #read<T>(asked: Asked<T>, exchange: Exchange, id: Uint8Array, limit: CallLimit): Promise<T> {
    const connection = this.#connection;
    if (connection.failure !== null) throw connection.failure;
    connection.onProgress = asked.options.onProgress ?? null;
    const header = await connection.readMessage({
      what: 'response header',
      bytesMax: connection.limits.headerBytesMax,
      shape: decodeResponseHeader,
    });
    if (header === null) {
      const why = `${exchange.doing}: ${connection.description} ended without an answer`;
      throw new SnapferryError('CONNECTION_LOST', why);
    }
    checkAnswerId(header, { id, doing: exchange.doing }, connection.version);
    limit.begun();
    if (header.errorId !== errorId.none) throw errorFromWire(header, exchange.doing);
    return asked.read(header, exchange);
  }

  async #orGiveUp<T>(
    answer: Promise<T>,
    exchange: Exchange,
    { signal }: CallLimit,
    discard?: (answer: T) => void,
  ): Promise<T> {
    if (signal === undefined) return answer;
    return new Promise<T>((resolve, reject) => {
      const giveUp = (): void => {
        stopListening();
        this.#cancel(exchange, answer);
        answer.then(discard, () => undefined);
        reject(abortError(signal, exchange.doing));
      };
      const stopListening = onAbort([signal], giveUp);
      answer.then(resolve, reject).finally(stopListening);
      if (signal.aborted) giveUp();
    });
  }

  /** Asks the peer to stop, and does not wait for ever for the answer that must still come. */
  #cancel(exchange: Exchange, answer: Promise<unknown>): void {
    exchange.cancel();
    const timedOut = (): void =>
      this.#connection.fail(new SnapferryError('TIMEOUT', `${exchange.doing} was cancelled but never answered`));
    const timer = setTimeout(timedOut, cancelMsMax);
    timer.unref();
    const answered = (): void => clearTimeout(timer);
    answer.then(answered, answered);
  }
}

/** Reads the JSON body of an answer; however long it takes, as long as the peer lives: lists of versions grow long. */
export async function readBody<T>(
  connection: Connection,
  exchange: Exchange,
  shape: (value: JSONValue) => T,
): Promise<T> {
  const body = await connection.readMessage({
    what: `answer to ${exchange.doing}`,
    bytesMax: connection.limits.responseBodyBytesMax,
    shape: (value) => ({ value: shape(value) }),
    isDue: true,
    finishMsMax: null,
  });
  if (body === null) throw new SnapferryError('STREAM_TRUNCATED', `${exchange.doing}: the answer has no body`);
  return body.value;
}

/** @throws SnapferryError `PROTOCOL_VIOLATION` for an answer of another type */
export function expectType(header: ResponseHeader, type: number, exchange: Exchange): void {
  if (header.responseType === type) return;
  const got = `response type 0x${header.responseType.toString(16)} where 0x${type.toString(16)} belongs`;
  throw new SnapferryError('PROTOCOL_VIOLATION', `${exchange.doing}: the peer answered with ${got}`);
}

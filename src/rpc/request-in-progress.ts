import { tracingChannel } from 'node:diagnostics_channel';
import { SnapferryError, type ErrorCode } from '../errors.ts';
import type { Connection } from './connection.ts';

/** What a finished request came to. */
export interface RequestResult {
  /** Null if it was answered without an error. */
  readonly code: ErrorCode | null;
  readonly durationMs: number;
  /** Bytes sent while it was answered, framing included. */
  readonly sentBytes: number;
  /** Bytes received meanwhile: uploads, what a pull fetched, and requests read ahead. */
  readonly receivedBytes: number;
}

/** Who wants to know of the requests of a connection: for lists of sessions, metrics and traces. */
export interface RequestWatch {
  readonly onBegun?: (request: RequestInProgress) => void;
  readonly onEnded?: (request: RequestInProgress, result: RequestResult) => void;
}

/** A request that is being answered. */
export class RequestInProgress {
  readonly type: number;
  /** The name of its type. */
  readonly name: string;
  /** Says what it is about, once that is known. */
  describe: () => string;
  /** When its answering began. */
  readonly since = new Date();
  /** What it was answered with, if that was an error. */
  error: SnapferryError | null = null;
  /** Whether its answer is out, or on its way: nothing more is told of it. */
  isOver = false;
  readonly #connection: Connection;
  readonly #begunMs = performance.now();
  readonly #sentBytes: number;
  readonly #receivedBytes: number;

  constructor(connection: Connection, type: number, name: string) {
    this.type = type;
    this.name = name;
    this.describe = () => name;
    this.#connection = connection;
    this.#sentBytes = connection.sentBytes;
    this.#receivedBytes = connection.receivedBytes;
  }

  /** Its log form: the name, and what it is about once that is known. Escaped. */
  get short(): string {
    return this.describe();
  }

  /** Bytes sent for it so far, framing included. */
  get sentBytes(): number {
    return this.#connection.sentBytes - this.#sentBytes;
  }

  /** Bytes received since it began: uploads, what a pull fetches, and requests read ahead. */
  get receivedBytes(): number {
    return this.#connection.receivedBytes - this.#receivedBytes;
  }

  /** What it has come to until now. */
  result(): RequestResult {
    const { sentBytes, receivedBytes, error } = this;
    return { code: error?.code ?? null, durationMs: performance.now() - this.#begunMs, sentBytes, receivedBytes };
  }
}

/** What subscribers of the tracing channel get. */
export interface RequestTrace {
  readonly request: RequestInProgress;
  readonly clientIdentity: string;
}

const channel = tracingChannel<string, RequestTrace>('snapferry:request');

function isTraced(): boolean {
  const { start, end, asyncStart, asyncEnd, error } = channel;
  return [start, end, asyncStart, asyncEnd, error].some(({ hasSubscribers }) => hasSubscribers);
}

/**
 * Runs the answering of a request under the `node:diagnostics_channel` tracing channel `snapferry:request`. A request that
 * is answered with an error shows there as one.
 */
export async function traced<T>(trace: RequestTrace, answer: () => Promise<T>): Promise<T> {
  if (!isTraced()) return answer();
  let answered: { readonly value: T } | null = null as { readonly value: T } | null;
  const answerOrThrow = async (): Promise<void> => {
    answered = { value: await answer() };
    if (trace.request.error !== null) throw trace.request.error;
  };
  try {
    await channel.tracePromise(answerOrThrow, trace);
  } catch (error) {
    if (answered === null) throw error;
  }
  if (answered === null) throw new SnapferryError('INTERNAL', 'a traced request ended without an end');
  return answered.value;
}

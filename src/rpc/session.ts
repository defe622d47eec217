import { SnapferryError } from '../errors.ts';
import type { ByteStream } from '../transport/byte-stream.ts';
import type { Ending } from './answering.ts';
import type { Connection } from './connection.ts';
import type { HelloOptions } from './hello.ts';
import type { Logger, RPCHandler } from './interfaces.ts';
import { tellable } from './messages.ts';
import { openConnection, released, type ByteStreamRPCOptions } from './opening.ts';
import type { RequestInProgress, RequestWatch } from './request-in-progress.ts';
import { Responder } from './responder.ts';

/** How a session ended. */
export type SessionEnd = Ending | { readonly kind: 'failed'; readonly error: SnapferryError };

/** A request a session is busy with. */
export type CurrentRequest = Pick<RequestInProgress, 'name' | 'short' | 'since' | 'sentBytes' | 'receivedBytes'>;

/** One connection of a server. */
export interface Session {
  /** Counts up from 1; never used again by the same server. */
  readonly id: number;
  /** Who is at the other end; empty when unknown. */
  readonly identity: string;
  /** Where the peer is, as its transport says. */
  readonly remoteAddress: string;
  /** What it connected to. */
  readonly localAddress: string;
  /** When it connected. */
  readonly since: Date;
  /** 1 until the hello has said otherwise. */
  readonly protocolVersion: 1 | 2;
  /** What is being answered now; null between requests. Its byte counts go on. */
  readonly current: CurrentRequest | null;
  /** Bytes of the whole session, framing included. */
  readonly sentBytes: number;
  /** Bytes of the whole session, framing included. */
  readonly receivedBytes: number;
  /** The program's own, given to every handler as `context.attached`. */
  attached: unknown;
  /** Where what happens in this session is logged from now on. */
  logger: Logger;
  /** Resolves when the session is over and released. Never rejects. */
  readonly closed: Promise<SessionEnd>;
  /** Cancels the request being answered; the session goes on. False if there is none. */
  cancel(reason?: string): boolean;
  /**
   * Ends the session: the request in progress may finish within `graceMs` and is cancelled then, the next is answered with
   * `GOODBYE`. Called again, it can only get shorter. Resolves as {@link closed}.
   */
  disconnect(graceMs: number): Promise<SessionEnd>;
  /**
   * Takes the connection out of the server: the stream, with what was already received. The peer is not told.
   * @throws SnapferryError `BUSY` while a request is under way, or what killed the connection
   */
  detach(): ByteStream;
}

/** What is known of a session before it begins. */
export interface SessionOrigin {
  readonly id: number;
  readonly identity: string;
  readonly remoteAddress: string;
  readonly localAddress: string;
}

/** What a {@link ServerSession} needs to serve. */
export interface SessionService {
  readonly hello: HelloOptions;
  readonly handler: (session: Session) => RPCHandler;
  readonly watch: RequestWatch;
  readonly refusal?: SnapferryError | undefined;
  readonly goodbyeMs?: number | undefined;
}

/** A session as its server runs it. */
export class ServerSession implements Session {
  readonly id: number;
  readonly identity: string;
  readonly remoteAddress: string;
  readonly localAddress: string;
  readonly since = new Date();
  readonly closed: Promise<SessionEnd>;
  attached: unknown;
  readonly #connection: Connection;
  #responder: Responder | null = null;
  #settle: (end: SessionEnd) => void = () => undefined;

  constructor(stream: ByteStream, origin: SessionOrigin, options: ByteStreamRPCOptions) {
    this.id = origin.id;
    this.identity = origin.identity;
    this.remoteAddress = origin.remoteAddress;
    this.localAddress = origin.localAddress;
    this.#connection = openConnection(stream, options);
    this.closed = new Promise((resolve) => (this.#settle = resolve));
  }

  get protocolVersion(): 1 | 2 {
    return this.#connection.version;
  }

  get current(): CurrentRequest | null {
    return this.#responder?.current ?? null;
  }

  get sentBytes(): number {
    return this.#connection.sentBytes;
  }

  get receivedBytes(): number {
    return this.#connection.receivedBytes;
  }

  get logger(): Logger {
    return this.#connection.logger;
  }

  set logger(logger: Logger) {
    this.#connection.logger = logger;
  }

  /** Serves until it is over, and says how. Call it once, before anything else. */
  async run(service: SessionService): Promise<SessionEnd> {
    let end: SessionEnd;
    try {
      this.#responder = new Responder(this.#connection, this.#responderOptions(service));
      end = await this.#responder.serve();
    } catch (cause) {
      end = { kind: 'failed', error: await released(this.#connection, cause) };
    }
    this.#settle(end);
    return end;
  }

  cancel(reason = 'the request was cancelled on the side that was asked'): boolean {
    return this.#responder?.cancel(new SnapferryError('CANCELLED', reason)) ?? false;
  }

  disconnect(graceMs: number): Promise<SessionEnd> {
    this.#responder?.leave(graceMs);
    return this.closed;
  }

  detach(): ByteStream {
    if (this.#responder === null) throw new SnapferryError('BUSY', 'the session has not begun');
    return this.#responder.detach();
  }

  /** Ends it now, without a word. */
  drop(error: SnapferryError): void {
    this.#connection.fail(error);
  }

  #responderOptions({ handler, refusal, ...service }: SessionService): ConstructorParameters<typeof Responder>[1] {
    const options = { ...service, clientIdentity: this.identity, attached: () => this.attached };
    if (refusal !== undefined) return { ...options, handler: nobody, refusal };
    try {
      return { ...options, handler: handler(this) };
    } catch (cause) {
      return { ...options, handler: nobody, refusal: tellable(cause, 'INTERNAL', 'opening the session') };
    }
  }
}

/** Asked by nobody: who is refused has not been let in. */
const nobody: RPCHandler = {
  filesystems: refuse,
  filesystemVersions: refuse,
  initialTransfer: refuse,
  incrementalTransfer: refuse,
};

function refuse(): Promise<never> {
  return Promise.reject(new SnapferryError('ACCESS_DENIED', 'this session was refused'));
}

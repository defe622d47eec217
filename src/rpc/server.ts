import type { Logger as PinoLogger } from 'pino';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import type { ByteStream } from '../transport/byte-stream.ts';
import type { Listener, OnConnection, Peer } from '../transport/listener.ts';
import { helloFor, silent, type ByteStreamRPCOptions } from './opening.ts';
import type { HelloOptions } from './hello.ts';
import type { Logger, RPCHandler } from './interfaces.ts';
import type { RequestResult, RequestWatch } from './request-in-progress.ts';
import { escapeText } from './request-log.ts';
import { ServerSession, type CurrentRequest, type Session, type SessionEnd } from './session.ts';

/** News of a server, for metrics. A hook that throws is logged and disturbs nothing. */
export interface ServerHooks {
  readonly onSession?: (session: Session) => void;
  readonly onSessionEnd?: (session: Session, end: SessionEnd) => void;
  /** A connection was not served, because of a limit, a handler that could not be had, or the server's end. */
  readonly onRefused?: (peer: Peer, error: SnapferryError) => void;
  readonly onRequest?: (session: Session, request: CurrentRequest) => void;
  /** Its `code` is null where it was answered without an error. */
  readonly onRequestEnd?: (session: Session, request: CurrentRequest, result: RequestResult) => void;
}

/** What a server needs. Its timeouts are `limits.requestWaitMsMax`, `.requestReadMsMax` and `.writeMsMax`. */
export interface ReplicationServerOptions extends ByteStreamRPCOptions {
  /** Answers; or makes who answers one session. What it throws then is told to the peer's hello. */
  readonly handler: RPCHandler | ((session: Session) => RPCHandler);
  /** Who a peer is. Default: what its transport vouches for, or nobody. */
  readonly identify?: (peer: Peer) => string;
  /** Makes what handlers find as `context.attached`; it can also be set later. */
  readonly attach?: (session: Session) => unknown;
  /** The log of a session. Default: a child of `logger` that names session, identity and address. */
  readonly sessionLogger?: (session: Session) => Logger;
  /** Sessions at a time; more are refused with `BUSY`. Default 100. */
  readonly sessionsMax?: number;
  /** Sessions of one identity at a time; unknown peers count as one. Default 20. */
  readonly sessionsPerIdentityMax?: number;
  /** How long a session that ends waits for a request to which it can answer `GOODBYE`, in ms. Default 1000. */
  readonly goodbyeMs?: number;
  readonly hooks?: ServerHooks;
}

/** Serves the replication RPC on many connections, from any listeners or handed in one by one. */
export class ReplicationServer implements AsyncDisposable {
  /** Resolves when {@link disconnect} was called, nothing listens any more and every session is over. Never rejects. */
  readonly closed: Promise<void>;
  readonly #options: ReplicationServerOptions;
  readonly #hello: HelloOptions;
  readonly #logger: Logger;
  readonly #sessionsMax: number;
  readonly #sessionsPerIdentityMax: number;
  readonly #sessions = new Map<number, ServerSession>();
  readonly #refused = new Set<ServerSession>();
  readonly #listeners = new Set<Listener>();
  #lastId = 0;
  #isLeaving = false;
  #listening = 0;
  #settle: () => void = () => undefined;

  /** @throws RangeError for options that cannot be meant */
  constructor(options: ReplicationServerOptions) {
    this.#options = options;
    this.#hello = helloFor(options);
    this.#logger = options.logger ?? silent;
    this.#sessionsMax = positive(options.sessionsMax ?? 100, 'sessionsMax');
    this.#sessionsPerIdentityMax = positive(options.sessionsPerIdentityMax ?? 20, 'sessionsPerIdentityMax');
    this.closed = new Promise((resolve) => (this.#settle = resolve));
  }

  /** The sessions that are being served, in the order in which they began. */
  sessions(): readonly Session[] {
    return [...this.#sessions.values()];
  }

  /**
   * Starts a listener whose connections are served here, and which is closed when the server is:
   * `server.listen((onConnection) => listenUnix(path, onConnection))`.
   * @throws SnapferryError `GOODBYE` for a server that is leaving, or what the listener fails with
   */
  async listen<L extends Listener>(start: (onConnection: OnConnection) => Promise<L>): Promise<L> {
    if (this.#isLeaving) throw leaving();
    let listener: L | null = null as L | null;
    this.#listening++;
    try {
      listener = await start((stream, peer) => this.serve(stream, peer, listener?.description));
    } finally {
      this.#listening--;
      this.#settleIfOver();
    }
    this.#listeners.add(listener);
    const gone = (): void => void this.#listeners.delete(listener);
    listener.closed.then(gone, gone);
    // A method, because it may have been told to leave meanwhile.
    if (this.#hasLeft()) await listener.close();
    return listener;
  }

  /**
   * Serves one connection, and owns its stream. Resolves when it is over: what broke it is logged, and given to
   * `hooks.onSessionEnd`. Rejects only with what `identify` or `sessionLogger` throw; the stream is aborted then.
   * @param localAddress what the peer connected to. Default: the stream's description
   */
  async serve(stream: ByteStream, peer: Peer, localAddress = stream.description): Promise<void> {
    const session = this.#open(stream, peer, localAddress);
    const refusal = this.#refusalOf(session.identity);
    if (refusal === null) await this.#run(session, peer);
    else await this.#refuse(session, peer, refusal);
    this.#settleIfOver();
  }

  /**
   * Ends the server: nothing is accepted any more; each session finishes its request within `graceMs`, or has it cancelled
   * then, and answers the next with `GOODBYE`. Called again, it can only get shorter. Resolves as {@link closed}.
   */
  async disconnect(graceMs: number): Promise<void> {
    this.#isLeaving = true;
    for (const session of [...this.#sessions.values(), ...this.#refused]) void session.disconnect(graceMs);
    await Promise.all([...this.#listeners].map((listener) => listener.close()));
    this.#settleIfOver();
    return this.closed;
  }

  /** Ends the server at once: requests in progress are cancelled. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.disconnect(0);
  }

  #open(stream: ByteStream, peer: Peer, localAddress: string): ServerSession {
    try {
      const identity = this.#options.identify?.(peer) ?? peer.identity ?? '';
      const origin = { id: ++this.#lastId, identity, remoteAddress: peer.address, localAddress };
      const session = new ServerSession(stream, origin, this.#options);
      session.logger = this.#loggerOf(session);
      return session;
    } catch (cause) {
      const error = toSnapferryError(cause);
      stream.abort(error);
      throw error;
    }
  }

  async #run(session: ServerSession, peer: Peer): Promise<void> {
    const { attach, handler, goodbyeMs } = this.#options;
    const handlerOf = (opened: Session): RPCHandler => {
      opened.attached = attach?.(opened);
      return typeof handler === 'function' ? handler(opened) : handler;
    };
    this.#sessions.set(session.id, session);
    const over = session.run({ hello: this.#hello, handler: handlerOf, watch: this.#watch(session), goodbyeMs });
    this.#hook('onSession', (hooks) => hooks.onSession?.(session));
    session.logger.info({ local: session.localAddress }, 'connected');
    const end = await over;
    this.#sessions.delete(session.id);
    if (end.kind === 'refused') this.#hook('onRefused', (hooks) => hooks.onRefused?.(peer, end.error));
    logEnd(session.logger, end);
    this.#hook('onSessionEnd', (hooks) => hooks.onSessionEnd?.(session, end));
  }

  async #refuse(session: ServerSession, peer: Peer, refusal: SnapferryError): Promise<void> {
    session.logger.warn({ code: refusal.code }, `refused: ${refusal.message}`);
    this.#hook('onRefused', (hooks) => hooks.onRefused?.(peer, refusal));
    this.#refused.add(session);
    // To say no takes a connection, too, until the peer has said hello: beyond this many there is not even an answer.
    if (this.#refused.size > this.#sessionsMax) session.drop(refusal);
    await session.run({ hello: this.#hello, handler: refusing, watch: {}, refusal });
    this.#refused.delete(session);
  }

  #refusalOf(identity: string): SnapferryError | null {
    if (this.#isLeaving) return leaving();
    const busy = (whose: string, count: number): SnapferryError =>
      new SnapferryError('BUSY', `${count} sessions ${whose} are open, and no more are allowed; try again later`);
    if (this.#sessions.size >= this.#sessionsMax) return busy('on this server', this.#sessions.size);
    const own = this.sessions().filter((session) => session.identity === identity).length;
    if (own < this.#sessionsPerIdentityMax) return null;
    return busy(identity === '' ? 'without an identity' : `of ${identity}`, own);
  }

  #watch(session: Session): RequestWatch {
    return {
      onBegun: (request) => this.#hook('onRequest', (hooks) => hooks.onRequest?.(session, request)),
      onEnded: (request, result) =>
        this.#hook('onRequestEnd', (hooks) => hooks.onRequestEnd?.(session, request, result)),
    };
  }

  #hook(name: keyof ServerHooks, call: (hooks: ServerHooks) => void): void {
    if (this.#options.hooks === undefined) return;
    try {
      call(this.#options.hooks);
    } catch (error) {
      this.#logger.error({ err: error, hook: name }, 'a hook of the server failed');
    }
  }

  #loggerOf(session: Session): Logger {
    const { sessionLogger } = this.#options;
    if (sessionLogger !== undefined) return sessionLogger(session);
    const { id, identity, remoteAddress } = session;
    const logger = this.#logger as Logger & Partial<Pick<PinoLogger, 'child'>>;
    return logger.child?.({ session: id, identity, remote: remoteAddress }) ?? this.#logger;
  }

  #hasLeft(): boolean {
    return this.#isLeaving;
  }

  #settleIfOver(): void {
    const isOver = this.#listening === 0 && this.#sessions.size === 0 && this.#refused.size === 0;
    if (this.#isLeaving && isOver) this.#settle();
  }
}

function leaving(): SnapferryError {
  return new SnapferryError('GOODBYE', 'this server is shutting down; try again in a moment');
}

function refusing(): never {
  throw leaving();
}

function positive(value: number, name: string): number {
  if (!Number.isSafeInteger(value) || value < 1) throw new RangeError(`${name} must be a positive integer`);
  return value;
}

function logEnd(logger: Logger, end: SessionEnd): void {
  if (end.kind === 'failed') {
    const error = toSnapferryError(end.error);
    logger.warn({ err: error, code: error.code }, `disconnected: ${escapeText(error.message)}`);
  } else if (end.kind === 'closed') {
    logger.info({ goodbye: escapeText(end.goodbye) }, 'disconnected: closed by the peer');
  } else {
    logger.info(`disconnected: ${endings[end.kind]}`);
  }
}

const endings = {
  vanished: 'the peer ended the connection without closing it',
  left: 'told to leave',
  refused: 'refused',
  detached: 'handed over',
} as const;

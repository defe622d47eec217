import type { Server, Socket } from 'node:net';
import type { BaseLogger, Logger } from 'pino';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import type { ByteStream } from './byte-stream.ts';

/** Who is at the other end of an accepted connection, as far as the transport knows. */
export interface Peer {
  /** The identity the transport vouches for (a certificate, an allow-list), or undefined if it vouches for nobody. */
  readonly identity: string | undefined;
  /** Where it comes from, for logs: an address and port, or the path of the socket. */
  readonly address: string;
}

/**
 * Takes an accepted connection. It owns the stream; if it throws or rejects, the listener aborts the stream and logs
 * the error, and goes on accepting.
 */
export type OnConnection = (stream: ByteStream, peer: Peer) => void | Promise<void>;

/** Something that accepts connections until it is closed. */
export interface Listener extends AsyncDisposable {
  /** What it listens on, for messages: `unix /run/x.sock`, `tcp 127.0.0.1:8888`. */
  readonly description: string;
  /** Stops accepting. Connections already handed out are their owners' and live on. Idempotent. */
  close(): Promise<void>;
  /** Resolves when it accepts no more; rejects if the listening socket broke. */
  readonly closed: Promise<void>;
}

/** How a {@link serverListener} turns an accepted socket into a connection. */
export interface ServerListenerOptions {
  readonly description: string;
  /** Where what happens to single connections is logged. */
  readonly logger: Logger | undefined;
  /** The event with which the server hands over a socket. Default `connection`. */
  readonly event?: string;
  /** Makes the stream of an accepted socket. What it throws is told to the peer (`ACCESS_DENIED`) and logged. */
  readonly accept: (socket: Socket) => { stream: ByteStream; peer: Peer };
  readonly onConnection: OnConnection;
}

/**
 * A {@link Listener} over a server that is listening. It handles the server's events from here on; the caller has
 * made the server with `allowHalfOpen`, without a connection listener.
 */
export function serverListener(server: Server, options: ServerListenerOptions): Listener {
  const { description, logger } = options;
  const { closed, settle } = closingOf(server, description, logger);
  server.on(options.event ?? 'connection', (socket: Socket) => {
    // From here until the stream is made, an error of the socket has no other listener.
    socket.on('error', (cause) => logger?.debug({ err: cause }, `${description}: a connection broke`));
    void serveSocket(socket, options);
  });

  const close = (): Promise<void> => {
    // Node's own 'close' waits for the connections too, which are not ours to wait for; accepting ends here.
    if (server.listening) server.close();
    settle();
    return Promise.resolve();
  };
  return { description, close, closed, [Symbol.asyncDispose]: close };
}

/** Notices when a server that is listening stops: `closed` rejects then with `CONNECTION_LOST`; `settle` says that it was meant. */
export function closingOf(
  server: Server,
  description: string,
  logger: BaseLogger | undefined,
): { readonly closed: Promise<void>; readonly settle: () => void } {
  let end: { settle: () => void; reject: (error: SnapferryError) => void } | undefined;
  const closed = new Promise<void>((settle, reject) => (end = { settle, reject }));
  // Whoever wants to know looks at `closed`; nobody has to.
  closed.catch(() => undefined);
  server.on('error', (cause) => {
    // Out of file descriptors is no reason to stop: Node goes on accepting when there are some again.
    logger?.error({ err: cause }, `${description}: the listening socket reported an error`);
    if (server.listening) return;
    const message = `${description} stopped listening: ${cause.message}`;
    end?.reject(new SnapferryError('CONNECTION_LOST', message, { cause }));
  });
  return { closed, settle: () => end?.settle() };
}

async function serveSocket(socket: Socket, options: ServerListenerOptions): Promise<void> {
  let stream: ByteStream | undefined;
  try {
    const accepted = options.accept(socket);
    stream = accepted.stream;
    await options.onConnection(stream, accepted.peer);
  } catch (error) {
    const failure = toSnapferryError(error, 'INTERNAL', `${options.description}: a connection could not be served`);
    options.logger?.warn({ err: failure }, failure.message);
    if (stream !== undefined) stream.abort(failure);
    else if (failure.code === 'ACCESS_DENIED') refuse(socket, failure.message);
    else socket.destroy();
  }
}

const refusalMs = 2000;

/**
 * Tells a peer in plain text why it is not served, and drops it. A client of this protocol takes text for the answer of
 * something that does not speak it, and quotes it.
 */
function refuse(socket: Socket, message: string): void {
  const timer = setTimeout(() => socket.destroy(), refusalMs);
  socket.once('close', () => clearTimeout(timer));
  // Bytes that are left unread would turn the close into a reset, which takes the text with it.
  socket.resume();
  socket.end(`${message}\n`);
}

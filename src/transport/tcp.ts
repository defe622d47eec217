import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import type { Logger } from 'pino';
import { SnapferryError } from '../errors.ts';
import { AddressIdentities } from './address-identities.ts';
import type { ByteStream } from './byte-stream.ts';
import { connectSocket } from './connect-socket.ts';
import type { ConnectOptions } from './connect-socket.ts';
import type { IncomingBytes } from './incoming-bytes.ts';
import { serverListener } from './listener.ts';
import type { Listener, OnConnection } from './listener.ts';
import { nodeByteStream } from './node-streams.ts';
import { ReadRing } from './read-ring.ts';

/** Where to listen: an address and port (0: any free one), or a listening socket inherited from a service manager. */
export type ListenAddress = { readonly host: string; readonly port: number } | { readonly fd: number };

/** A {@link Listener} on a network address. */
export interface NetworkListener extends Listener {
  /** The port it listens on. */
  readonly port: number;
}

/** What may be chosen about a {@link connectTCP}. */
export interface ConnectTCPOptions extends ConnectOptions {
  readonly host: string;
  readonly port: number;
}

/** How long a silent connection stays before the kernel asks whether the peer is there, in milliseconds. */
const keepAliveMs = 30_000;

/**
 * Connects by plain TCP: nothing is encrypted, and the server knows this side by its address alone.
 * @throws SnapferryError `CONNECT_FAILED`, `TIMEOUT`, `CANCELLED`
 */
export async function connectTCP(options: ConnectTCPOptions): Promise<ByteStream> {
  const description = `tcp ${hostAndPort(options.host, options.port)}`;
  const { host, port, timeoutMs, signal } = options;
  const ring = new ReadRing();
  const socket = await connectSocket(
    { host, port, onread: ring.onread },
    {
      description,
      ...(timeoutMs !== undefined && { timeoutMs }),
      ...(signal !== undefined && { signal }),
      hints: connectHints,
    },
  );
  tune(socket);
  ring.feedFrom(socket);
  return tcpStream(socket, description, ring.incoming);
}

/** What a plain TCP listener takes. */
export interface ListenTCPOptions {
  /** Who may connect from where: see {@link AddressIdentities}. All others are refused. */
  readonly identities: Readonly<Record<string, string>>;
  /** Where refused and failed connections are logged. */
  readonly logger?: Logger;
}

/**
 * Listens for plain TCP connections. A peer is taken for who its address says; use it only where addresses can be
 * trusted.
 * @throws SnapferryError `BUSY` if the port is taken, `INVALID_REQUEST` for impossible identities, `CONNECT_FAILED`
 */
export async function listenTCP(
  address: ListenAddress,
  onConnection: OnConnection,
  options: ListenTCPOptions,
): Promise<NetworkListener> {
  const identities = new AddressIdentities(options.identities);
  const server = createServer({ allowHalfOpen: true });
  const { description, port } = await listenNetwork(server, address, 'tcp');
  const listener = serverListener(server, {
    description,
    logger: options.logger,
    onConnection,
    accept: (socket) => {
      const from = socket.remoteAddress ?? '';
      const identity = identities.of(from);
      if (identity === undefined) throw new SnapferryError('ACCESS_DENIED', `this server does not know ${from}`);
      tune(socket);
      const peerAddress = hostAndPort(from, socket.remotePort ?? 0);
      return { stream: tcpStream(socket, `tcp ${peerAddress}`), peer: { identity, address: peerAddress } };
    },
  });
  return { ...listener, port };
}

/** What a reader can do about an address that cannot be connected to, by the error's system code. */
export const connectHints: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nobody listens there; is the server running?',
  ENOTFOUND: 'there is no host of that name',
  EAI_AGAIN: 'the name could not be looked up; is the network up?',
};

/** Lets `server` listen; resolves when it does. */
export async function listenNetwork(
  server: Server,
  address: ListenAddress,
  kind: string,
): Promise<{ description: string; port: number }> {
  const asked = 'fd' in address ? `inherited socket ${address.fd}` : hostAndPort(address.host, address.port);
  server.listen('fd' in address ? { fd: address.fd } : { host: address.host, port: address.port });
  try {
    await once(server, 'listening');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw code === 'EADDRINUSE'
      ? new SnapferryError('BUSY', `cannot listen on ${asked}: another process does; stop it, or choose another port`)
      : new SnapferryError('CONNECT_FAILED', `cannot listen on ${asked}: ${message}`, { cause: error });
  }
  const bound = server.address();
  if (bound === null || typeof bound === 'string') {
    server.close();
    throw new SnapferryError('INVALID_REQUEST', `${asked} is not a network socket`);
  }
  return { description: `${kind} ${hostAndPort((bound satisfies AddressInfo).address, bound.port)}`, port: bound.port };
}

/** Messages go out at once, and a peer that vanished without a word is noticed some time. */
export function tune(socket: Socket): void {
  socket.setNoDelay(true);
  socket.setKeepAlive(true, keepAliveMs);
}

/** `192.0.2.7:8888`, `[fd00::1]:8888`; an IPv4 address in its IPv6 form is written as what it is. */
export function hostAndPort(host: string, port: number): string {
  const plain = host.startsWith('::ffff:') && host.includes('.') ? host.slice('::ffff:'.length) : host;
  return plain.includes(':') ? `[${plain}]:${port}` : `${plain}:${port}`;
}

function tcpStream(socket: Socket, description: string, incoming?: IncomingBytes): ByteStream {
  return nodeByteStream({
    ...(incoming !== undefined && { incoming }),
    readable: socket,
    writable: socket,
    description,
    onAbort: () => socket.resetAndDestroy(),
  });
}

import { isIP } from 'node:net';
import type { OnReadOpts, Socket } from 'node:net';
import { checkServerIdentity, connect, createSecureContext, createServer, TLSSocket } from 'node:tls';
import type { ConnectionOptions, PeerCertificate, SecureContextOptions } from 'node:tls';
import type { Logger } from 'pino';
import { SnapferryError } from '../errors.ts';
import type { ByteStream } from './byte-stream.ts';
import { connectCancelled, socketReady } from './connect-socket.ts';
import type { IncomingBytes } from './incoming-bytes.ts';
import { serverListener } from './listener.ts';
import type { OnConnection } from './listener.ts';
import { nodeByteStream } from './node-streams.ts';
import { ReadRing } from './read-ring.ts';
import { connectHints, hostAndPort, listenNetwork, tune } from './tcp.ts';
import type { ConnectTCPOptions, ListenAddress, NetworkListener } from './tcp.ts';

/** What each side needs to prove who it is, and to check the other. All in PEM. */
export interface TLSCredentials {
  /** The certificate authorities whose certificates the peer may have. The system's are not used. */
  readonly ca: string | Uint8Array;
  /** This side's certificate, with the chain up to the authority if there is one. */
  readonly cert: string | Uint8Array;
  /** This side's private key. */
  readonly key: string | Uint8Array;
}

/** The most that TLS 1.3 puts into one record (RFC 8446, section 5.1). */
const recordBytesMax = 16 * 1024;

/** What may be chosen about a {@link connectTLS}. */
export interface ConnectTLSOptions extends ConnectTCPOptions, TLSCredentials {
  /** The name the server's certificate must have. Default: `host`. */
  readonly serverName?: string;
}

/**
 * Connects by TLS 1.3. The server's certificate must be good and carry the server's name. Whether the server accepts
 * ours shows at the first read. An abort looks like an orderly end to the peer: Node can neither reset the connection
 * beneath TLS nor tell an end without TLS's own farewell from one with it. The protocol notices by what is missing.
 * @throws SnapferryError `CONNECT_FAILED`, `TIMEOUT`, `CANCELLED`; `INVALID_REQUEST` for credentials that cannot be read
 */
export async function connectTLS(options: ConnectTLSOptions): Promise<ByteStream> {
  const { host, port, serverName = host, timeoutMs, signal } = options;
  const description = `tls ${hostAndPort(host, port)}`;
  if (signal?.aborted === true) throw connectCancelled(description, signal);
  const ring = new ReadRing({ gatheredBytesMax: recordBytesMax });
  // Node takes these two when it opens the socket itself, which its types do not know.
  const opening: ConnectionOptions & { readonly allowHalfOpen: boolean; readonly onread: OnReadOpts } = {
    ...readableCredentials(options, description),
    host,
    port,
    allowHalfOpen: true,
    servername: isIP(serverName) === 0 ? serverName : '',
    checkServerIdentity: (_host, certificate) => checkServerIdentity(serverName, certificate),
    onread: ring.onread,
  };
  const socket = connect(opening);
  ring.feedFrom(socket);
  await socketReady(socket, 'secureConnect', {
    description,
    ...(timeoutMs !== undefined && { timeoutMs }),
    ...(signal !== undefined && { signal }),
    hints: { ...serverCertificateHints(serverName), ...connectHints },
  });
  tune(socket);
  return tlsStream(socket, description, {
    incoming: ring.incoming,
    explain(error, receivedBytes) {
      if (receivedBytes > 0 || error === undefined) return error;
      const message = `${description} closed the connection without a word; it may not accept this side's certificate (${error.message})`;
      return new SnapferryError('CONNECT_FAILED', message, { cause: error });
    },
  });
}

/** What may be chosen about a {@link listenTLS}. */
export interface ListenTLSOptions extends TLSCredentials {
  /** The identities that may connect. Default: every one the authority vouches for. */
  readonly clients?: readonly string[];
  /** How long a handshake may take, in milliseconds. Default 10000. */
  readonly handshakeTimeoutMs?: number;
  /** Where refused and failed connections are logged. */
  readonly logger?: Logger;
}

/**
 * Listens for TLS 1.3 connections. A client must have a certificate of the authority; its identity is the
 * certificate's common name, or its first DNS name if it has no common name. A client that is refused is told why.
 * @throws SnapferryError `BUSY` if the port is taken, `INVALID_REQUEST` for credentials that cannot be read,
 *   `CONNECT_FAILED`
 */
export async function listenTLS(
  address: ListenAddress,
  onConnection: OnConnection,
  options: ListenTLSOptions,
): Promise<NetworkListener> {
  const server = createServer({
    ...readableCredentials(options, 'the TLS listener'),
    allowHalfOpen: true,
    requestCert: true,
    // Refused below instead, in words: Node would only close the connection.
    rejectUnauthorized: false,
    handshakeTimeout: options.handshakeTimeoutMs ?? 10_000,
  });
  const { description, port } = await listenNetwork(server, address, 'tls');
  server.on('connection', tune);
  server.on('tlsClientError', (cause, socket) => {
    options.logger?.warn(
      { err: cause },
      `${description}: handshake with ${peerAddress(socket)} failed: ${cause.message}`,
    );
  });
  const listener = serverListener(server, {
    description,
    event: 'secureConnection',
    logger: options.logger,
    onConnection,
    accept: (socket) => {
      const peer = peerAddress(socket);
      const identity = clientIdentity(secured(socket), peer, options.clients);
      return { stream: tlsStream(socket, `tls ${peer} (${identity})`), peer: { identity, address: peer } };
    },
  });
  return { ...listener, port };
}

/** The name a certificate gives its owner, or undefined if it gives none, or more than one. */
export function certificateIdentity(
  certificate: Pick<PeerCertificate, 'subject' | 'subjectaltname'>,
): string | undefined {
  // With several common names Node gives an array, whatever its types say; which of them would be the client?
  const name: unknown = (certificate.subject as { CN?: unknown } | undefined)?.CN;
  if (name !== undefined) return typeof name === 'string' && name !== '' ? name : undefined;
  return /^DNS:([^",]+)(?:, |$)/.exec(certificate.subjectaltname ?? '')?.[1];
}

function clientIdentity(socket: TLSSocket, peer: string, clients: readonly string[] | undefined): string {
  const refuse = (why: string): never => {
    throw new SnapferryError('ACCESS_DENIED', `this server does not accept the certificate of ${peer}: ${why}`);
  };
  const certificate = socket.getPeerCertificate() as PeerCertificate | Record<string, never>;
  if (!('subject' in certificate)) return refuse('none was presented');
  // Node has the reason as a code, whatever its types say.
  if (!socket.authorized) return refuse(certificateProblem(String(socket.authorizationError)));
  const identity = certificateIdentity(certificate as PeerCertificate);
  if (identity === undefined) return refuse('it has no common name, no DNS name, or several common names');
  if (clients !== undefined && !clients.includes(identity)) return refuse(`${identity} is not among the clients`);
  return identity;
}

function certificateProblem(code: string): string {
  return problems[code] ?? code;
}

const problems: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'it has expired; renew it',
  CERT_NOT_YET_VALID: 'it is not valid yet; check the clocks of both machines',
  SELF_SIGNED_CERT_IN_CHAIN: 'it is of another authority',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'it is self-signed, not of the authority configured',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'it is of another authority, or the chain up to the authority is incomplete',
  UNABLE_TO_GET_ISSUER_CERT: 'it is of another authority, or the chain up to the authority is incomplete',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'it is of another authority, or the chain up to the authority is incomplete',
  CERT_SIGNATURE_FAILURE: 'its signature is not that of the authority',
  INVALID_PURPOSE: 'it was not issued for this purpose (extended key usage)',
};

function serverCertificateHints(serverName: string): Record<string, string> {
  const hints = Object.entries(problems).map(([code, why]) => [
    code,
    `the server's certificate was not accepted: ${why}`,
  ]);
  return {
    ...(Object.fromEntries(hints) as Record<string, string>),
    ERR_TLS_CERT_ALTNAME_INVALID: `the server's certificate is not for ${serverName}; connect by a name it has, or set the server name`,
    ECONNRESET: 'the server ended the handshake; does it speak TLS 1.3?',
  };
}

function readableCredentials(credentials: TLSCredentials, description: string): SecureContextOptions {
  const { ca, cert, key } = credentials;
  const pem = (value: string | Uint8Array): string | Buffer => (typeof value === 'string' ? value : Buffer.from(value));
  const context = {
    ca: pem(ca),
    cert: pem(cert),
    key: pem(key),
    minVersion: 'TLSv1.3',
    maxVersion: 'TLSv1.3',
  } as const;
  try {
    createSecureContext(context);
  } catch (error) {
    const message = `the certificate, key or authority for ${description} cannot be used: ${String(error)}`;
    throw new SnapferryError('INVALID_REQUEST', message, { cause: error });
  }
  return context;
}

function peerAddress(socket: Socket): string {
  return hostAndPort(socket.remoteAddress ?? 'unknown', socket.remotePort ?? 0);
}

function secured(socket: Socket): TLSSocket {
  if (socket instanceof TLSSocket) return socket;
  throw new SnapferryError('INTERNAL', 'a TLS server handed over a socket that is not secured');
}

function tlsStream(
  socket: Socket,
  description: string,
  client?: {
    readonly incoming: IncomingBytes;
    readonly explain: (error: SnapferryError | undefined, receivedBytes: number) => SnapferryError | undefined;
  },
): ByteStream {
  return nodeByteStream({
    readable: socket,
    writable: socket,
    description,
    ...(client !== undefined && {
      incoming: client.incoming,
      verdict: (error: SnapferryError | undefined, receivedBytes: number) =>
        Promise.resolve(client.explain(error, receivedBytes)),
    }),
  });
}

import { readFile } from 'node:fs/promises';
import type { ConnectSettings, TLSFiles } from '../config/connection-settings.ts';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import { ByteStreamRPC } from '../rpc/byte-stream-rpc.ts';
import type { Logger, RPCRequester } from '../rpc/interfaces.ts';
import type { ByteStream } from '../transport/byte-stream.ts';
import { connectCommand } from '../transport/command.ts';
import { connectSSH } from '../transport/ssh.ts';
import { connectTCP } from '../transport/tcp.ts';
import { connectTLS } from '../transport/tls.ts';
import type { TLSCredentials } from '../transport/tls.ts';
import { connectUnix } from '../transport/unix.ts';
import type { LocalListeners } from './local-listeners.ts';

/** How long a program, here or behind ssh, may take until it answers: it has to log in and to start, on a slow machine. */
const programHelloMsMax = 60_000;

/** What a connection needs besides its settings. */
export interface ConnectPeerOptions {
  readonly localListeners: LocalListeners;
  readonly logger: Logger;
  /** Ends the attempt; a connection that has come about is its owner's. */
  readonly signal: AbortSignal;
}

/**
 * Connects to the other side of a job. The caller closes the requester.
 * @throws SnapferryError `CONNECT_FAILED`, `TIMEOUT`, `CANCELLED`, `INVALID_REQUEST` for credentials that cannot be read, or what the
 *   other side refuses with
 */
export async function connectPeer(connect: ConnectSettings, options: ConnectPeerOptions): Promise<RPCRequester> {
  const { logger, signal } = options;
  const stream = await openStream(connect, options);
  const stop = (): void => {
    const reason: unknown = signal.reason;
    stream.abort(
      reason instanceof SnapferryError ? reason : new SnapferryError('CANCELLED', 'connecting was cancelled'),
    );
  };
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  try {
    const isProgram = connect.type === 'ssh+stdinserver' || connect.type === 'command';
    const helloMsMax = Math.max(connect.dialTimeoutMs, isProgram ? programHelloMsMax : 1);
    return await ByteStreamRPC.connect(stream, { logger, limits: { helloMsMax } });
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

function openStream(
  connect: ConnectSettings,
  { localListeners, signal, logger }: ConnectPeerOptions,
): Promise<ByteStream> {
  const timeoutMs = connect.dialTimeoutMs;
  switch (connect.type) {
    case 'tcp':
      return connectTCP({ ...connect.address, timeoutMs, signal });
    case 'tls':
      return connectByTLS(connect, signal);
    case 'ssh+stdinserver':
      return connectSSH({
        host: connect.host,
        ...(connect.user !== null && { user: connect.user }),
        ...(connect.port !== null && { port: connect.port }),
        ...(connect.identityFile !== null && { identityFile: connect.identityFile }),
        options: [...connect.options, `ConnectTimeout=${Math.max(1, Math.ceil(timeoutMs / 1000))}`],
        command: connect.remoteCommand,
        onStderrLine: (line) => logger.info({ host: connect.host, line }, 'ssh said'),
      });
    case 'local':
      return Promise.resolve().then(() => localListeners.connect(connect.listenerName, connect.clientIdentity));
    case 'unix':
      return connectUnix(connect.path, { timeoutMs, signal });
    case 'command':
      return connectCommand({
        argv: connect.argv,
        onStderrLine: (line) => logger.info({ program: connect.argv[0], line }, 'the program said'),
      });
  }
}

/** Certificates are read each time: they are renewed while the daemon runs. */
async function connectByTLS(
  connect: Extract<ConnectSettings, { type: 'tls' }>,
  signal: AbortSignal,
): Promise<ByteStream> {
  const credentials = await readCredentials(connect);
  const { address, serverCN, dialTimeoutMs } = connect;
  return connectTLS({ ...address, ...credentials, serverName: serverCN, timeoutMs: dialTimeoutMs, signal });
}

/**
 * What one side of a TLS connection needs, out of its files.
 * @throws SnapferryError `INVALID_REQUEST` naming a file that cannot be read
 */
export async function readCredentials({ ca, cert, key }: TLSFiles): Promise<TLSCredentials> {
  const read = async (path: string, what: string): Promise<Buffer> => {
    try {
      return await readFile(path);
    } catch (error) {
      throw toSnapferryError(error, 'INVALID_REQUEST', `the ${what} cannot be read`);
    }
  };
  const [caText, certText, keyText] = await Promise.all([
    read(ca, 'certificate authority'),
    read(cert, 'certificate'),
    read(key, 'private key'),
  ]);
  return { ca: caText, cert: certText, key: keyText };
}

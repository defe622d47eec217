import { mkdir } from 'node:fs/promises';
import type { Logger as PinoLogger } from 'pino';
import type { ListenSettings, ServeSettings } from '../config/connection-settings.ts';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import type { Logger } from '../rpc/interfaces.ts';
import type { InheritedSocket } from '../transport/inherited-sockets.ts';
import type { Listener, OnConnection } from '../transport/listener.ts';
import { listenTCP } from '../transport/tcp.ts';
import type { ListenAddress, NetworkListener } from '../transport/tcp.ts';
import { listenTLS } from '../transport/tls.ts';
import { listenUnix } from '../transport/unix.ts';
import { readCredentials } from './connect-peer.ts';
import type { LocalListeners } from './local-listeners.ts';
import { stdinserverSocket } from './stdinserver-socket.ts';

/** What listening needs besides the settings. */
export interface OpenListenersOptions {
  readonly localListeners: LocalListeners;
  readonly inheritedSockets: readonly InheritedSocket[];
  /** For the sockets of `stdinserver`; made if need be. */
  readonly stdinserverSockdir: string;
  /** Where refused and failed connections are logged. */
  readonly logger: Logger;
}

/**
 * Opens what a job is reached by. Every peer has an identity. The caller closes the listeners; if one cannot be opened, none is.
 * @throws SnapferryError `BUSY`, `ACCESS_DENIED`, `INVALID_REQUEST`, `CONNECT_FAILED`
 */
export async function openListeners(
  serve: ServeSettings,
  onConnection: OnConnection,
  options: OpenListenersOptions,
): Promise<Listener[]> {
  // The transports call its levels, and nothing else.
  const logger = options.logger as unknown as PinoLogger;
  switch (serve.type) {
    case 'tcp': {
      const identities = serve.clients;
      return [
        await onEvery(serve.listen, options, (address) => listenTCP(address, onConnection, { identities, logger })),
      ];
    }
    case 'tls': {
      const { clientCNs: clients, handshakeTimeoutMs, listen } = serve;
      const credentials = await readCredentials(serve);
      const tls = { ...credentials, clients, handshakeTimeoutMs, logger };
      return [await onEvery(listen, options, (address) => listenTLS(address, onConnection, tls))];
    }
    case 'stdinserver':
      return openStdinserver(serve.clientIdentities, onConnection, { sockdir: options.stdinserverSockdir, logger });
    case 'local':
      return [await options.localListeners.listen(serve.listenerName, onConnection)];
    case 'unix': {
      const place = serve.path ?? { fd: inherited(serve.socketName ?? '', options.inheritedSockets) };
      return [await listenUnix(place, as(serve.clientIdentity, onConnection), { logger })];
    }
  }
}

async function openStdinserver(
  identities: readonly string[],
  onConnection: OnConnection,
  { sockdir, logger }: { readonly sockdir: string; readonly logger: PinoLogger },
): Promise<Listener[]> {
  try {
    await mkdir(sockdir, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw toSnapferryError(error, 'CONNECT_FAILED', `the directory for the sockets of stdinserver cannot be made`);
  }
  const opened: Listener[] = [];
  try {
    for (const identity of identities) {
      opened.push(await listenUnix(stdinserverSocket(sockdir, identity), as(identity, onConnection), { logger }));
    }
    return opened;
  } catch (error) {
    await Promise.all(opened.map((listener) => listener.close()));
    throw error;
  }
}

/** Whoever may open the socket is taken for that identity. */
function as(identity: string, onConnection: OnConnection): OnConnection {
  return (stream, peer) => onConnection(stream, { ...peer, identity });
}

/** On the address that is meant. Every address: of both families where there are two. */
async function onEvery(
  listen: ListenSettings,
  { inheritedSockets }: OpenListenersOptions,
  start: (address: ListenAddress) => Promise<NetworkListener>,
): Promise<Listener> {
  if ('socketName' in listen) return start({ fd: inherited(listen.socketName, inheritedSockets) });
  const { host, port } = listen;
  if (host !== null) return start({ host, port });
  try {
    return await start({ host: '::', port });
  } catch (error) {
    const cause = error instanceof SnapferryError ? (error.cause as NodeJS.ErrnoException | undefined) : undefined;
    if (cause?.code !== 'EAFNOSUPPORT' && cause?.code !== 'EADDRNOTAVAIL') throw error;
    return start({ host: '0.0.0.0', port });
  }
}

function inherited(name: string, sockets: readonly InheritedSocket[]): number {
  const found = sockets.find((socket) => socket.name === name);
  if (found !== undefined) return found.fd;
  const known =
    sockets.length === 0 ? 'it opened none' : `it opened ${sockets.map((socket) => socket.name).join(', ')}`;
  const text = `systemd has opened no socket named ${JSON.stringify(name)} for this process (${known}); set FileDescriptorName= in the socket unit, and start the daemon by it`;
  throw new SnapferryError('INVALID_REQUEST', text);
}

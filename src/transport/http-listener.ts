import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { BaseLogger } from 'pino';
import { closingOf } from './listener.ts';
import { listenNetwork } from './tcp.ts';
import type { ListenAddress, NetworkListener } from './tcp.ts';

/** What is answered to one request. */
export interface HTTPAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

/** Path to what makes its answer. One that throws is answered with 500 and logged. */
export type HTTPRoutes = Readonly<Record<string, () => HTTPAnswer | Promise<HTTPAnswer>>>;

// Whoever reaches the port may ask, and must not be able to hold more than this.
const connectionsMax = 64;
const requestMsMax = 10_000;
const silenceMsMax = 30_000;
const headerBytesMax = 8192;

/**
 * Listens for HTTP and answers `GET` and `HEAD` of a few paths; nothing a client sends is read beyond that. There is no access
 * check and no encryption: listen on an address that only those reach who may read the answers. Closing it also ends the
 * connections there are.
 * @param address an empty host is every address of the machine
 * @throws SnapferryError `BUSY` if the port is taken, `CONNECT_FAILED`
 */
export async function listenHTTP(
  address: ListenAddress,
  routes: HTTPRoutes,
  logger: BaseLogger | undefined,
): Promise<NetworkListener> {
  const server = createServer(
    {
      headersTimeout: requestMsMax,
      requestTimeout: requestMsMax,
      connectionsCheckingInterval: requestMsMax / 2,
      maxHeaderSize: headerBytesMax,
    },
    (request, response) => void answer(request, response, routes, logger),
  );
  server.maxConnections = connectionsMax;
  server.setTimeout(silenceMsMax);
  const { description, port } = await listenNetwork(server, address, 'http');
  return { ...closable(server, description, logger), port };
}

function closable(server: Server, description: string, logger: BaseLogger | undefined): Omit<NetworkListener, 'port'> {
  const { closed, settle } = closingOf(server, description, logger);
  const close = async (): Promise<void> => {
    if (server.listening) {
      server.close(settle);
      server.closeAllConnections();
    }
    await closed.catch(() => undefined);
  };
  return { description, close, closed, [Symbol.asyncDispose]: close };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  routes: HTTPRoutes,
  logger: BaseLogger | undefined,
): Promise<void> {
  // A client that has gone away is its own affair.
  response.on('error', (err) => logger?.debug({ err }, 'an HTTP client went away'));
  const { status, contentType, body } = await answerOf(request, routes, logger);
  response.writeHead(status, {
    'content-type': contentType,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...(status === 405 && { allow: 'GET, HEAD' }),
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}

async function answerOf(
  request: IncomingMessage,
  routes: HTTPRoutes,
  logger: BaseLogger | undefined,
): Promise<HTTPAnswer> {
  const [path = ''] = (request.url ?? '').split('?', 1);
  const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
  if (route === undefined) return plainText(404, `not found; there is ${Object.keys(routes).join(' and ')}\n`);
  if (request.method !== 'GET' && request.method !== 'HEAD') return plainText(405, 'only GET and HEAD\n');
  try {
    return await route();
  } catch (error) {
    logger?.error({ err: error }, `the answer to HTTP ${path} could not be made`);
    return plainText(500, 'internal error\n');
  }
}

/** An answer of plain text. */
export function plainText(status: number, body: string): HTTPAnswer {
  return { status, contentType: 'text/plain; charset=utf-8', body };
}

import { chmod, lstat, stat, unlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { Server } from 'node:net';
import { dirname, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { Logger } from 'pino';
import { SnapferryError } from '../errors.ts';
import type { ByteStream } from './byte-stream.ts';
import { connectSocket } from './connect-socket.ts';
import type { ConnectOptions } from './connect-socket.ts';
import { serverListener } from './listener.ts';
import type { Listener, OnConnection } from './listener.ts';
import { nodeByteStream } from './node-streams.ts';
import { ReadRing } from './read-ring.ts';

/** How long the path of a socket may be, in bytes: the kernel's field, less its final zero byte. */
export const unixPathBytesMax = process.platform === 'linux' ? 107 : 103;

const lockRetryMs = 10;
const lockLeftoverMs = 10_000;
/** Whoever starts right after a kill has to outwait what the killed one left. */
const lockWaitMs = lockLeftoverMs + 5000;

/**
 * Connects to the unix socket at `path`. An abort of either side looks like an orderly end to the other, for the
 * kernel has no reset on a unix socket; the protocol notices by what is missing.
 * @throws SnapferryError `CONNECT_FAILED`, `TIMEOUT`, `CANCELLED`
 */
export async function connectUnix(path: string, options: ConnectOptions = {}): Promise<ByteStream> {
  const absolute = socketPath(path);
  const description = `unix ${absolute}`;
  const ring = new ReadRing();
  const socket = await connectSocket(
    { path: absolute, onread: ring.onread },
    {
      ...options,
      description,
      hints: {
        ENOENT: 'there is no such socket; is the server running?',
        ECONNREFUSED: 'the socket is there, but nobody listens on it; is the server running?',
        EACCES: 'the socket belongs to another user',
      },
    },
  );
  ring.feedFrom(socket);
  return nodeByteStream({ readable: socket, writable: socket, description, incoming: ring.incoming });
}

/** What may be chosen about a {@link listenUnix}. */
export interface ListenUnixOptions {
  /** Where connections that fail are logged. */
  readonly logger?: Logger;
}

/** Where to listen: a path, or a listening socket inherited from a service manager, whose rights are the manager's business. */
export type UnixListenPlace = string | { readonly fd: number };

/**
 * Listens on a unix socket. One at a path only its owner may connect to (mode 0600). Its directory must belong to
 * this user or to root and be writable by nobody else. A socket that nobody listens on any more is replaced; the path
 * is removed by the close.
 * @throws SnapferryError `BUSY` if somebody listens there, `ACCESS_DENIED` if the directory is not private,
 *   `INVALID_REQUEST` if the path cannot be a socket, `CONNECT_FAILED` if the system refuses
 */
export async function listenUnix(
  place: UnixListenPlace,
  onConnection: OnConnection,
  options: ListenUnixOptions = {},
): Promise<Listener> {
  const server = createServer({ allowHalfOpen: true });
  const path = typeof place === 'string' ? await listenAt(server, place) : await listenOnInherited(server, place.fd);
  const description = `unix ${path}`;
  return serverListener(server, {
    description,
    logger: options.logger,
    onConnection,
    accept: (socket) => ({
      stream: nodeByteStream({ readable: socket, writable: socket, description }),
      peer: { identity: undefined, address: path },
    }),
  });
}

async function listenAt(server: Server, path: string): Promise<string> {
  const absolute = socketPath(path);
  await requirePrivateDirectory(dirname(absolute));
  await withLock(absolute, async () => {
    await removeStaleSocket(absolute);
    await listenPrivately(server, absolute);
  });
  await chmod(absolute, 0o600);
  return absolute;
}

async function listenOnInherited(server: Server, fd: number): Promise<string> {
  await new Promise<void>((resolve, reject) => {
    server.once('listening', resolve);
    server.once('error', (cause) => {
      const message = `cannot listen on inherited socket ${fd}: ${cause.message}`;
      reject(new SnapferryError('CONNECT_FAILED', message, { cause }));
    });
    server.listen({ fd });
  });
  server.removeAllListeners('error');
  // Node does not know the path of a unix socket that it has not opened itself; a network socket it does know.
  if (server.address() === null) return `inherited socket ${fd}`;
  server.close();
  throw new SnapferryError('INVALID_REQUEST', `inherited socket ${fd} is not a unix socket`);
}

function socketPath(path: string): string {
  const absolute = resolve(path);
  const bytes = Buffer.byteLength(absolute);
  if (bytes > unixPathBytesMax) {
    const message = `the path of a unix socket may have ${unixPathBytesMax} bytes, and ${absolute} has ${bytes}; use a shorter directory`;
    throw new SnapferryError('INVALID_REQUEST', message);
  }
  if (path === '' || absolute.includes('\0')) {
    throw new SnapferryError('INVALID_REQUEST', `${JSON.stringify(path)} cannot be the path of a unix socket`);
  }
  return absolute;
}

async function requirePrivateDirectory(directory: string): Promise<void> {
  const about = await stat(directory).catch((cause: unknown) => {
    throw new SnapferryError('CONNECT_FAILED', `cannot listen in ${directory}: ${String(cause)}`, { cause });
  });
  const self = process.geteuid?.();
  if (self === undefined) return;
  const complain = (what: string): never => {
    throw new SnapferryError('ACCESS_DENIED', `${directory} is no safe place for a socket: ${what}`);
  };
  if (about.uid !== self && about.uid !== 0) complain(`it belongs to user ${about.uid}, and this is user ${self}`);
  if ((about.mode & 0o022) !== 0) complain(`others may write to it; use a directory of mode 0700 or 0755`);
}

/**
 * Runs `action` while no other process of ours looks at that path: between finding a socket dead and replacing it, a
 * faster one may have replaced it already, and its living socket would be removed.
 */
async function withLock(path: string, action: () => Promise<void>): Promise<void> {
  const lock = `${path}.lock`;
  const deadline = Date.now() + lockWaitMs;
  while (!(await createLock(lock))) {
    if (Date.now() > deadline) throw busy(path);
    await setTimeout(lockRetryMs);
  }
  try {
    await action();
  } finally {
    await unlink(lock).catch(() => undefined);
  }
}

async function createLock(lock: string): Promise<boolean> {
  try {
    await writeFile(lock, '', { flag: 'wx', mode: 0o600 });
    return true;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') {
      throw new SnapferryError('CONNECT_FAILED', `cannot listen: ${String(cause)}`, { cause });
    }
  }
  // It is held for milliseconds; an old one was left by a process that was killed just then.
  const about = await stat(lock).catch(() => undefined);
  if (about !== undefined && Date.now() - about.mtimeMs > lockLeftoverMs) await unlink(lock).catch(() => undefined);
  return false;
}

async function removeStaleSocket(path: string): Promise<void> {
  try {
    if (!(await lstat(path)).isSocket()) {
      throw new SnapferryError('INVALID_REQUEST', `${path} is in the way: it exists and is not a socket`);
    }
    if (await isAlive(path)) throw busy(path);
    await unlink(path);
  } catch (cause) {
    if (cause instanceof SnapferryError) throw cause;
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw new SnapferryError('CONNECT_FAILED', `cannot replace the dead socket ${path}: ${String(cause)}`, { cause });
  }
}

async function isAlive(path: string): Promise<boolean> {
  try {
    const socket = await connectSocket({ path }, { description: path, timeoutMs: 2000 });
    socket.destroy();
    return true;
  } catch (error) {
    const cause = error instanceof SnapferryError ? (error.cause as NodeJS.ErrnoException | undefined) : undefined;
    // Anything but a refusal (a full backlog, another user's socket) may well be alive, and is left alone.
    return cause?.code !== 'ECONNREFUSED' && cause?.code !== 'ENOENT';
  }
}

function busy(path: string): SnapferryError {
  return new SnapferryError('BUSY', `another process listens on ${path}; stop it first, or choose another path`);
}

async function listenPrivately(server: Server, path: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('listening', resolve);
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const message = `cannot listen on ${path}: ${cause.message}`;
      reject(cause.code === 'EADDRINUSE' ? busy(path) : new SnapferryError('CONNECT_FAILED', message, { cause }));
    });
    withUmask(0o177, () => server.listen(path));
  });
  server.removeAllListeners('error');
}

/** Runs `action` with that umask, where it can be set: a worker thread may not. The socket is made within the call. */
function withUmask(mask: number, action: () => void): void {
  let before: number | undefined;
  try {
    before = process.umask(mask);
  } catch {
    before = undefined;
  }
  try {
    action();
  } finally {
    if (before !== undefined) process.umask(before);
  }
}

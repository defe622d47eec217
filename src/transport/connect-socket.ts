import { connect } from 'node:net';
import type { NetConnectOpts, Socket } from 'node:net';
import { SnapferryError } from '../errors.ts';

/** How long a connection may take to come about, in milliseconds. */
export const connectTimeoutMsDefault = 10_000;

/** What every connecting function takes. */
export interface ConnectOptions {
  /** How long it may take, in milliseconds. Default {@link connectTimeoutMsDefault}. */
  readonly timeoutMs?: number;
  /** Gives up the attempt; a connection that has come about is not affected any more. */
  readonly signal?: AbortSignal;
}

/** Resolves when `socket` has emitted `event`; otherwise destroys it and rejects. */
export interface AwaitSocketOptions extends ConnectOptions {
  readonly description: string;
  /** What the reader of an error message can do about it, by the error's system code. */
  readonly hints?: Readonly<Record<string, string>>;
}

/**
 * Connects and resolves with the connected socket, half-open allowed.
 * @throws SnapferryError `CONNECT_FAILED`, `TIMEOUT`, or `CANCELLED` when the signal fired
 */
export async function connectSocket(opts: NetConnectOpts, options: AwaitSocketOptions): Promise<Socket> {
  if (options.signal?.aborted === true) throw connectCancelled(options.description, options.signal);
  const socket = connect({ ...opts, allowHalfOpen: true });
  await socketReady(socket, 'connect', options);
  return socket;
}

/**
 * Waits until `socket` has emitted `event`. On an error, a timeout or the signal the socket is destroyed.
 * @throws SnapferryError `CONNECT_FAILED`, `TIMEOUT`, `CANCELLED`
 */
export async function socketReady(socket: Socket, event: string, options: AwaitSocketOptions): Promise<void> {
  const { description, signal, timeoutMs = connectTimeoutMsDefault } = options;
  let release: () => void = () => undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      const onError = (cause: NodeJS.ErrnoException): void => reject(connectFailed(cause, options));
      const onClose = (): void => reject(connectFailed(new Error('the peer closed the connection'), options));
      const onAbort = (): void => reject(connectCancelled(description, signal));
      const timer = setTimeout(() => {
        reject(new SnapferryError('TIMEOUT', `${description} did not answer within ${timeoutMs} ms`));
      }, timeoutMs);
      release = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
        socket.off(event, resolve).off('error', onError).off('close', onClose);
      };
      socket.once(event, resolve).once('error', onError).once('close', onClose);
      signal?.addEventListener('abort', onAbort, { once: true });
      if (signal?.aborted === true) onAbort();
    });
  } catch (error) {
    socket.on('error', () => undefined);
    socket.destroy();
    throw error;
  } finally {
    release();
  }
}

/** The error of an attempt to connect whose signal fired. */
export function connectCancelled(description: string, signal: AbortSignal | undefined): SnapferryError {
  return new SnapferryError('CANCELLED', `connecting to ${description} was cancelled`, { cause: signal?.reason });
}

function connectFailed(cause: NodeJS.ErrnoException, options: AwaitSocketOptions): SnapferryError {
  const hint = cause.code === undefined ? undefined : options.hints?.[cause.code];
  const message = `cannot connect to ${options.description}: ${cause.message}`;
  return new SnapferryError('CONNECT_FAILED', hint === undefined ? message : `${message}; ${hint}`, { cause });
}

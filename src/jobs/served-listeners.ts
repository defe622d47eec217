import { toSnapferryError } from '../errors.ts';
import type { SnapferryError } from '../errors.ts';
import type { Logger } from '../rpc/interfaces.ts';
import type { Listener, OnConnection } from '../transport/listener.ts';
import type { Clock } from './clock.ts';
import { wait } from './clock-wait.ts';

const waitMsMin = 1000;
const waitMsMax = 60_000;

/** What {@link ServedListeners} needs. */
export interface ServedListenersOptions {
  /** Opens everything that is listened on, or nothing. */
  readonly open: (onConnection: OnConnection) => Promise<readonly Listener[]>;
  readonly onConnection: OnConnection;
  /** It could not be opened, or was lost; it is tried again. */
  readonly onFailed: (error: SnapferryError) => void;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Listens, and opens again what was lost or could not be opened, after waits that grow, until it is closed. */
export class ServedListeners {
  /** Resolves when it listens for the first time, or was closed before. Never rejects. */
  readonly listening: Promise<void>;
  readonly #options: ServedListenersOptions;
  readonly #closing = new AbortController();
  readonly #over: Promise<void>;

  constructor(options: ServedListenersOptions) {
    this.#options = options;
    let settle: () => void = () => undefined;
    this.listening = new Promise((resolve) => (settle = resolve));
    this.#over = this.#listen(settle).finally(settle);
  }

  /** Accepts no more. Resolves when nothing listens. Never rejects. Idempotent. */
  close(): Promise<void> {
    this.#closing.abort();
    return this.#over;
  }

  async #listen(onListening: () => void): Promise<void> {
    const { open, onConnection, onFailed, clock, logger } = this.#options;
    const { signal } = this.#closing;
    for (let waitMs = waitMsMin; !signal.aborted; waitMs = Math.min(waitMsMax, 2 * waitMs)) {
      try {
        const listeners = await open(onConnection);
        onListening();
        waitMs = waitMsMin;
        for (const { description } of listeners) logger.info(`listening on ${description}`);
        await untilLost(listeners, signal);
      } catch (cause) {
        const error = toSnapferryError(cause, 'CONNECT_FAILED', 'listening');
        logger.error({ err: error }, `not listening: ${error.message}`);
        onFailed(error);
        await wait(clock, waitMs, signal).catch(() => undefined);
      }
    }
  }
}

/** Resolves once `signal` has fired and all are closed; rejects when one was lost, and the others are closed. */
async function untilLost(listeners: readonly Listener[], signal: AbortSignal): Promise<void> {
  let stop: () => void = () => undefined;
  const told = new Promise<void>((resolve) => (stop = resolve));
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  try {
    await Promise.race([told, ...listeners.map(({ closed }) => closed)]);
  } finally {
    signal.removeEventListener('abort', stop);
    await Promise.all(listeners.map((listener) => listener.close()));
  }
}

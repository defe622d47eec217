import { setMaxListeners } from 'node:events';
import { SnapferryError } from '../errors.ts';

/** The error for a call whose signal was aborted; a SnapferryError given as the reason is kept. */
export function abortError(signal: AbortSignal | undefined, doing: string): SnapferryError {
  const reason: unknown = signal?.reason;
  if (reason instanceof SnapferryError) return reason;
  return new SnapferryError('CANCELLED', `${doing} was cancelled`, { cause: reason });
}

/** Runs `start` and waits for it no longer than until `signal` fires; not run at all if it has fired already. */
export function orAborted<T>(start: () => Promise<T>, signal: AbortSignal, doing = 'the request'): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    if (signal.aborted) {
      reject(abortError(signal, doing));
      return;
    }
    const stopListening = onAbort([signal], () => reject(abortError(signal, doing)));
    // Inside an async function, so that what throws at once also stops the listening.
    const run = async (): Promise<T> => start();
    void run().then(resolve, reject).finally(stopListening);
  });
}

/**
 * What stops one request. An AbortController whose signal is made only when somebody asks for it: most requests are over
 * before anybody has, and making one costs as much as answering them.
 */
export class RequestAbort {
  #reason: SnapferryError | null = null;
  #controller: AbortController | null = null;
  #listeners: Set<() => void> | null = null;

  /** Fires when the request is stopped, with a SnapferryError as its reason. */
  get signal(): AbortSignal {
    if (this.#controller === null) {
      this.#controller = new AbortController();
      if (this.#reason !== null) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }

  /** Stops the request; only the first reason counts. */
  abort(reason: SnapferryError): void {
    if (this.#reason !== null) return;
    this.#reason = reason;
    this.#controller?.abort(reason);
    const listeners = this.#listeners;
    this.#listeners = null;
    listeners?.forEach((listener) => listener());
  }

  /** Runs `start` and waits for it no longer than until the request is stopped; not run at all if it has been. */
  orAborted<T>(start: () => Promise<T>): Promise<T> {
    if (this.#reason !== null) return Promise.reject(this.#reason);
    return new Promise<T>((resolve, reject) => {
      const stop = (): void => reject(this.#reason ?? new SnapferryError('CANCELLED', 'the request was stopped'));
      this.#listeners ??= new Set();
      this.#listeners.add(stop);
      const over = (): unknown => this.#listeners?.delete(stop);
      // Inside an async function, so that what throws at once also stops the listening.
      const run = async (): Promise<T> => start();
      run().then(
        (value) => {
          over();
          resolve(value);
        },
        (error: unknown) => {
          over();
          // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- passed on as it came
          reject(error);
        },
      );
    });
  }
}

/** Aborts `target` when one of the signals is, or has been; returns how to stop listening. */
export function linkAborts(
  signals: readonly (AbortSignal | undefined)[],
  target: AbortController,
  doing: string,
): () => void {
  const given = signals.filter((signal) => signal !== undefined);
  const aborted = given.find((signal) => signal.aborted);
  if (aborted !== undefined) target.abort(abortError(aborted, doing));
  return onAbort(given, (signal) => target.abort(abortError(signal, doing)));
}

/** Calls `listener` when one of the signals fires; returns how to stop listening. */
export function onAbort(signals: readonly AbortSignal[], listener: (signal: AbortSignal) => void): () => void {
  const stops = signals.map((signal) => {
    const heard = (): void => listener(signal);
    // Many calls may share one signal; each stops listening when it is over, so their number is no leak.
    setMaxListeners(0, signal);
    signal.addEventListener('abort', heard, { once: true });
    return () => signal.removeEventListener('abort', heard);
  });
  return () => stops.forEach((stop) => stop());
}

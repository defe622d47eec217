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

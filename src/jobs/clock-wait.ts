import { SnapferryError } from '../errors.ts';
import type { Clock } from './clock.ts';

/**
 * Waits by that clock.
 * @throws SnapferryError `CANCELLED`, or the signal's own reason if that is one
 */
export function wait(clock: Clock, waitMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      cancel();
      const reason: unknown = signal.reason;
      reject(
        reason instanceof SnapferryError
          ? reason
          : new SnapferryError('CANCELLED', 'waiting was cancelled', { cause: reason }),
      );
    };
    const cancel = clock.after(waitMs, () => {
      signal.removeEventListener('abort', stop);
      resolve();
    });
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
  });
}

import { setMaxListeners } from 'node:events';

/**
 * A signal that is aborted when `signal` is, and may be handed to any number of calls at once: each listens to it, and
 * Node warns of a leak when a signal has more than ten listeners. `unlink` when done: the caller's signal may live long.
 */
export function linkedSignal(signal: AbortSignal | undefined): { signal: AbortSignal; unlink: () => void } {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  const forward = () => controller.abort(signal?.reason);
  if (signal?.aborted === true) forward();
  signal?.addEventListener('abort', forward, { once: true });
  return { signal: controller.signal, unlink: () => signal?.removeEventListener('abort', forward) };
}

import { setMaxListeners } from 'node:events';

/**
 * A signal that is aborted when one of the others is, with the same reason, and may be handed to any number of calls at once. `unlink`
 * when done: the others may live for as long as the daemon does, and `AbortSignal.any` leaves traces on them in Node 20.
 */
export function eitherSignal(...signals: readonly AbortSignal[]): { signal: AbortSignal; unlink: () => void } {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  const links = signals.map((signal) => {
    const forward = (): void => controller.abort(signal.reason);
    if (signal.aborted) forward();
    signal.addEventListener('abort', forward, { once: true });
    return () => signal.removeEventListener('abort', forward);
  });
  return { signal: controller.signal, unlink: () => links.forEach((unlink) => unlink()) };
}

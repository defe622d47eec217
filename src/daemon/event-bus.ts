import type { JobEvent, JobEventListener } from '../jobs/job-events.ts';
import type { Logger } from '../rpc/interfaces.ts';

/** Hands events to whoever wants them. */
export class EventBus {
  readonly #logger: Logger;
  readonly #listeners = new Set<JobEventListener>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** Calls for each event from now on, until the returned function is called. */
  subscribe(listener: JobEventListener): () => void {
    // The same function may be subscribed twice.
    const own: JobEventListener = (event) => listener(event);
    this.#listeners.add(own);
    return () => void this.#listeners.delete(own);
  }

  /** Calls everybody, in the order in which they subscribed. Never throws. */
  emit(event: JobEvent): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener(event);
      } catch (error) {
        this.#logger.error({ err: error, event: event.kind }, 'a listener of events failed');
      }
    }
  }
}

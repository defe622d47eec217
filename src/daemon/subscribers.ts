import type { Logger } from '../rpc/interfaces.ts';

/** Hands news to whoever wants it. */
export class Subscribers<News> {
  readonly #logger: Logger;
  readonly #what: string;
  readonly #listeners = new Set<(news: News) => void>();

  /** @param what the news is about, for the log */
  constructor(what: string, logger: Logger) {
    this.#what = what;
    this.#logger = logger;
  }

  /** Calls with all news from now on, until the returned function is called. */
  subscribe(listener: (news: News) => void): () => void {
    // The same function may be subscribed twice.
    const own = (news: News): void => listener(news);
    this.#listeners.add(own);
    return () => void this.#listeners.delete(own);
  }

  /** Calls everybody, in the order in which they subscribed. One that throws is logged. Never throws. */
  tell(news: News): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener(news);
      } catch (error) {
        this.#logger.error({ err: error }, `a listener of ${this.#what} failed`);
      }
    }
  }
}

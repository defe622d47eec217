import type { RequestAbort } from './aborting.ts';

/** How many handlers of one connection may still be at work for requests that were cancelled. */
const stragglersMax = 8;

/**
 * Handlers that go on although their request was cancelled and answered. A peer that asks and cancels without end would
 * otherwise have any number of them at work at once.
 */
export class Stragglers {
  #count = 0;
  #wake: () => void = () => undefined;

  /** Counts a handler until it is done, whatever comes of it. */
  add(handled: Promise<unknown>): void {
    this.#count++;
    const done = (): void => {
      this.#count--;
      this.#wake();
    };
    handled.then(done, done);
  }

  /**
   * Waits until there are few enough for another request to be handled. One caller at a time.
   * @throws SnapferryError what the waiting request was stopped with
   */
  async few(abort: RequestAbort): Promise<void> {
    while (this.areMany) await abort.orAborted(() => new Promise<void>((resolve) => (this.#wake = resolve)));
  }

  /** Whether no other request may be handled now. */
  get areMany(): boolean {
    return this.#count >= stragglersMax;
  }
}

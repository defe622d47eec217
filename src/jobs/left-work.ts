import { setMaxListeners } from 'node:events';
import { SnapferryError } from '../errors.ts';
import type { Clock } from './clock.ts';

/** Work that goes on after the session that caused it is over. */
export class LeftWork {
  readonly #clock: Clock;
  readonly #stop = new AbortController();
  readonly #going = new Set<Promise<unknown>>();

  constructor(clock: Clock) {
    this.#clock = clock;
    // Any number of clients may have left something.
    setMaxListeners(0, this.#stop.signal);
  }

  /** Fires when it has to stop. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** Begins work that must not reject. */
  begin(work: (signal: AbortSignal) => Promise<unknown>): void {
    const going = work(this.#stop.signal).finally(() => this.#going.delete(going));
    this.#going.add(going);
  }

  /** Waits for all of it, so long, and then stops what is left. Resolves when nothing is. Never rejects. */
  async end(graceMs: number): Promise<void> {
    const cancel = this.#clock.after(graceMs, () => {
      this.#stop.abort(new SnapferryError('CANCELLED', 'the job is being stopped; what has arrived is kept'));
    });
    // What goes on may begin more.
    while (this.#going.size > 0) await Promise.allSettled(this.#going);
    cancel();
  }
}

import type { Clock } from '../jobs/clock.ts';

/** However far away the time is, the clock is looked at this often: it may have jumped, or the machine may have slept. */
const lookMsMax = 60_000;

/** Rings once when the wall clock has reached a time. */
export class Alarm {
  readonly #clock: Clock;
  readonly #dueMs: () => number | null;
  readonly #ring: () => void;
  #cancel: (() => void) | null = null;

  /** @param dueMs asked at each look, so that it may depend on the clock; null: not until {@link set} is called again */
  constructor(clock: Clock, dueMs: () => number | null, ring: () => void) {
    this.#clock = clock;
    this.#dueMs = dueMs;
    this.#ring = ring;
  }

  /** Looks at the clock now and from now on, until it has rung or is stopped. It never rings before this returns. */
  set(): void {
    this.stop();
    const due = this.#dueMs();
    if (due === null) return;
    const leftMs = Math.min(Math.max(0, due - this.#clock.nowMs()), lookMsMax);
    this.#cancel = this.#clock.after(leftMs, () => this.#look());
  }

  /** Idempotent. */
  stop(): void {
    this.#cancel?.();
    this.#cancel = null;
  }

  #look(): void {
    this.#cancel = null;
    const due = this.#dueMs();
    if (due !== null && due <= this.#clock.nowMs()) this.#ring();
    else this.set();
  }
}

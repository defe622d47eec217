import type { Clock } from './clock.ts';

/** Notices when nothing has moved for too long. Whoever makes one closes it. */
export class StallGuard {
  readonly #clock: Clock;
  readonly #msMax: number;
  readonly #onStall: () => void;
  #movedMs: number;
  #cancel: () => void = () => undefined;

  /** @param onStall called at most once, when there was no {@link StallGuard.touch} for `msMax` ms */
  constructor(clock: Clock, msMax: number, onStall: () => void) {
    this.#clock = clock;
    this.#msMax = msMax;
    this.#onStall = onStall;
    this.#movedMs = clock.monotonicMs();
    this.#watch(msMax);
  }

  /** Something has moved. Cheap. */
  touch(): void {
    this.#movedMs = this.#clock.monotonicMs();
  }

  /** There is nothing to watch any more. */
  close(): void {
    this.#cancel();
  }

  #watch(delayMs: number): void {
    this.#cancel = this.#clock.after(delayMs, () => {
      const leftMs = this.#movedMs + this.#msMax - this.#clock.monotonicMs();
      if (leftMs <= 0) this.#onStall();
      else this.#watch(leftMs);
    });
  }
}

import type { Clock } from '../../src/jobs/clock.ts';

interface Timer {
  readonly atMs: number;
  readonly run: () => void;
}

/** A clock that goes only when told to. */
export class FakeClock implements Clock {
  readonly #timers = new Set<Timer>();
  #monotonicMs = 1000;
  #wallMs: number;

  constructor(begin = '2026-03-07T05:06:09Z') {
    this.#wallMs = Date.parse(begin);
  }

  readonly nowMs = (): number => this.#wallMs;
  readonly monotonicMs = (): number => this.#monotonicMs;

  readonly after = (delayMs: number, run: () => void): (() => void) => {
    const timer = { atMs: this.#monotonicMs + Math.max(0, delayMs), run };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  };

  /** Timers that have not rung. */
  get waiting(): number {
    return this.#timers.size;
  }

  /** How long until the next timer rings; null: there is none. */
  get nextMs(): number | null {
    const next = this.#next();
    return next === null ? null : Math.max(0, next.atMs - this.#monotonicMs);
  }

  /** Sets the wall clock forward or back; timers know nothing of it. A machine that slept looks like that, too. */
  jump(ms: number): void {
    this.#wallMs += ms;
  }

  /** Lets so much time pass. What timers start is given the chance to go on before the next one rings. */
  async pass(ms: number, settle: () => Promise<void> = settled): Promise<void> {
    const untilMs = this.#monotonicMs + ms;
    await settle();
    for (let next = this.#next(); next !== null && next.atMs <= untilMs; next = this.#next()) {
      this.#goTo(next.atMs);
      this.#timers.delete(next);
      next.run();
      await settle();
    }
    this.#goTo(untilMs);
  }

  #goTo(monotonicMs: number): void {
    const ms = Math.max(0, monotonicMs - this.#monotonicMs);
    this.#monotonicMs += ms;
    this.#wallMs += ms;
  }

  #next(): Timer | null {
    let next: Timer | null = null;
    for (const timer of this.#timers) if (next === null || timer.atMs < next.atMs) next = timer;
    return next;
  }
}

/** Lets everything go on that waits for nothing but its turn. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** The longest wait a timer of Node can do, in ms. */
const timerMsMax = 2 ** 31 - 1;

/** What happens to a responder that is told to leave. */
export interface DepartureSteps {
  /** The grace is over: the request in progress is cancelled. */
  readonly cancel: () => void;
  /** Even that did not help. */
  readonly drop: () => void;
  /** How long a cancelled request may take to end, and what was written to leave, in ms. */
  readonly dropMs: number;
}

/** The time that is left to a responder which has been told to leave. It only gets shorter. */
export class Departure {
  readonly #steps: DepartureSteps;
  #deadlineMs = Infinity;
  #timer: NodeJS.Timeout | undefined;
  #isOver = false;

  constructor(steps: DepartureSteps) {
    this.#steps = steps;
  }

  /** Whether it has been told to. */
  get isUnderWay(): boolean {
    return this.#deadlineMs !== Infinity;
  }

  /** What is left of the grace, in ms. */
  get remainingMs(): number {
    return Math.max(0, this.#deadlineMs - performance.now());
  }

  /** Leaves within `graceMs`, unless it has to be gone earlier already. */
  within(graceMs: number): void {
    const deadlineMs = performance.now() + Math.min(Math.max(0, graceMs), timerMsMax);
    if (this.#isOver || deadlineMs >= this.#deadlineMs) return;
    this.#deadlineMs = deadlineMs;
    clearTimeout(this.#timer);
    if (this.remainingMs === 0) this.#expire();
    else this.#timer = setTimeout(() => this.#expire(), this.remainingMs);
  }

  /** Nothing is left to be done but to close; that may take no longer than this. */
  dropWithin(waitMsMax: number): void {
    clearTimeout(this.#timer);
    if (!this.#isOver) this.#timer = setTimeout(() => this.#steps.drop(), waitMsMax);
  }

  /** It has left. */
  end(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }

  #expire(): void {
    this.#steps.cancel();
    // Cancelling may have been all it needed.
    this.dropWithin(this.#steps.dropMs);
  }
}

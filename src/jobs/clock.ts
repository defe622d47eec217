/** Time, as jobs and the daemon see it, so that a test can let fourteen days pass. */
export interface Clock {
  /** Wall clock, ms since 1970; it may jump. */
  readonly nowMs: () => number;
  /** Never goes back; for durations. */
  readonly monotonicMs: () => number;
  /** Calls once after so many ms, unless the returned function is called before. Any length is allowed. */
  readonly after: (delayMs: number, run: () => void) => () => void;
}

/** Node waits at most for so long at once. */
const timerMsMax = 0x7fff_ffff;

/** The machine's clock. Waiting keeps the process alive. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, run) {
    let timer: NodeJS.Timeout;
    const wait = (leftMs: number): void => {
      const partMs = Math.min(leftMs, timerMsMax);
      timer = setTimeout(() => (leftMs > partMs ? wait(leftMs - partMs) : run()), partMs);
    };
    wait(Math.max(0, delayMs));
    return () => clearTimeout(timer);
  },
};

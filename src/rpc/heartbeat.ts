import { heartbeatsMissedMax } from '../limits.ts';

const ticksPerHeartbeat = 2;

/** How a {@link Heartbeat} sees its connection. */
export interface HeartbeatOptions {
  /** The count agreed with the peer, in ms. */
  readonly everyMs: number;
  /** Whether something waits to be written; there is no need for a sign of life then. */
  readonly isWriting: () => boolean;
  /** Writes finished so far. */
  readonly writeCount: () => number;
  /** Writes a sign of life. */
  readonly beat: () => void;
  /** Called when the peer has missed too many. */
  readonly onSilent: () => void;
}

/**
 * The liveness of a version-2 connection. Counts ticks instead of comparing clocks: after a laptop's sleep one tick has
 * passed, not hours, and what the peer sent meanwhile is read before the next.
 */
export class Heartbeat {
  readonly #options: HeartbeatOptions;
  readonly #timer: NodeJS.Timeout;
  #isReading: boolean;
  #ticksSinceRead = 0;
  #ticksSinceWrite = 0;
  #writeCount = 0;

  /** @param isReading whether somebody waits for the peer already */
  constructor(options: HeartbeatOptions, isReading: boolean) {
    this.#options = options;
    this.#isReading = isReading;
    this.#timer = setInterval(() => this.#tick(), Math.max(1, options.everyMs / ticksPerHeartbeat));
    this.#timer.unref();
  }

  /** Somebody begins to wait for the peer: only from now on its silence counts. */
  readBegins(): void {
    this.#isReading = true;
    this.#ticksSinceRead = 0;
  }

  /** The peer was heard, or nobody waits any more. */
  readEnds(): void {
    this.#isReading = false;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #tick(): void {
    const { isWriting, writeCount, beat, onSilent } = this.#options;
    this.#ticksSinceRead++;
    // What was written since the last tick counts as old as that: rather too early than later than agreed.
    this.#ticksSinceWrite = writeCount() === this.#writeCount ? this.#ticksSinceWrite + 1 : 1;
    this.#writeCount = writeCount();
    if (this.#isReading && this.#ticksSinceRead > heartbeatsMissedMax * ticksPerHeartbeat) onSilent();
    else if (!isWriting() && this.#ticksSinceWrite >= ticksPerHeartbeat) beat();
  }
}

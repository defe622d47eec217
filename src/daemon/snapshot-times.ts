import { toSnapferryError } from '../errors.ts';
import type { Clock } from '../jobs/clock.ts';
import { nextCronMs } from '../jobs/next-cron.ts';
import type { RunResult } from '../jobs/run-result.ts';
import type { RunnableJob } from '../jobs/runnable-job.ts';
import type { Logger } from '../rpc/interfaces.ts';

/** What is needed to know when snapshots are due. */
export interface SnapshotTimesOptions {
  readonly job: RunnableJob;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Called when the time is another one. */
  readonly onChange: () => void;
}

/** Waits after failures, the longest one repeated: what stands between us and the snapshots may stay for days. */
const waitsMs: readonly number[] = [10_000, 60_000, 5 * 60_000, 15 * 60_000, 3_600_000];

/** When the snapshots of a job are due, as the job itself finds out by looking at those there are. */
export class SnapshotTimes {
  /** Wall clock, ms since 1970, in the past when they are overdue; null: not by themselves, or not known yet. */
  dueMs: number | null = null;
  readonly #options: SnapshotTimesOptions;
  readonly #stopped = new AbortController();
  #failures = 0;
  /** When the newest run that takes snapshots began; null: none has. */
  #roundMs: number | null = null;
  readonly #watchedSinceMs: number;
  #looking: Promise<void> | null = null;
  #isToLookAgain = false;

  constructor(options: SnapshotTimesOptions) {
    this.#options = options;
    this.#watchedSinceMs = options.clock.nowMs();
  }

  /** Asks the job; to be called at the beginning and after each run. */
  look(): void {
    if (this.#looking !== null) this.#isToLookAgain = true;
    else this.#looking = this.#look();
  }

  /** Takes note of a run that is over. */
  after({ cause, beganMs }: RunResult): void {
    if (cause === 'schedule') return;
    this.dueMs = null;
    this.#roundMs = beganMs;
  }

  /** Asks nothing any more. Idempotent. */
  stop(): void {
    this.#stopped.abort();
    this.dueMs = null;
  }

  async #look(): Promise<void> {
    const { signal } = this.#stopped;
    const dueMs = await this.#ask(signal);
    this.#looking = null;
    if (this.#isToLookAgain && !signal.aborted) {
      // What was found out may be older than the run that has ended meanwhile.
      this.#isToLookAgain = false;
      this.look();
      return;
    }
    this.dueMs = signal.aborted ? null : dueMs;
    this.#options.onChange();
  }

  async #ask(signal: AbortSignal): Promise<number | null> {
    const { job, clock, logger } = this.#options;
    try {
      const nextMs = await job.nextSnapshotMs(signal);
      const nowMs = clock.nowMs();
      // The run that should have taken them did not even begin to: another process has the job, or the like.
      if (this.#roundMs !== null && nextMs !== null && nextMs <= this.#roundMs) return this.#afterFailure();
      this.#failures = 0;
      return this.#missedMs(nowMs) ?? nextMs;
    } catch (error) {
      if (signal.aborted) return null;
      const { code, message } = toSnapferryError(error);
      logger.warn({ job: job.name, code }, `when snapshots of ${job.name} are due is not known: ${message}`);
      // The run that comes of it fails of the same, and that is in the history, and told.
      return this.#afterFailure();
    }
  }

  /** A time of cron that passed while the job ran, or the machine slept; null: none. */
  #missedMs(nowMs: number): number | null {
    const { settings } = this.#options.job;
    if (!('snapshotting' in settings) || settings.snapshotting.type !== 'cron') return null;
    const nextMs = nextCronMs(settings.snapshotting.cron, Math.min(this.#roundMs ?? this.#watchedSinceMs, nowMs));
    return nextMs !== null && nextMs <= nowMs ? nextMs : null;
  }

  #afterFailure(): number {
    const waitMs = waitsMs[Math.min(this.#failures, waitsMs.length - 1)] ?? 0;
    this.#failures++;
    return this.#options.clock.nowMs() + waitMs;
  }
}

import { SnapferryError } from '../errors.ts';
import type { Clock } from '../jobs/clock.ts';
import type { RunCause } from '../jobs/run-result.ts';
import type { JobService, RunnableJob } from '../jobs/runnable-job.ts';
import type { Logger } from '../rpc/interfaces.ts';
import { Alarm } from './alarm.ts';
import { dueMs } from './due.ts';
import type { JobStatus } from './daemon-status.ts';
import { SnapshotTimes } from './snapshot-times.ts';

/** What a runner needs. */
export interface JobRunnerOptions {
  readonly job: RunnableJob;
  readonly clock: Clock;
  readonly logger: Logger;
  /** When a run of the job last began, as the history knows it; null: never. */
  readonly lastBeganMs: number | null;
  /** Whether its last run was interrupted by the end of an earlier daemon: then it goes on at once, unless only a wakeup runs it. */
  readonly isToResume: boolean;
  /** Called when a job that serves can be reached. */
  readonly onListening: () => void;
}

/** What asking for a run came to: it has begun; one is going on, after which it will; the job is being stopped. */
export type Wakeup = 'begun' | 'remembered' | 'stopping';

/** No job runs by itself sooner after its last run began than this, whatever its schedule says: a run may end at once. */
const pauseMsMin = 1000;

/** Runs one job when it is due or woken, one run at a time, and lets it serve. */
export class JobRunner {
  /** Resolves once the runner was stopped and nothing of the job is left. Never rejects. */
  readonly finished: Promise<void>;
  #isFinished = false;
  #isStopping = false;
  readonly #job: RunnableJob;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #watchedSinceMs: number;
  readonly #alarm: Alarm;
  readonly #snapshots: SnapshotTimes;
  readonly #onListening: () => void;
  #isToResume: boolean;
  #lastBeganMs: number | null;
  #seenMs: number;
  #run: { readonly controller: AbortController; readonly ended: Promise<void> } | null = null;
  #service: JobService | null = null;
  #restart: Promise<void> | null = null;
  #isWoken = false;
  #cancelAtMs = Infinity;
  #cancelTimer: (() => void) | null = null;
  #finish: () => void = () => undefined;

  constructor({ job, clock, logger, lastBeganMs, isToResume, onListening }: JobRunnerOptions) {
    this.#job = job;
    this.#clock = clock;
    this.#logger = logger;
    this.#lastBeganMs = lastBeganMs;
    this.#isToResume = isToResume;
    this.#onListening = onListening;
    this.#watchedSinceMs = clock.nowMs();
    this.#seenMs = this.#watchedSinceMs;
    this.#alarm = new Alarm(
      clock,
      () => this.#lookAtClock(),
      () => this.#ring(),
    );
    this.#snapshots = new SnapshotTimes({ job, clock, logger, onChange: () => this.#rest() });
    this.finished = new Promise((resolve) => (this.#finish = resolve));
  }

  /** Whether {@link finished} has resolved. */
  get isFinished(): boolean {
    return this.#isFinished;
  }

  /** Whether {@link stop} was called. */
  get isStopping(): boolean {
    return this.#isStopping;
  }

  /** What the job is doing. */
  get state(): JobStatus['state'] {
    if (this.#isStopping) return 'stopping';
    if (this.#run !== null) return 'running';
    return this.#service === null ? 'idle' : 'serving';
  }

  /** When the job runs next by itself; null: never, as far as is known. */
  get nextRunMs(): number | null {
    const times = [this.#scheduledMs(), this.#snapshots.dueMs].filter((time) => time !== null);
    if (times.length === 0) return null;
    const next = Math.min(...times);
    return this.#lastBeganMs === null ? next : Math.max(next, this.#lastBeganMs + pauseMsMin);
  }

  /** Begins to serve, and to look at the clock. */
  start(): void {
    this.#serve();
    this.#snapshots.look();
    this.#rest();
  }

  /** Runs the job now; while it runs, once more afterwards, however often this is called. */
  wakeup(): Wakeup {
    if (this.#isStopping) return 'stopping';
    if (this.#run !== null) {
      this.#isWoken = true;
      return 'remembered';
    }
    this.#begin('wakeup');
    return 'begun';
  }

  /**
   * Stops the run that is going on, forgets a wakeup, and drops the clients of a job that serves; it serves on. What had arrived is
   * kept. Resolves with whether there was anything to stop, once it has ended.
   */
  async cancel(why: string): Promise<boolean> {
    this.#isWoken = false;
    const run = this.#run;
    run?.controller.abort(new SnapferryError('CANCELLED', why));
    await Promise.all([run?.ended, this.#restartService()]);
    return run !== null || this.#service !== null;
  }

  /** {@link cancel}, then runs the job anew at once: also the waits between attempts begin anew. */
  async reset(why: string): Promise<Wakeup> {
    await this.cancel(why);
    return this.wakeup();
  }

  /**
   * Begins no run any more, and accepts no client. What is going on may finish within so many ms each, and is cancelled then; called
   * again, it can only get less. Returns at once; see {@link finished}.
   */
  stop({ runMsMax, serviceMsMax }: { readonly runMsMax: number; readonly serviceMsMax: number }): void {
    const isFirst = !this.#isStopping;
    this.#isStopping = true;
    this.#isWoken = false;
    this.#alarm.stop();
    this.#snapshots.stop();
    const serviceEnds = this.#service?.stop(serviceMsMax);
    this.#cancelRunWithin(runMsMax);
    if (isFirst) void this.#settle(serviceEnds);
  }

  #cancelRunWithin(runMsMax: number): void {
    const run = this.#run;
    const cancelAtMs = this.#clock.monotonicMs() + runMsMax;
    if (run === null || cancelAtMs >= this.#cancelAtMs) return;
    this.#cancelAtMs = cancelAtMs;
    this.#cancelTimer?.();
    const why = `the run was cancelled since ${this.#job.name} is being stopped; the next one goes on where it was`;
    const cancel = (): void => run.controller.abort(new SnapferryError('CANCELLED', why));
    if (runMsMax <= 0) cancel();
    else this.#cancelTimer = this.#clock.after(runMsMax, cancel);
  }

  async #settle(serviceEnds: Promise<void> | undefined): Promise<void> {
    await Promise.all([serviceEnds, this.#restart, this.#run?.ended]);
    this.#cancelTimer?.();
    this.#isFinished = true;
    this.#finish();
  }

  #serve(): void {
    this.#service = this.#job.serve?.() ?? null;
    const service = this.#service;
    // It also resolves when it was stopped before it could be reached.
    void service?.listening.then(() => {
      if (this.#service === service && !this.#isStopping) this.#onListening();
    });
  }

  #restartService(): Promise<void> {
    if (this.#service === null || this.#isStopping) return Promise.resolve();
    this.#restart ??= this.#service.stop(0).then(() => {
      this.#restart = null;
      if (!this.#isStopping) this.#serve();
    });
    return this.#restart;
  }

  #scheduledMs(): number | null {
    const { settings } = this.#job;
    if (!('schedule' in settings)) return null;
    const { schedule } = settings;
    if (this.#isToResume && schedule.type !== 'manual') return this.#watchedSinceMs;
    return dueMs({ schedule, lastBeganMs: this.#lastBeganMs, watchedSinceMs: this.#watchedSinceMs });
  }

  /** A clock that was set back leaves times in the future, for which waiting could take years. */
  #lookAtClock(): number | null {
    const nowMs = this.#clock.nowMs();
    if (this.#lastBeganMs !== null && this.#lastBeganMs > nowMs) this.#lastBeganMs = nowMs;
    if (nowMs < this.#seenMs) this.#snapshots.look();
    this.#seenMs = nowMs;
    return this.nextRunMs;
  }

  /** Snapshots that are due are taken, and then replicated; a run of the schedule would leave them to the next one. */
  #ring(): void {
    const snapshotsMs = this.#snapshots.dueMs;
    const areDue = snapshotsMs !== null && snapshotsMs <= this.#clock.nowMs();
    this.#begin(areDue ? 'snapshots' : 'schedule');
  }

  #begin(cause: RunCause): void {
    this.#alarm.stop();
    this.#lastBeganMs = this.#clock.nowMs();
    this.#isToResume = false;
    const controller = new AbortController();
    const ended = this.#job
      .run({ cause, signal: controller.signal })
      .then(
        (result) => this.#snapshots.after(result),
        (error: unknown) => this.#logger.error({ err: error, job: this.#job.name }, 'the run rejected'),
      )
      .then(() => this.#end());
    this.#run = { controller, ended };
  }

  #end(): void {
    this.#run = null;
    if (this.#isStopping) return;
    if (this.#isWoken) {
      this.#isWoken = false;
      this.#begin('wakeup');
      return;
    }
    this.#snapshots.look();
    this.#rest();
  }

  #rest(): void {
    if (this.#run === null && !this.#isStopping) this.#alarm.set();
  }
}

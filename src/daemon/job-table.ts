import type { RunnableJob } from '../jobs/runnable-job.ts';
import { JobRunner } from './job-runner.ts';
import type { JobRunnerOptions, Wakeup } from './job-runner.ts';

/** A job of the configuration, and what runs it. */
export interface JobSlot {
  /** As configured now; it runs once the runner before it is finished. */
  readonly job: RunnableJob;
  /** What runs it, or what is still to be finished of it as it was configured before. */
  readonly runner: JobRunner;
}

/** What the jobs have to be run with. */
export interface JobTableOptions extends Pick<JobRunnerOptions, 'clock' | 'logger'> {
  /** When a run of the job last began; null: never. */
  readonly lastBeganMs: (job: string) => number | null;
  /** Called when a job that serves can be reached. */
  readonly onListening: (job: string) => void;
}

/** How other jobs are gone over to. */
export interface ApplyOptions {
  /** How long the clients of a job that ends may take to finish. */
  readonly serviceMsMax: number;
  /** Jobs whose last run was interrupted by the end of an earlier daemon. */
  readonly toResume?: ReadonlySet<string>;
}

interface Slot {
  job: RunnableJob;
  runner: JobRunner;
  /** Whether the runner is of an older configuration and is being finished. */
  isRetiring: boolean;
  /** Whether the job was woken meanwhile. */
  isWoken: boolean;
}

/** The jobs of a daemon by name, each with what runs it; takes over other configurations while they run. */
export class JobTable {
  readonly #options: JobTableOptions;
  #slots = new Map<string, Slot>();
  /** Runners of jobs that are no longer configured. */
  readonly #removed = new Map<string, Slot>();
  #isStopping = false;

  constructor(options: JobTableOptions) {
    this.#options = options;
  }

  /** In the order of the configuration. */
  slots(): readonly JobSlot[] {
    return [...this.#slots.values()];
  }

  /** The job of that name, if it is configured. */
  slot(name: string): JobSlot | null {
    return this.#slots.get(name) ?? null;
  }

  /**
   * Goes over to these jobs. A job that is the same object as before goes on undisturbed; a changed one begins once the run that is
   * going on is over; one that is gone is finished likewise.
   */
  apply(jobs: readonly RunnableJob[], { serviceMsMax, toResume }: ApplyOptions): void {
    const before = this.#slots;
    this.#slots = new Map();
    for (const job of jobs) {
      const old = before.get(job.name) ?? this.#removed.get(job.name);
      before.delete(job.name);
      this.#removed.delete(job.name);
      this.#slots.set(
        job.name,
        old === undefined ? this.#begin(job, toResume?.has(job.name)) : this.#goOver(old, job, serviceMsMax),
      );
    }
    for (const [name, slot] of before) {
      this.#removed.set(name, slot);
      slot.runner.stop({ runMsMax: Infinity, serviceMsMax });
      void slot.runner.finished.then(() => {
        if (this.#removed.get(name) === slot && !slot.isRetiring) this.#removed.delete(name);
      });
    }
  }

  /** Runs a job now, or after what it is doing. */
  wakeup(slot: JobSlot): Wakeup {
    const own = this.#slots.get(slot.job.name);
    if (own?.isRetiring !== true || this.#isStopping) return slot.runner.wakeup();
    own.isWoken = true;
    return 'remembered';
  }

  /** Stops all; called again, it can only be sooner. Resolves once nothing is left. Never rejects. */
  async stop(withinMs: number): Promise<void> {
    this.#isStopping = true;
    const all = [...this.#slots.values(), ...this.#removed.values()];
    for (const { runner } of all) runner.stop({ runMsMax: withinMs, serviceMsMax: withinMs });
    await Promise.all(all.map(({ runner }) => runner.finished));
  }

  /** Names of the jobs of which something is left. */
  unfinished(): readonly string[] {
    const all = [...this.#slots.values(), ...this.#removed.values()];
    return all.filter(({ runner }) => !runner.isFinished).map(({ job }) => job.name);
  }

  #begin(job: RunnableJob, isToResume = false): Slot {
    return { job, runner: this.#runner(job, isToResume), isRetiring: false, isWoken: false };
  }

  #runner(job: RunnableJob, isToResume: boolean): JobRunner {
    const { clock, logger, lastBeganMs, onListening } = this.#options;
    const runner = new JobRunner({
      ...{ job, clock, logger, isToResume },
      lastBeganMs: lastBeganMs(job.name),
      onListening: () => onListening(job.name),
    });
    runner.start();
    return runner;
  }

  #goOver(slot: Slot, job: RunnableJob, serviceMsMax: number): Slot {
    const isSame = slot.job === job;
    slot.job = job;
    if (slot.isRetiring || (isSame && !slot.runner.isStopping)) return slot;
    slot.isRetiring = true;
    slot.runner.stop({ runMsMax: Infinity, serviceMsMax });
    void slot.runner.finished.then(() => this.#succeed(slot));
    return slot;
  }

  /** Puts the job as it is configured now in the place of what has finished, unless it has been removed or all is being stopped. */
  #succeed(slot: Slot): void {
    slot.isRetiring = false;
    const { name } = slot.job;
    if (this.#removed.get(name) === slot) this.#removed.delete(name);
    if (this.#isStopping || this.#slots.get(name) !== slot) return;
    slot.runner = this.#runner(slot.job, false);
    if (slot.isWoken) slot.runner.wakeup();
    slot.isWoken = false;
  }
}

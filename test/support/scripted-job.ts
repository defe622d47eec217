import type { Job } from '../../src/config/job.ts';
import type { Clock } from '../../src/jobs/clock.ts';
import type { JobDependencies, JobService, RunnableJob, RunRequest } from '../../src/jobs/runnable-job.ts';
import type { RunCause, RunResult } from '../../src/jobs/run-result.ts';
import { runResult } from './job-results.ts';

/** A run of a {@link ScriptedJob} that goes on until the test ends it. */
export interface ScriptedRun {
  readonly cause: RunCause;
  readonly beganMs: number;
  readonly signal: AbortSignal;
  /** Ends it; a cancelled one ends by itself unless the job is stubborn. */
  readonly end: (other?: Partial<RunResult>) => void;
}

/** A job whose runs are ended by the test, for what runs jobs. */
export class ScriptedJob implements RunnableJob {
  readonly name: string;
  /** All runs, the newest last. */
  readonly runs: ScriptedRun[] = [];
  /** Runs end at once, well. */
  endsAtOnce = false;
  /** Cancelling has no effect. */
  isStubborn = false;
  /** What it says of its snapshots. */
  nextSnapshot: () => Promise<number | null> = () => Promise.resolve(null);
  /** Services that were begun: how long they were given to stop, or null while they serve. */
  readonly services: { graceMs: number | null; end: () => void }[] = [];
  readonly serve?: (() => JobService) | undefined;
  readonly settings: Job;
  readonly #clock: Clock;
  readonly #dependencies: JobDependencies | null;

  constructor(settings: Job, clock: Clock, dependencies: JobDependencies | null = null) {
    this.name = settings.name;
    this.settings = settings;
    this.#clock = clock;
    this.#dependencies = dependencies;
    if (settings.type === 'sink' || settings.type === 'source') this.serve = () => this.#serve();
  }

  /** The run that goes on. */
  get running(): ScriptedRun {
    const run = this.runs.at(-1);
    if (run === undefined) throw new Error(`${this.name} has not run`);
    return run;
  }

  get causes(): readonly RunCause[] {
    return this.runs.map(({ cause }) => cause);
  }

  nextSnapshotMs(): Promise<number | null> {
    return this.nextSnapshot();
  }

  run({ cause, signal }: RunRequest): Promise<RunResult> {
    const beganMs = this.#clock.nowMs();
    const id = `${this.name}-${this.runs.length}-${beganMs}`;
    const about = { job: this.name, run: id };
    this.#dependencies?.onEvent({ ...about, atMs: beganMs, kind: 'runBegan', cause, identity: null });
    return new Promise((resolve) => {
      let isOver = false;
      const end = (other: Partial<RunResult> = {}): void => {
        if (isOver) return;
        isOver = true;
        const endedMs = this.#clock.nowMs();
        const result = runResult(id, beganMs, {
          job: this.name,
          cause,
          endedMs,
          durationMs: endedMs - beganMs,
          ...other,
        });
        this.#dependencies?.onEvent({ ...about, atMs: endedMs, kind: 'runEnded', result });
        resolve(result);
      };
      this.runs.push({ cause, beganMs, signal, end });
      signal.addEventListener('abort', () => {
        const error = { code: 'CANCELLED', message: (signal.reason as Error).message };
        if (!this.isStubborn) end({ outcome: 'cancelled', error });
      });
      if (this.endsAtOnce) end();
    });
  }

  #serve(): JobService {
    let end: () => void = () => undefined;
    const over = new Promise<void>((resolve) => (end = resolve));
    const service = { graceMs: null as number | null, end };
    this.services.push(service);
    return {
      listening: Promise.resolve(),
      stop(graceMs) {
        service.graceMs = Math.min(graceMs, service.graceMs ?? Infinity);
        if (graceMs === 0) end();
        return over;
      },
    };
  }
}

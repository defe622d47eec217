import type { Job } from '../config/job.ts';
import { toSnapferryError } from '../errors.ts';
import { JobLock } from './job-lock.ts';
import type { LockWaiting, ReleaseLock } from './job-lock.ts';
import type { JobWork, PeerRun } from './job-work.ts';
import { toRunError } from './run-error.ts';
import { RunLedger } from './run-ledger.ts';
import type { RunError, RunResult } from './run-result.ts';
import type { JobDependencies, RunnableJob, RunRequest } from './runnable-job.ts';
import { workOf } from './work-of.ts';

/**
 * Makes a configured job one that can be carried out. Nothing is touched before it is asked to do something.
 * @throws SnapferryError `INVALID_REQUEST` for names that its backend cannot have
 */
export function createJob(job: Job, dependencies: JobDependencies): RunnableJob {
  const runs = new JobRuns(job, dependencies);
  const work = workOf(job, dependencies, {
    runOfPeer: (identity, run) => runs.runOfPeer(identity, run),
    acquireLock: (own) => runs.acquireLock(own),
  });
  return {
    name: job.name,
    settings: job,
    run: (request) => runs.run(request, work),
    nextSnapshotMs: (signal) => work.nextSnapshotMs(signal),
    ...(work.serve !== undefined && { serve: () => work.serve?.() ?? neverServed() }),
  };
}

function neverServed(): never {
  throw new RangeError('a job that does not serve was asked to');
}

/** Keeps the accounts of a job's runs, and keeps them apart. */
class JobRuns {
  readonly #job: Job;
  readonly #dependencies: JobDependencies;
  readonly #lock: JobLock;
  #isRunning = false;

  constructor(job: Job, dependencies: JobDependencies) {
    this.#job = job;
    this.#dependencies = dependencies;
    this.#lock = new JobLock(dependencies.global.stateDir, job.name);
  }

  async run({ cause, signal, dryRun = false, waitsForOthers = false }: RunRequest, work: JobWork): Promise<RunResult> {
    const { clock, onEvent } = this.#dependencies;
    const ledger = new RunLedger({ job: this.#job.name, cause, identity: null, clock, onEvent });
    if (this.#isRunning) {
      const message = `the job ${this.#job.name} is running already in this process; wait until it has ended`;
      return ledger.end({ code: 'BUSY', message });
    }
    this.#isRunning = true;
    try {
      const wasStopped = (): boolean => signal.aborted;
      return await this.#account(ledger, wasStopped, async () => {
        const context = { ledger, signal, dryRun };
        // A dry run changes nothing, and may look on.
        if (dryRun) await work.run(cause, context);
        else
          await this.#locked(work, { signal, waitMs: waitsForOthers ? Infinity : 0 }, () => work.run(cause, context));
      });
    } finally {
      this.#isRunning = false;
    }
  }

  /** A run that a client causes. Any number at the same time: the datasets are kept apart one by one. */
  async runOfPeer(identity: string, { work, body }: PeerRun): Promise<RunResult> {
    const { clock, onEvent } = this.#dependencies;
    const ledger = new RunLedger({ job: this.#job.name, cause: 'peer', identity, clock, onEvent });
    return this.#account(
      ledger,
      () => undefined,
      () => this.#locked(work, {}, () => body(ledger)),
    );
  }

  async #locked(work: JobWork, waiting: LockWaiting, body: () => Promise<void>): Promise<void> {
    const release = await this.#lock.acquire(() => work.load(), waiting);
    try {
      await body();
    } finally {
      await release();
    }
  }

  /** @throws SnapferryError as `JobLock.acquire` does */
  acquireLock(work: JobWork): Promise<ReleaseLock> {
    return this.#lock.acquire(() => work.load());
  }

  /** Closes the account of a run. Never rejects. */
  async #account(
    ledger: RunLedger,
    wasStopped: () => boolean | undefined,
    body: () => Promise<void>,
  ): Promise<RunResult> {
    let error: RunError | null = null;
    try {
      await body();
    } catch (cause) {
      const failure = toSnapferryError(cause, 'INTERNAL', `the job ${this.#job.name}`);
      this.#dependencies.logger.warn({ err: failure, job: this.#job.name, run: ledger.run }, 'a run failed');
      error = toRunError(failure);
    }
    return ledger.end(error, wasStopped());
  }
}

import type { SnapJob } from '../config/job.ts';
import type { JobBackend } from './job-backend.ts';
import type { JobWork } from './job-work.ts';
import type { RunCause } from './run-result.ts';
import type { JobDependencies } from './runnable-job.ts';
import { SendingSide } from './sending-side.ts';
import type { RunContext } from './sending-side.ts';
import { takeAndPrune } from './take-and-prune.ts';

/** Takes snapshots, and prunes them. */
export class SnapWork implements JobWork {
  readonly load = () => Promise.resolve();
  readonly #sending: SendingSide;

  constructor(job: SnapJob, backend: JobBackend, dependencies: JobDependencies) {
    this.#sending = new SendingSide(job, backend, dependencies);
  }

  nextSnapshotMs(signal: AbortSignal): Promise<number | null> {
    return this.#sending.nextSnapshotMs(signal);
  }

  async run(cause: RunCause, context: RunContext): Promise<void> {
    await takeAndPrune(this.#sending, cause, context);
  }
}

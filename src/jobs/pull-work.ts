import type { PullJob } from '../config/job.ts';
import { connectPeer } from './connect-peer.ts';
import type { JobBackend } from './job-backend.ts';
import type { JobWork } from './job-work.ts';
import { pullAndPrune } from './pull-and-prune.ts';
import { ReceivingSide } from './receiving-side.ts';
import type { RunCause } from './run-result.ts';
import type { JobDependencies } from './runnable-job.ts';
import type { RunContext } from './sending-side.ts';

/** Fetches from another machine, and prunes the copies. */
export class PullWork implements JobWork {
  readonly nextSnapshotMs = () => Promise.resolve(null);
  readonly #job: PullJob;
  readonly #backend: JobBackend;
  readonly #dependencies: JobDependencies;
  readonly #receiving: ReceivingSide;

  constructor(job: PullJob, backend: JobBackend, dependencies: JobDependencies) {
    this.#job = job;
    this.#backend = backend;
    this.#dependencies = dependencies;
    this.#receiving = new ReceivingSide(job, backend, dependencies);
  }

  load(): Promise<void> {
    return this.#receiving.load();
  }

  async run(_cause: RunCause, context: RunContext): Promise<void> {
    const { connect, filesystems } = this.#job;
    const { localListeners, logger } = this.#dependencies;
    await pullAndPrune({
      job: this.#job,
      backend: this.#backend,
      dependencies: this.#dependencies,
      receiving: this.#receiving,
      context,
      connect: (signal) => connectPeer(connect, { localListeners, logger, signal }),
      isMeant: filesystems.filter.matches,
    });
  }
}

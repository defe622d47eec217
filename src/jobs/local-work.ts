import type { LocalJob } from '../config/job.ts';
import { LocalRPC } from '../rpc/local-rpc.ts';
import type { JobBackend } from './job-backend.ts';
import type { JobWork } from './job-work.ts';
import { assertNotCancelled } from './prune-dataset.ts';
import { pullAndPrune } from './pull-and-prune.ts';
import { ReceivingSide } from './receiving-side.ts';
import type { RunCause } from './run-result.ts';
import type { JobDependencies } from './runnable-job.ts';
import { SendingSide } from './sending-side.ts';
import type { RunContext } from './sending-side.ts';
import { takesSnapshots } from './take-and-prune.ts';

/** Takes snapshots, copies them to another place of this machine, and prunes both. */
export class LocalWork implements JobWork {
  readonly #job: LocalJob;
  readonly #backend: JobBackend;
  readonly #dependencies: JobDependencies;
  readonly #sending: SendingSide;
  readonly #receiving: ReceivingSide;

  constructor(job: LocalJob, backend: JobBackend, dependencies: JobDependencies) {
    this.#job = job;
    this.#backend = backend;
    this.#dependencies = dependencies;
    this.#sending = new SendingSide(job, backend, dependencies, job.send);
    this.#receiving = new ReceivingSide(job, backend, dependencies);
  }

  load(): Promise<void> {
    return this.#receiving.load();
  }

  nextSnapshotMs(signal: AbortSignal): Promise<number | null> {
    return this.#sending.nextSnapshotMs(signal);
  }

  async run(cause: RunCause, context: RunContext): Promise<void> {
    const datasets = await this.#sending.datasets(context.signal);
    if (takesSnapshots(cause)) await this.#sending.takeSnapshots(datasets, context);
    assertNotCancelled(context.signal, 'the run');
    const source = await this.#sending.source(this.#job.replication.protection);
    const { logger } = this.#dependencies;
    const { common } = await pullAndPrune({
      job: this.#job,
      backend: this.#backend,
      dependencies: this.#dependencies,
      receiving: this.#receiving,
      context,
      connect: () => Promise.resolve(LocalRPC.connect(source, { logger })),
      isMeant: this.#job.filesystems.filter.matches,
      willHaveSnapshot: takesSnapshots(cause) && this.#job.snapshotting.type !== 'manual',
    });
    await this.#sending.prune(datasets, common, context);
    assertNotCancelled(context.signal, 'the run');
  }
}

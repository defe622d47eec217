import type { PushJob } from '../config/job.ts';
import type { DatasetPath } from '../dataset.ts';
import type { RPCRequester } from '../rpc/interfaces.ts';
import { LocalRPC } from '../rpc/local-rpc.ts';
import { connectPeer } from './connect-peer.ts';
import type { JobBackend } from './job-backend.ts';
import type { JobWork } from './job-work.ts';
import { assertNotCancelled } from './prune-dataset.ts';
import { pullOptions, wantedBy } from './pull-and-prune.ts';
import { planDatasets } from './pull-datasets.ts';
import { pushDatasets } from './push-datasets.ts';
import { remoteSink } from './remote-sink.ts';
import type { RunCause } from './run-result.ts';
import type { JobDependencies } from './runnable-job.ts';
import { SendingSide } from './sending-side.ts';
import type { RunContext } from './sending-side.ts';
import { takesSnapshots } from './take-and-prune.ts';

/** Takes snapshots, sends them to another machine, and prunes them. */
export class PushWork implements JobWork {
  readonly load = () => Promise.resolve();
  readonly #job: PushJob;
  readonly #backend: JobBackend;
  readonly #dependencies: JobDependencies;
  readonly #sending: SendingSide;

  constructor(job: PushJob, backend: JobBackend, dependencies: JobDependencies) {
    this.#job = job;
    this.#backend = backend;
    this.#dependencies = dependencies;
    this.#sending = new SendingSide(job, backend, dependencies, job.send);
  }

  nextSnapshotMs(signal: AbortSignal): Promise<number | null> {
    return this.#sending.nextSnapshotMs(signal);
  }

  async run(cause: RunCause, context: RunContext): Promise<void> {
    const datasets = await this.#sending.datasets(context.signal);
    if (takesSnapshots(cause)) await this.#sending.takeSnapshots(datasets, context);
    assertNotCancelled(context.signal, 'the run');
    const common = context.dryRun ? await this.#plan(cause, context) : await this.#push(datasets, context);
    assertNotCancelled(context.signal, 'the run');
    await this.#sending.prune(datasets, common, context);
    assertNotCancelled(context.signal, 'the run');
  }

  async #push(datasets: readonly DatasetPath[], { ledger, signal }: RunContext): Promise<ReadonlyMap<string, bigint>> {
    const { name, replication, initialReplication } = this.#job;
    const { clock, logger } = this.#dependencies;
    return pushDatasets(
      {
        connect: (connecting) => this.#connect(connecting),
        source: await this.#sending.source(replication.protection),
        datasets,
        formatName: this.#backend.formatName,
        jobId: name,
        initialReplication,
        isWanted: wantedBy(replication.snapshotPrefix),
        settings: replication,
        ledger,
        clock,
        logger,
      },
      signal,
    );
  }

  /** The other side has the plan; what it lists is enough to make one here. */
  async #plan(cause: RunCause, context: RunContext): Promise<ReadonlyMap<string, bigint>> {
    const { signal } = context;
    const { logger } = this.#dependencies;
    const source = await this.#sending.source(this.#job.replication.protection);
    await using far = await this.#connect(signal);
    const connect = () => Promise.resolve(LocalRPC.connect(source, { logger }));
    const options = pullOptions({
      job: this.#job,
      backend: this.#backend,
      dependencies: this.#dependencies,
      context,
      connect,
    });
    const willHaveSnapshot = takesSnapshots(cause) && this.#job.snapshotting.type !== 'manual';
    const target = (dataset: DatasetPath): DatasetPath => dataset;
    await planDatasets(
      { ...options, sink: remoteSink(far, signal), takeTurn: () => null, target },
      signal,
      willHaveSnapshot,
    );
    return new Map();
  }

  #connect(signal: AbortSignal): Promise<RPCRequester> {
    const { localListeners, logger } = this.#dependencies;
    return connectPeer(this.#job.connect, { localListeners, logger, signal });
  }
}

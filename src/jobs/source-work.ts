import type { SourceJob } from '../config/job.ts';
import { formatDatasetPath } from '../dataset.ts';
import type { DatasetPath } from '../dataset.ts';
import { SnapferryError } from '../errors.ts';
import { delegating } from '../handlers/delegating.ts';
import type { RPCHandler } from '../rpc/interfaces.ts';
import type { Session } from '../rpc/session.ts';
import type { JobBackend } from './job-backend.ts';
import { serveJob } from './job-server.ts';
import type { JobWork, RunOfPeer } from './job-work.ts';
import { LeftWork } from './left-work.ts';
import type { RunCause } from './run-result.ts';
import type { JobDependencies, JobService } from './runnable-job.ts';
import { SendingSide } from './sending-side.ts';
import type { RunContext } from './sending-side.ts';
import { takeAndPrune } from './take-and-prune.ts';

/** What a serving job is made with. */
export interface ServingOptions {
  readonly dependencies: JobDependencies;
  readonly runOfPeer: RunOfPeer;
}

/** Looks after the snapshots of a `source`, and offers them. */
export class SourceWork implements JobWork {
  readonly load = () => Promise.resolve();
  readonly #job: SourceJob;
  readonly #options: ServingOptions;
  readonly #sending: SendingSide;

  constructor(job: SourceJob, backend: JobBackend, options: ServingOptions) {
    this.#job = job;
    this.#options = options;
    this.#sending = new SendingSide(job, backend, options.dependencies, job.send);
  }

  nextSnapshotMs(signal: AbortSignal): Promise<number | null> {
    return this.#sending.nextSnapshotMs(signal);
  }

  async run(cause: RunCause, context: RunContext): Promise<void> {
    await takeAndPrune(this.#sending, cause, context);
  }

  serve(): JobService {
    const { name, serve, replication } = this.#job;
    let source: RPCHandler | null = null;
    const left = new LeftWork(this.#options.dependencies.clock);
    /** Datasets of which something has arrived in a session, by name. */
    const arrived = new WeakMap<Session, Map<string, DatasetPath>>();
    return serveJob({
      job: name,
      serve,
      dependencies: this.#options.dependencies,
      prepare: async () => {
        source = await this.#sending.source(replication.protection);
      },
      handlerFor(session) {
        if (source === null)
          throw new SnapferryError('BUSY', `the job ${name} is not ready yet; try again in a moment`);
        const own = new Map<string, DatasetPath>();
        arrived.set(session, own);
        return tellingArrivals(source, (dataset) => own.set(formatDatasetPath(dataset), dataset));
      },
      onSessionEnd: (session) => {
        const datasets = [...(arrived.get(session)?.values() ?? [])];
        if (datasets.length > 0) left.begin((signal) => this.#pruneAfter(session.identity, datasets, signal));
      },
      leave: (graceMs) => left.end(graceMs),
    });
  }

  /** Where nobody takes snapshots here, there is no other time to prune but when something has been fetched. */
  async #pruneAfter(identity: string, datasets: readonly DatasetPath[], signal: AbortSignal): Promise<void> {
    const { snapshotting, pruning } = this.#job;
    if (snapshotting.type !== 'manual' || pruning.sender === null) return;
    await this.#options.runOfPeer(identity, {
      work: this,
      body: (ledger) => this.#sending.prune(datasets, new Map(), { ledger, signal, dryRun: false }),
    });
  }
}

function tellingArrivals(source: RPCHandler, onArrived: (dataset: DatasetPath) => void): RPCHandler {
  const transferCompleted = source.transferCompleted?.bind(source);
  if (transferCompleted === undefined) return source;
  return delegating(source, {
    async transferCompleted(request, context) {
      await transferCompleted(request, context);
      onArrived(request.filesystem);
    },
  });
}

import type { SourceJob } from '../config/job.ts';
import { formatDatasetPath } from '../dataset.ts';
import type { DatasetPath } from '../dataset.ts';
import { SnapferryError } from '../errors.ts';
import { delegating } from '../handlers/delegating.ts';
import type { RPCHandler } from '../rpc/interfaces.ts';
import type { Session } from '../rpc/session.ts';
import type { JobBackend } from './job-backend.ts';
import type { ReleaseLock } from './job-lock.ts';
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
  /** Takes the lock of the job, for a client that is being served. @throws SnapferryError as `JobLock.acquire` does */
  readonly acquireLock: (work: JobWork) => Promise<ReleaseLock>;
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
    const served = new WeakMap<Session, ServedClient>();
    return serveJob({
      job: name,
      serve,
      dependencies: this.#options.dependencies,
      prepare: async () => {
        source = await this.#sending.source(replication.protection);
      },
      handlerFor: (session) => {
        if (source === null)
          throw new SnapferryError('BUSY', `the job ${name} is not ready yet; try again in a moment`);
        const client = new ServedClient(() => this.#options.acquireLock(this));
        served.set(session, client);
        return client.watched(source);
      },
      onSessionEnd: (session) => {
        const client = served.get(session);
        if (client === undefined) return;
        const datasets = [...client.arrived.values()];
        left.begin(async (signal) => {
          await client.leave();
          if (datasets.length > 0) await this.#pruneAfter(session.identity, datasets, signal);
        });
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

/** What one client fetches. The job is this process's own from its first transfer on, so that no other one prunes meanwhile. */
class ServedClient {
  /** Datasets of which something has arrived, by name. */
  readonly arrived = new Map<string, DatasetPath>();
  readonly #acquireLock: () => Promise<ReleaseLock>;
  #lock: Promise<ReleaseLock> | null = null;

  constructor(acquireLock: () => Promise<ReleaseLock>) {
    this.#acquireLock = acquireLock;
  }

  watched(source: RPCHandler): RPCHandler {
    const transferCompleted = source.transferCompleted?.bind(source);
    return delegating(source, {
      initialTransfer: async (request, context) => {
        await this.#locked();
        return source.initialTransfer(request, context);
      },
      incrementalTransfer: async (request, context) => {
        await this.#locked();
        return source.incrementalTransfer(request, context);
      },
      ...(transferCompleted && {
        transferCompleted: async (request, context) => {
          await transferCompleted(request, context);
          this.arrived.set(formatDatasetPath(request.filesystem), request.filesystem);
        },
      }),
    });
  }

  /** The session is over. Never rejects. */
  async leave(): Promise<void> {
    const release = await this.#lock?.catch(() => undefined);
    await release?.();
  }

  async #locked(): Promise<void> {
    const lock = (this.#lock ??= this.#acquireLock());
    try {
      await lock;
    } catch (error) {
      // The next request may find the other process gone.
      if (this.#lock === lock) this.#lock = null;
      throw error;
    }
  }
}

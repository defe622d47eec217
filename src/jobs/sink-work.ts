import type { SinkJob } from '../config/job.ts';
import type { DatasetPath } from '../dataset.ts';
import { isErrorCode, SnapferryError } from '../errors.ts';
import { confinedSink, placeOfIdentity } from '../handlers/confine-dataset.ts';
import { restricted } from '../handlers/restricted.ts';
import { boundReport } from '../replication/pull-me.ts';
import type { PullMeRequest, PullReport, RPCHandler, RPCRequester } from '../rpc/interfaces.ts';
import { eitherSignal } from './either-signal.ts';
import type { JobBackend } from './job-backend.ts';
import { serveJob } from './job-server.ts';
import type { JobWork } from './job-work.ts';
import { LeftWork } from './left-work.ts';
import { pullDatasets } from './pull-datasets.ts';
import type { Pulled } from './pull-datasets.ts';
import { ReceivingSide } from './receiving-side.ts';
import type { RunLedger } from './run-ledger.ts';
import type { RunCause, RunError } from './run-result.ts';
import type { JobService } from './runnable-job.ts';
import type { RunContext } from './sending-side.ts';
import type { ServingOptions } from './source-work.ts';

/** What a sink does about what is busy: the client waits meanwhile. */
const retry = { attemptsMax: 4, waitMsMin: 1000, waitMsMax: 15_000 };
const stallMsMax = 30 * 60_000;

/** Stores what clients push, and prunes it. */
export class SinkWork implements JobWork {
  readonly nextSnapshotMs = () => Promise.resolve(null);
  readonly #job: SinkJob;
  readonly #backend: JobBackend;
  readonly #options: ServingOptions;
  readonly #receiving: ReceivingSide;

  constructor(job: SinkJob, backend: JobBackend, options: ServingOptions) {
    this.#job = job;
    this.#backend = backend;
    this.#options = options;
    this.#receiving = new ReceivingSide(job, backend, options.dependencies);
  }

  load(): Promise<void> {
    return this.#receiving.load();
  }

  /** Prunes the copies of all clients. */
  async run(_cause: RunCause, context: RunContext): Promise<void> {
    const { root: place } = this.#receiving;
    // Two clients may have datasets of one name, so here each copy has its own.
    const nameOf = (dataset: DatasetPath): string => this.#backend.formatName([...place, ...dataset]);
    await this.#receiving.prune({ place, isMeant: () => true, nameOf, common: new Map() }, context);
  }

  serve(): JobService {
    const { name, serve } = this.#job;
    const left = new LeftWork(this.#options.dependencies.clock);
    return serveJob({
      job: name,
      serve,
      dependencies: this.#options.dependencies,
      prepare: () => Promise.resolve(),
      handlerFor: ({ identity }) => this.#handlerFor(identity, left),
      leave: (graceMs) => left.end(graceMs),
    });
  }

  #handlerFor(identity: string, left: LeftWork): RPCHandler {
    const place = placeOfIdentity(this.#receiving.root, identity);
    const { checkDataset, readResumeToken } = this.#backend;
    const handler: RPCHandler = {
      ...this.#listing(place),
      pullMe: (request, { signal }) =>
        Promise.resolve((client) => this.#receive({ request, client, identity, place, signal }, left)),
    };
    const isOurs = (): boolean => true;
    return restricted(handler, { mayList: isOurs, mayRead: () => false, mayPush: true, checkDataset, readResumeToken });
  }

  /** What a client sees of its copies, under its own names: enough to plan a push, and nothing to be read. */
  #listing(place: DatasetPath): RPCHandler {
    const sink = confinedSink(this.#receiving.sink(''), place);
    const unreadable = () => Promise.reject(new SnapferryError('ACCESS_DENIED', 'nothing is read from a sink'));
    return {
      filesystems: async (_request, { signal }) =>
        (await this.#receiving.copiesBelow(place, signal)).map((copy) => copy.slice(place.length)),
      async filesystemVersions({ filesystem }, { signal }) {
        const versions = await sink.filesystemVersions([...place, ...filesystem], signal);
        if (versions !== null) return versions;
        throw new SnapferryError('DATASET_NOT_FOUND', `there is no copy of ${filesystem.join('/')} here`);
      },
      initialTransfer: unreadable,
      incrementalTransfer: unreadable,
    };
  }

  /** One push is one run. The client has its report before anything is pruned: it need not wait for that. */
  #receive(push: Push, left: LeftWork): Promise<PullReport> {
    return new Promise((resolve, reject) => {
      left.begin(async () => {
        const result = await this.#options.runOfPeer(push.identity, {
          work: this,
          body: async (ledger) => {
            const { report, common } = await this.#pull(push, ledger, left);
            resolve(boundReport(report));
            await this.#prune(push, ledger, { common, signal: left.signal });
          },
        });
        // Without effect once there was a report.
        reject(asError(result.error));
      });
    });
  }

  async #pull({ request, client, identity, place, signal }: Push, ledger: RunLedger, left: LeftWork): Promise<Pulled> {
    const { clock, logger } = this.#options.dependencies;
    const stop = eitherSignal(signal, left.signal);
    return pullDatasets(
      {
        connect: () => Promise.resolve(client),
        mayReconnect: false,
        sink: confinedSink(this.#receiving.sink(identity), place),
        target: (dataset) => [...place, ...dataset],
        takeTurn: (copy) => this.#receiving.takeTurn(copy),
        formatName: this.#backend.formatName,
        jobId: this.#job.name,
        initialReplication: request.initialReplicationPolicy,
        concurrency: { steps: 1, sizeEstimates: 1 },
        settings: { retry, stallMsMax },
        ledger,
        clock,
        logger,
      },
      stop.signal,
    ).finally(stop.unlink);
  }

  async #prune(
    { place }: Push,
    ledger: RunLedger,
    { common, signal }: { readonly common: ReadonlyMap<string, bigint>; readonly signal: AbortSignal },
  ): Promise<void> {
    const request = { place, isMeant: () => true, nameOf: this.#backend.formatName, common };
    await this.#receiving.prune(request, { ledger, signal, dryRun: false });
  }
}

interface Push {
  readonly request: PullMeRequest;
  readonly client: RPCRequester;
  readonly identity: string;
  readonly place: DatasetPath;
  /** Of the request: its client has gone, or has changed its mind. */
  readonly signal: AbortSignal;
}

function asError(error: RunError | null): SnapferryError {
  const { code, message } = error ?? { code: 'INTERNAL', message: 'the push ended without a report' };
  return new SnapferryError(isErrorCode(code) ? code : 'INTERNAL', message);
}

import type { SendingJob } from '../config/job.ts';
import type { ReplicationSettings, SendSettings } from '../config/transfer-settings.ts';
import { formatDatasetPath } from '../dataset.ts';
import type { DatasetPath } from '../dataset.ts';
import { SnapferryError } from '../errors.ts';
import { restricted } from '../handlers/restricted.ts';
import type { Progress, RPCHandler } from '../rpc/interfaces.ts';
import { LocalRPC } from '../rpc/local-rpc.ts';
import { Bandwidth, limitedSource } from './bandwidth.ts';
import type { JobBackend } from './job-backend.ts';
import { newestSnapshotMs, nextSnapshotMs } from './next-snapshot.ts';
import { plainSend } from './plain-send.ts';
import { pruneDataset } from './prune-dataset.ts';
import { sourceInTurn } from './read-turns.ts';
import type { RunLedger } from './run-ledger.ts';
import type { JobDependencies } from './runnable-job.ts';
import { takeSnapshotRound } from './snapshot-round.ts';

/** What every part of a run needs. */
export interface RunContext {
  readonly ledger: RunLedger;
  readonly signal: AbortSignal;
  readonly dryRun: boolean;
}

/** The datasets of this machine that a job takes snapshots of, offers, and prunes. */
export class SendingSide {
  readonly #job: SendingJob;
  readonly #backend: JobBackend;
  readonly #dependencies: JobDependencies;
  readonly #bandwidth: Bandwidth | null;
  readonly #send: SendSettings;
  /** When the newest round of snapshots began. */
  #roundMs: number | null = null;

  /** @param send how they are sent; absent for a job that sends none */
  constructor(job: SendingJob, backend: JobBackend, dependencies: JobDependencies, send: SendSettings = plainSend) {
    this.#job = job;
    this.#backend = backend;
    this.#dependencies = dependencies;
    this.#send = send;
    const { bandwidthLimit } = send;
    this.#bandwidth = bandwidthLimit === null ? null : new Bandwidth(bandwidthLimit, dependencies.clock);
  }

  /**
   * Offers the datasets, and nothing else, to peers that are not trusted.
   * @throws SnapferryError when it cannot be found out what there is
   */
  async source(protection: ReplicationSettings['protection']): Promise<RPCHandler> {
    const { filesystems: selection, snapshotFolder } = this.#job;
    const { backend, checkDataset, readResumeToken } = this.#backend;
    const source = await this.#backend.source({ selection, send: this.#send, protection, snapshotFolder });
    const inTurn = sourceInTurn(source, backend, this.#dependencies.localListeners.turns);
    return restricted(limitedSource(inTurn, this.#bandwidth), {
      mayList: selection.filter.matches,
      mayRead: selection.filter.matches,
      mayPush: false,
      checkDataset,
      readResumeToken,
    });
  }

  /**
   * The datasets there are.
   * @throws SnapferryError `DATASET_NOT_FOUND` if there is none, or as the backend fails
   */
  async datasets(signal: AbortSignal): Promise<readonly DatasetPath[]> {
    const source = await this.source({ initial: 'nothing', incremental: 'nothing' });
    await using client = LocalRPC.connect(source, { logger: this.#dependencies.logger });
    const found = await client.filesystems({ roots: null }, { signal });
    if (found.length > 0) return found;
    const text = 'there is no dataset that "filesystems" means; see "snapferry test filesystems"';
    throw new SnapferryError('DATASET_NOT_FOUND', text);
  }

  /** Takes a snapshot of each, unless that is left to others. What fails is in the ledger. Never rejects. */
  async takeSnapshots(
    datasets: readonly DatasetPath[],
    context: RunContext,
    onProgress?: (progress: Progress) => void,
  ): Promise<void> {
    const { snapshotting } = this.#job;
    if (snapshotting.type === 'manual') return;
    const { clock, logger } = this.#dependencies;
    if (!context.dryRun) this.#roundMs = clock.nowMs();
    await takeSnapshotRound({
      ...context,
      job: this.#job,
      naming: snapshotting,
      backend: this.#backend,
      datasets,
      clock,
      logger,
      ...(onProgress !== undefined && { onProgress }),
    });
  }

  /** As `RunnableJob.nextSnapshotMs`. */
  async nextSnapshotMs(signal: AbortSignal): Promise<number | null> {
    const { snapshotting } = this.#job;
    const { clock, logger } = this.#dependencies;
    return nextSnapshotMs({
      snapshotting,
      nowMs: clock.nowMs(),
      roundMs: this.#roundMs,
      newestMs: async () => {
        if (snapshotting.type === 'manual') return null;
        const source = await this.source({ initial: 'nothing', incremental: 'nothing' });
        await using client = LocalRPC.connect(source, { logger });
        const datasets = await client.filesystems({ roots: null }, { signal });
        return await newestSnapshotMs(client, datasets, { prefix: snapshotting.prefix, signal, logger });
      },
    });
  }

  /**
   * Removes what is not to be kept of each. What fails is in the ledger. Never rejects.
   * @param common guid of the newest version that another side is known to have, by the name `formatDatasetPath` writes
   */
  async prune(
    datasets: readonly DatasetPath[],
    common: ReadonlyMap<string, bigint>,
    { ledger, signal, dryRun }: RunContext,
  ): Promise<void> {
    const { name, snapshotFolder, pruning } = this.#job;
    if (pruning.sender === null) return;
    const { backend, formatName } = this.#backend;
    const { clock, logger, localListeners } = this.#dependencies;
    for (const dataset of datasets) {
      if (signal.aborted) return;
      const guid = common.get(formatDatasetPath(dataset));
      await pruneDataset({
        dataset: formatName(dataset),
        side: 'sender',
        retention: pruning.sender,
        destroyer: this.#backend.destroyer({ dataset, isCopy: false, receivedAt: () => null, snapshotFolder }),
        common: guid === undefined ? null : { peer: `the job ${name}`, guid },
        takeTurn: () => localListeners.turns.tryChange(backend, dataset),
        nowMs: clock.nowMs(),
        dryRun,
        ledger,
        logger,
        signal,
      });
    }
  }
}

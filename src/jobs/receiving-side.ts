import { join } from 'node:path';
import type { ReceivingJob } from '../config/job.ts';
import { formatDatasetPath } from '../dataset.ts';
import type { DatasetPath } from '../dataset.ts';
import { toSnapferryError } from '../errors.ts';
import { isWithin } from '../handlers/confine-dataset.ts';
import type { ReplicationSink } from '../sink.ts';
import { Bandwidth, limitedSink } from './bandwidth.ts';
import type { EndTurn } from './dataset-turns.ts';
import { delegatingSink } from './delegating-sink.ts';
import type { JobBackend } from './job-backend.ts';
import { pruneDataset } from './prune-dataset.ts';
import { ReceiveTimes } from './receive-times.ts';
import type { JobDependencies } from './runnable-job.ts';
import type { RunContext } from './sending-side.ts';

/** Which copies are to be pruned, and what is known of them. */
export interface PruneCopiesRequest {
  /** Below which they are. */
  readonly place: DatasetPath;
  /** Which of them are the job's own, by their names at the source. */
  readonly isMeant: (dataset: DatasetPath) => boolean;
  /** Their name at the source, for people, from that name. */
  readonly nameOf: (dataset: DatasetPath) => string;
  /** Guid of the newest version that the source has, too, by the name at the source, as `formatDatasetPath` writes it. */
  readonly common: ReadonlyMap<string, bigint>;
}

/** The copies that a job stores on this machine, and prunes. */
export class ReceivingSide {
  /** Below which everything is stored. */
  readonly root: DatasetPath;
  readonly #job: ReceivingJob;
  readonly #backend: JobBackend;
  readonly #dependencies: JobDependencies;
  readonly #bandwidth: Bandwidth | null;
  /** Of ZFS, which does not know it: a received snapshot has the time that its sender gave it. */
  readonly #times: ReceiveTimes | null;

  constructor(job: ReceivingJob, backend: JobBackend, dependencies: JobDependencies) {
    this.#job = job;
    this.#backend = backend;
    this.#dependencies = dependencies;
    this.root = backend.parseName(job.rootFs);
    const { bandwidthLimit } = job.recv;
    this.#bandwidth = bandwidthLimit === null ? null : new Bandwidth(bandwidthLimit, dependencies.clock);
    const path = join(dependencies.global.stateDir, 'received', `${job.name}.ndjson`);
    this.#times = backend.backend === 'zfs' ? new ReceiveTimes(path, dependencies) : null;
  }

  /**
   * Reads what earlier runs have noted. To be called when the lock of the job was taken.
   * @throws SnapferryError `INTERNAL` if that cannot be read
   */
  async load(): Promise<void> {
    await this.#times?.load();
  }

  /** Stores copies. @param identity whose data it is; empty: the job's own */
  sink(identity: string): ReplicationSink {
    const { name: jobId, recv } = this.#job;
    const sink = limitedSink(this.#backend.sink({ recv, jobId, identity }), this.#bandwidth);
    const times = this.#times;
    if (times === null) return sink;
    return delegatingSink(sink, {
      receive: async (request, bytes, signal) => {
        const result = await sink.receive(request, bytes, signal);
        await times.note(request.filesystem, request.to.guid).catch((error: unknown) => {
          // It has arrived; without the note it is only kept for longer.
          this.#dependencies.logger.error({ err: error }, 'the time of a receipt could not be noted');
        });
        return result;
      },
    });
  }

  /** For nobody else to change a copy meanwhile; null: somebody does. */
  takeTurn(copy: DatasetPath): EndTurn | null {
    return this.#dependencies.localListeners.turns.tryChange(this.#backend.backend, copy);
  }

  /**
   * Removes what is not to be kept of the copies below a place. What fails with one is in the ledger.
   * @throws SnapferryError when the copies cannot be listed
   */
  async prune(request: PruneCopiesRequest, { ledger, signal, dryRun }: RunContext): Promise<void> {
    const { receiver } = this.#job.pruning;
    if (receiver === null) return;
    const { place, isMeant, nameOf, common } = request;
    for (const copy of await this.copiesBelow(place, signal)) {
      const dataset = copy.slice(place.length);
      if (signal.aborted) return;
      if (!isMeant(dataset)) continue;
      const guid = common.get(formatDatasetPath(dataset));
      await pruneDataset({
        dataset: nameOf(dataset),
        side: 'receiver',
        retention: receiver,
        destroyer: this.destroyer(copy),
        common: guid === undefined ? null : { peer: 'the source', guid },
        takeTurn: () => this.takeTurn(copy),
        nowMs: this.#dependencies.clock.nowMs(),
        dryRun,
        ledger,
        logger: this.#dependencies.logger,
        signal,
        onListed: (guids) => void this.#times?.keepOnly(copy, guids),
      });
    }
  }

  /** What destroys snapshots of a copy. */
  destroyer(copy: DatasetPath) {
    const receivedAt = (guid: bigint): string | null => this.#times?.of(copy, guid) ?? null;
    return this.#backend.destroyer({ dataset: copy, isCopy: true, receivedAt, snapshotFolder: null });
  }

  /**
   * The copies stored below a place.
   * @throws SnapferryError when they cannot be listed
   */
  async copiesBelow(place: DatasetPath, signal: AbortSignal): Promise<readonly DatasetPath[]> {
    try {
      return (await this.#backend.copiesBelow(place, signal)).filter((copy) => isWithin(place, copy));
    } catch (error) {
      throw toSnapferryError(error, 'INTERNAL', `listing the copies below ${this.#backend.formatName(place)}`);
    }
  }
}

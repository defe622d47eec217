import type { Job } from '../config/job.ts';
import type { KeepRule, PruningSettings } from '../config/pruning-settings.ts';
import type { DatasetPath } from '../dataset.ts';
import { SnapferryError } from '../errors.ts';
import type { RetentionPlan } from '../retention/plan-retention.ts';
import type { SnapshotDestroyer } from '../snapshot-destroyer.ts';
import { backendOf } from './backend-of.ts';
import { planPruning } from './prune-dataset.ts';
import { ReceivingSide } from './receiving-side.ts';
import type { JobDependencies } from './runnable-job.ts';
import { SendingSide } from './sending-side.ts';

/** Which of a job's snapshots are meant: those it takes, or the copies it stores. */
export type PrunedSide = keyof PruningSettings;

/** What pruning would do to one dataset now. */
export interface DatasetRetention {
  /** As its backend writes it. */
  readonly dataset: string;
  readonly plan: RetentionPlan;
}

/**
 * The rules of one side of a job.
 * @throws SnapferryError `INVALID_REQUEST` for a side that the job does not prune
 */
export function retentionOf(job: Job, side: PrunedSide): { keep: readonly KeepRule[]; others: 'keep' | 'destroy' } {
  const retention = job.pruning[side];
  if (retention !== null) return retention;
  const text = `the job ${job.name} (${job.type}) removes nothing of its ${side} side: it has no rules under "pruning" for that`;
  throw new SnapferryError('INVALID_REQUEST', text);
}

/**
 * What pruning would do now to each dataset of one side of a job. Changes nothing, and asks nobody else: what only the other side of a
 * replication knows is not in it.
 * @throws SnapferryError `INVALID_REQUEST` for a side that the job does not prune; when what there is cannot be listed
 */
export async function* planRetentionOfJob(
  job: Job,
  side: PrunedSide,
  dependencies: JobDependencies,
  signal: AbortSignal,
): AsyncGenerator<DatasetRetention> {
  const retention = retentionOf(job, side);
  const { global, logger, clock } = dependencies;
  const backend = backendOf(job.backend, { tools: global.tools, logger, clock });
  for await (const [dataset, destroyer] of prunedDatasets(job, side, { dependencies, signal })) {
    try {
      const nowMs = clock.nowMs();
      const plan = await planPruning({ side, retention, destroyer, common: null, nowMs, signal });
      yield { dataset: backend.formatName(dataset), plan };
    } catch (error) {
      // Nothing has been stored of it yet.
      if (!(error instanceof SnapferryError && error.code === 'DATASET_NOT_FOUND')) throw error;
    }
  }
}

async function* prunedDatasets(
  job: Job,
  side: PrunedSide,
  { dependencies, signal }: { readonly dependencies: JobDependencies; readonly signal: AbortSignal },
): AsyncGenerator<readonly [DatasetPath, SnapshotDestroyer]> {
  const { global, logger, clock } = dependencies;
  const backend = backendOf(job.backend, { tools: global.tools, logger, clock });
  if (side === 'sender' && 'snapshotting' in job) {
    const { snapshotFolder } = job;
    for (const dataset of await new SendingSide(job, backend, dependencies).datasets(signal)) {
      yield [dataset, backend.destroyer({ dataset, isCopy: false, receivedAt: () => null, snapshotFolder })];
    }
  }
  if (side === 'receiver' && 'rootFs' in job) {
    const receiving = new ReceivingSide(job, backend, dependencies);
    await receiving.load();
    const isMeant = job.type === 'sink' ? () => true : job.filesystems.filter.matches;
    for (const copy of await receiving.copiesBelow(receiving.root, signal)) {
      if (isMeant(copy.slice(receiving.root.length))) yield [copy, receiving.destroyer(copy)];
    }
  }
}

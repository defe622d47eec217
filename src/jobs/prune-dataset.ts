import { formatVersion } from '../dataset.ts';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import type { PruningSettings } from '../config/pruning-settings.ts';
import { executeRetention } from '../retention/execute-retention.ts';
import { destroyedBy, planRetention } from '../retention/plan-retention.ts';
import type { CommonVersions, RetentionPlan } from '../retention/plan-retention.ts';
import type { Logger } from '../rpc/interfaces.ts';
import type { SnapshotDestroyer } from '../snapshot-destroyer.ts';
import type { EndTurn } from './dataset-turns.ts';
import { toRunError } from './run-error.ts';
import type { RunLedger } from './run-ledger.ts';
import type { RunError } from './run-result.ts';

/** One side of one dataset to be pruned. */
export interface PruneOptions {
  /** Its name at the source. */
  readonly dataset: string;
  readonly side: 'sender' | 'receiver';
  readonly retention: NonNullable<PruningSettings['sender']>;
  readonly destroyer: SnapshotDestroyer;
  /** The newest version that the other side is known to have; null: nothing is known. */
  readonly common: { readonly peer: string; readonly guid: bigint } | null;
  /** For nobody else to replicate it meanwhile; null: somebody does. */
  readonly takeTurn: () => EndTurn | null;
  readonly nowMs: number;
  readonly dryRun: boolean;
  readonly ledger: RunLedger;
  readonly logger: Logger;
  readonly signal: AbortSignal;
  /** What there is, as the planner was told. */
  readonly onListed?: (guids: ReadonlySet<bigint>) => void;
}

/**
 * Removes what the rules of one side do not keep of a dataset. Nothing is done where nothing has been stored yet, and later where it is
 * being replicated. What fails is in the ledger. Never rejects.
 */
export async function pruneDataset(options: PruneOptions): Promise<void> {
  const { dataset, ledger, takeTurn } = options;
  const endTurn = takeTurn();
  if (endTurn === null) {
    ledger.notice(dataset, `nothing was pruned, for it is being replicated at the moment; the next run does it`);
    return;
  }
  try {
    await prune(options);
  } catch (error) {
    const failure = toSnapferryError(error, 'INTERNAL', `pruning ${dataset}`);
    if (failure.code !== 'DATASET_NOT_FOUND') ledger.fail(dataset, toRunError(failure));
  } finally {
    endTurn();
  }
}

/**
 * What pruning would do.
 * @throws SnapferryError as `SnapshotDestroyer.list` does
 */
export async function planPruning(
  options: Pick<PruneOptions, 'side' | 'retention' | 'destroyer' | 'common' | 'nowMs' | 'onListed'> & {
    readonly signal?: AbortSignal | undefined;
  },
): Promise<RetentionPlan> {
  const { side, retention, destroyer, common, nowMs, onListed, signal } = options;
  const stored = await destroyer.list(signal);
  onListed?.(new Set(stored.versions.map(({ guid }) => guid)));
  const reached = stored.versions.find(({ type, guid }) => type === 'snapshot' && guid === common?.guid);
  const isSender = side === 'sender' && common !== null && reached !== undefined;
  const told: CommonVersions[] = common === null ? [] : [{ peer: common.peer, guids: new Set([common.guid]) }];
  return planRetention({
    ...stored,
    rules: retention.keep,
    others: retention.others,
    now: new Date(nowMs),
    // How far replication has got is as good as a cursor, also where none is kept.
    cursors: isSender
      ? [...stored.cursors, { owner: common.peer, guid: common.guid, createTXG: reached.createTXG }]
      : stored.cursors,
    common: side === 'sender' ? [] : told,
  });
}

async function prune(options: PruneOptions): Promise<void> {
  const { dataset, side, destroyer, dryRun, ledger, logger, signal } = options;
  const plan = await planPruning(options);
  const doomed = destroyedBy(plan);
  if (doomed.length === 0) return;
  const kept = plan.decisions.length - doomed.length;
  if (dryRun) {
    ledger.tell({ kind: 'pruned', dataset, side, destroyed: doomed.length, kept, errors: [] });
    const names = doomed.map(formatVersion).join(', ');
    ledger.notice(dataset, `${doomed.length} snapshots of the ${side} would be destroyed: ${names}`);
    return;
  }
  const { outcomes } = await executeRetention(plan, destroyer, { signal, logger });
  const destroyed = outcomes.filter(({ result }) => result === 'destroyed').length;
  ledger.dataset(dataset).pruned += destroyed;
  const errors = outcomes.flatMap(({ result, error }): RunError[] => {
    if (error === null) return [];
    const told = toRunError(error);
    // It has come to be needed since the plan was made, or is being read: the next run looks again.
    if (result === 'refused' || error.code === 'BUSY') ledger.notice(dataset, told.message);
    else ledger.fail(dataset, told);
    return [told];
  });
  ledger.tell({ kind: 'pruned', dataset, side, destroyed, kept: kept + errors.length, errors });
}

/** A run that was stopped prunes nothing any more. */
export function assertNotCancelled(signal: AbortSignal, doing: string): void {
  if (!signal.aborted) return;
  const reason: unknown = signal.reason;
  throw reason instanceof SnapferryError
    ? reason
    : new SnapferryError('CANCELLED', `${doing} was cancelled`, { cause: reason });
}

import { formatVersion, type FilesystemVersion } from '../dataset.ts';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import type { Logger } from '../rpc/interfaces.ts';
import type { DestroyOutcome, SnapshotDestroyer, StoredVersions } from '../snapshot-destroyer.ts';
import { destroyedBy, type RetentionPlan } from './plan-retention.ts';

/** How a plan is carried out. */
export interface ExecuteRetentionOptions {
  /** Stops before the next batch; what was not reached is reported as failed with `CANCELLED`. */
  readonly signal?: AbortSignal | undefined;
  readonly logger?: Logger | undefined;
  /** Told of each batch of outcomes as it comes. */
  readonly onOutcomes?: ((outcomes: readonly DestroyOutcome[]) => void) | undefined;
}

/** What became of a plan. */
export interface RetentionReport {
  /** One for each version the plan destroys, oldest first. */
  readonly outcomes: readonly DestroyOutcome[];
  /** Whether nothing of what the plan destroys is left. */
  readonly ok: boolean;
}

/** Few enough that what was looked up before them is still true. */
const batchVersions = 100;

/**
 * Destroys what a plan destroys, and nothing else. Before each batch the dataset is listed again: what has another guid by now, has come
 * to be held, is where replication has got to, or has become the newest snapshot is refused. If a snapshot that replication goes on
 * from is gone since the plan was made, everything is refused, for the plan may destroy what has taken its place. One version that
 * fails does not stop the others. Nobody else should replicate the dataset at the same time.
 * @throws never; errors are in the report
 */
export async function executeRetention(
  plan: RetentionPlan,
  destroyer: SnapshotDestroyer,
  options: ExecuteRetentionOptions = {},
): Promise<RetentionReport> {
  const doomed = destroyedBy(plan);
  const outcomes: DestroyOutcome[] = [];
  for (let start = 0; start < doomed.length; start += batchVersions) {
    const batch = doomed.slice(start, start + batchVersions);
    const found = await executeBatch(plan, batch, destroyer, options);
    outcomes.push(...found);
    report(found, options);
  }
  return { outcomes, ok: outcomes.every(({ result }) => result === 'destroyed' || result === 'gone') };
}

async function executeBatch(
  plan: RetentionPlan,
  batch: readonly FilesystemVersion[],
  destroyer: SnapshotDestroyer,
  { signal }: ExecuteRetentionOptions,
): Promise<DestroyOutcome[]> {
  try {
    if (signal?.aborted === true) throw new SnapferryError('CANCELLED', 'destroying snapshots was cancelled');
    const now = await destroyer.list(signal);
    const checked = batch.map((version) => check(plan, version, now));
    const admitted = batch.filter((_, index) => checked[index] === null);
    const outcomes = (admitted.length === 0 ? [] : await destroyer.destroy(admitted, signal)).values();
    return batch.map((version, index) => checked[index] ?? outcomes.next().value ?? unreported(version));
  } catch (error) {
    return batch.map((version) => ({ version, result: 'failed', error: toSnapferryError(error) }));
  }
}

/** Null: it may go. */
function check(plan: RetentionPlan, version: FilesystemVersion, now: StoredVersions): DestroyOutcome | null {
  const refuse = (why: string): DestroyOutcome => {
    const text = `${formatVersion(version)} was not destroyed: ${why}; make a new plan`;
    return { version, result: 'refused', error: new SnapferryError('INVALID_REQUEST', text) };
  };
  const snapshots = now.versions.filter(({ type }) => type === 'snapshot');
  const found = snapshots.find(({ name }) => name === version.name);
  if (found === undefined) {
    const renamed = snapshots.find(({ guid }) => guid === version.guid);
    if (renamed !== undefined) return refuse(`it has been renamed to ${formatVersion(renamed)}`);
    return { version, result: 'gone', error: null };
  }
  if (found.guid !== version.guid) return refuse('it is another snapshot now, made under the same name');
  const lost = plan.bases.find((base) => !snapshots.some(({ guid }) => guid === base));
  if (lost !== undefined) return refuse(`the snapshot with guid ${lost}, from which replication goes on, is gone`);
  const hold = now.holds.find(({ guid }) => guid === version.guid);
  if (hold !== undefined) return refuse(`it is held ${hold.why}`);
  const cursor = now.cursors.find(({ guid }) => guid === version.guid);
  if (cursor !== undefined) return refuse(`the next transfer of ${cursor.owner} starts from it`);
  const hasNewer = snapshots.some(({ createTXG }) => createTXG > found.createTXG);
  return hasNewer ? null : refuse('it has become the newest snapshot');
}

function unreported(version: FilesystemVersion): DestroyOutcome {
  const text = `nothing was reported about ${formatVersion(version)}; see whether it is still there`;
  return { version, result: 'failed', error: new SnapferryError('INTERNAL', text) };
}

function report(outcomes: readonly DestroyOutcome[], { logger, onOutcomes }: ExecuteRetentionOptions): void {
  for (const { version, result, error } of outcomes) {
    const snapshot = formatVersion(version);
    if (error === null) logger?.info({ snapshot, guid: String(version.guid), result }, 'snapshot pruned');
    else logger?.warn({ snapshot, guid: String(version.guid), result, err: error }, 'snapshot not pruned');
  }
  onOutcomes?.(outcomes);
}

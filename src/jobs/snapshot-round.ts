import { formatTimestamp } from '../config/timestamp-format.ts';
import type { SendingJob } from '../config/job.ts';
import type { SnapshotNaming } from '../config/snapshotting.ts';
import { formatDatasetPath } from '../dataset.ts';
import type { DatasetPath } from '../dataset.ts';
import type { Logger, Progress } from '../rpc/interfaces.ts';
import type { Clock } from './clock.ts';
import type { JobBackend, SnapshotOutcome } from './job-backend.ts';
import { toRunError } from './run-error.ts';
import { runVersion } from './run-ledger.ts';
import type { RunLedger } from './run-ledger.ts';
import { runHooksAfter, runHooksBefore } from './snapshot-hooks.ts';
import type { HooksBefore } from './snapshot-hooks.ts';

/** Names in an error at most. */
const namedMax = 5;

/** What a round of snapshots needs. */
export interface SnapshotRoundOptions {
  readonly job: Pick<SendingJob, 'exclude' | 'snapshotFolder'>;
  readonly naming: SnapshotNaming;
  readonly backend: JobBackend;
  readonly datasets: readonly DatasetPath[];
  readonly dryRun: boolean;
  readonly ledger: RunLedger;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
}

/**
 * Takes a snapshot of each dataset, all of one name, with the hooks around: at the same moment where the backend can, otherwise one after
 * the other, so that a hook holds nothing up for longer than its own dataset takes. What fails is in the ledger. Never rejects.
 */
export async function takeSnapshotRound(options: SnapshotRoundOptions): Promise<void> {
  const { naming, backend, datasets, clock } = options;
  const name = naming.prefix + formatTimestamp(naming.timestamp, new Date(clock.nowMs()));
  const groups = backend.takesAllAtOnce ? [datasets] : datasets.map((dataset) => [dataset]);
  for (const group of groups) {
    if (group.length > 0) await takeGroup(group, name, options);
  }
}

async function takeGroup(
  group: readonly DatasetPath[],
  snapshot: string,
  options: SnapshotRoundOptions,
): Promise<void> {
  const { naming, backend, dryRun, ledger, logger, signal } = options;
  const hooks = { hooks: dryRun ? [] : naming.hooks, formatName: backend.formatName, snapshot, logger };
  const before = new Map<DatasetPath, HooksBefore>();
  for (const dataset of group) {
    const name = backend.formatName(dataset);
    const ran = await runHooksBefore(dataset, { ...hooks, signal });
    before.set(dataset, ran);
    for (const notice of ran.notices) ledger.notice(name, notice);
    if (ran.error !== null) ledger.fail(name, toRunError(ran.error));
  }
  const admitted = group.filter((dataset) => before.get(dataset)?.error === null);
  const outcomes = admitted.length === 0 ? [] : await take(admitted, snapshot, options);
  for (const outcome of outcomes) record(outcome, snapshot, options);
  for (const dataset of group.toReversed()) {
    const ran = await runHooksAfter(dataset, before.get(dataset)?.succeeded ?? [], hooks);
    const name = backend.formatName(dataset);
    for (const notice of ran.notices) ledger.notice(name, notice);
    if (ran.error !== null) ledger.fail(name, toRunError(ran.error));
  }
}

function take(datasets: readonly DatasetPath[], name: string, options: SnapshotRoundOptions) {
  const { backend, job, dryRun, signal, onProgress } = options;
  const { exclude, snapshotFolder } = job;
  const told = onProgress ?? (() => undefined);
  return backend.takeSnapshots({ datasets, name, exclude, snapshotFolder, dryRun, signal, onProgress: told });
}

function record(
  { dataset, version, notices, missing, error }: SnapshotOutcome,
  snapshot: string,
  { backend, ledger, dryRun, logger }: SnapshotRoundOptions,
): void {
  const name = backend.formatName(dataset);
  const entry = ledger.dataset(name);
  for (const notice of notices) ledger.notice(name, notice);
  if (error !== null) {
    logger.warn({ err: error, dataset: formatDatasetPath(dataset) }, 'no snapshot was taken');
    ledger.fail(name, toRunError(error));
    return;
  }
  if (missing.length > 0) ledger.fail(name, { code: 'SOURCE_FAILED', message: incompleteText(snapshot, missing) });
  if (dryRun) ledger.notice(name, `the snapshot @${snapshot} would be taken`);
  if (version === null) return;
  entry.snapshot = version.name;
  entry.newest ??= runVersion(version);
  ledger.tell({ kind: 'snapshotTaken', dataset: name, snapshot: version.name });
}

function incompleteText(snapshot: string, missing: readonly string[]): string {
  const shown = missing.slice(0, namedMax).map((path) => JSON.stringify(path));
  const rest = missing.length > namedMax ? ` and ${missing.length - namedMax} more` : '';
  return `the snapshot @${snapshot} was taken, but without what could not be read: ${shown.join(', ')}${rest}`;
}

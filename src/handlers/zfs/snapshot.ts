import type { FilesystemVersion } from '../../dataset.ts';
import { SnapferryError } from '../../errors.ts';
import { runCommand } from '../run-command.ts';
import { listNamedArguments } from './commands.ts';
import { zfsTool } from './commands-tool.ts';
import type { ZfsTool } from './commands-tool.ts';
import { checkDatasetName, versionName } from './names.ts';
import { parseVersionDetails } from './output.ts';
import { listDueArguments, parseDue, snapshotArguments } from './snapshot-commands.ts';
import type { DueDataset } from './snapshot-commands.ts';

/** Which snapshots are to be taken. */
export interface ZfsSnapshotRequest {
  /** Name of a filesystem or volume. */
  readonly root: string;
  /** Also of the datasets below it. */
  readonly recursive?: boolean | undefined;
  /** Which of them, by name. Default: all. */
  readonly includes?: ((dataset: string) => boolean) | undefined;
  /** Name of the snapshots. */
  readonly name: string;
  /** Also of datasets to which nothing has been written since their newest snapshot. */
  readonly force?: boolean | undefined;
  /** Only look. */
  readonly dryRun?: boolean | undefined;
  /** Default: `zfs` as this user. */
  readonly tool?: ZfsTool | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What became of one dataset. */
export interface ZfsSnapshotResult {
  readonly dataset: string;
  /** Whether a snapshot was taken, or in a dry run, whether one would be. */
  readonly isTaken: boolean;
  /** Null if none was taken. */
  readonly version: FilesystemVersion | null;
  /** Bytes written since the snapshot before; null when unknown. */
  readonly writtenBytes: number | null;
}

const syncDeadlineMs = 60_000;

/**
 * Takes snapshots of datasets, all at the same moment or none, and only of those that have changed. So a received copy, to which nothing
 * is ever written, gets none, which its next receive would trip over. Placeholders of ours and half received datasets are passed over.
 * @throws SnapferryError `DATASET_NOT_FOUND`, `INVALID_REQUEST` for an impossible name, `SOURCE_FAILED` (also for a name that is taken),
 *   `CANCELLED`, `TIMEOUT`
 */
export async function takeZfsSnapshots(request: ZfsSnapshotRequest): Promise<ZfsSnapshotResult[]> {
  const { root, recursive = false, includes = () => true, name, force = false, dryRun = false, signal } = request;
  checkDatasetName(root);
  const tool = request.tool ?? zfsTool();
  const isSynced = await syncPool(root.split('/')[0] ?? root, signal);
  const doing = `looking whether ${root} has changed`;
  const { stdout } = await tool.run(listDueArguments(root, recursive), { doing, signal });
  const datasets = parseDue(stdout).filter((one) => includes(one.name) && !one.isPlaceholder && !one.isPartial);
  // What was written a moment ago is not counted before the pool is synced. To one that is read-only nothing was.
  const isDue = ({ writtenBytes, isReadOnly }: DueDataset): boolean =>
    force || writtenBytes > 0 || !(isSynced || isReadOnly);
  const due = datasets.filter(isDue);
  const versions =
    dryRun || due.length === 0 ? new Map<string, FilesystemVersion>() : await take(tool, due, name, signal);
  return datasets.map((dataset) => ({
    dataset: dataset.name,
    isTaken: due.includes(dataset),
    version: versions.get(dataset.name) ?? null,
    writtenBytes: isSynced && Number.isFinite(dataset.writtenBytes) ? dataset.writtenBytes : null,
  }));
}

async function take(
  tool: ZfsTool,
  due: readonly DueDataset[],
  name: string,
  signal: AbortSignal | undefined,
): Promise<Map<string, FilesystemVersion>> {
  const names = due.map((dataset) => dataset.name);
  const what = names.length === 1 ? names[0] : `${names.length} datasets`;
  await tool.run(snapshotArguments(names, name), { doing: `taking the snapshot @${name} of ${what}`, signal });
  const snapshots = names.map((dataset) => versionName(dataset, { type: 'snapshot', name }));
  const { stdout } = await tool.run(listNamedArguments(snapshots), {
    doing: `reading the new snapshots of ${what}`,
    signal,
  });
  return new Map(parseVersionDetails(stdout).map(({ dataset, version }) => [dataset, version]));
}

/** Whether everything written so far counts from now on. Any user may do that; where it fails nothing is lost but certainty. */
async function syncPool(pool: string, signal: AbortSignal | undefined): Promise<boolean> {
  try {
    await runCommand({ argv: ['zpool', 'sync', pool], signal, deadlineMs: syncDeadlineMs });
    return true;
  } catch (error) {
    if (error instanceof SnapferryError && error.code === 'CANCELLED') throw error;
    return false;
  }
}

import type { FilesystemVersion } from '../../dataset.ts';
import { SnapferryError } from '../../errors.ts';
import type { ReceiveRequest } from '../../sink.ts';
import type { ZfsTool } from './commands-tool.ts';
import { listNamedArguments } from './commands.ts';
import { versionName } from './names.ts';
import { zfsCause } from './output-failure.ts';
import { parseVersionDetails } from './output.ts';
import { listVersions } from './versions.ts';

/** Snapshots and bookmarks of a dataset, oldest first; null if it is not there. @throws SnapferryError as `ZfsTool.run` does */
export async function listVersionsIfThere(
  tool: ZfsTool,
  dataset: string,
  signal?: AbortSignal,
): Promise<FilesystemVersion[] | null> {
  try {
    return await listVersions(tool, dataset, signal);
  } catch (error) {
    if (error instanceof SnapferryError && error.code === 'DATASET_NOT_FOUND') return null;
    throw error;
  }
}

/** Snapshots with these names, those that exist: a dataset with many thousands need not be listed for that. */
async function snapshotsNamed(tool: ZfsTool, dataset: string, names: readonly string[]): Promise<FilesystemVersion[]> {
  const fullNames = names.map((name) => versionName(dataset, { type: 'snapshot', name }));
  const { stdout } = await tool.run(listNamedArguments(fullNames), {
    doing: `looking for ${fullNames.join(' and ')}`,
    fallback: 'INTERNAL',
    accepts: (stderr) => ['version_not_found', 'dataset_not_found'].includes(zfsCause(stderr)),
  });
  return parseVersionDetails(stdout).map(({ version }) => version);
}

/** The snapshot with this guid, looked for first under the name it should have; undefined if it is not there. */
export async function findReceived(
  tool: ZfsTool,
  dataset: string,
  wanted: FilesystemVersion,
): Promise<FilesystemVersion | undefined> {
  const isIt = ({ type, guid }: FilesystemVersion): boolean => type === 'snapshot' && guid === wanted.guid;
  const named = (await snapshotsNamed(tool, dataset, [wanted.name])).find(isIt);
  return named ?? (await listVersionsIfThere(tool, dataset))?.find(isIt);
}

/**
 * Refuses an increment that the dataset has no base for, or whose name is taken.
 * @throws SnapferryError `VERSION_NOT_FOUND`, `INVALID_REQUEST`, and as `ZfsTool.run` does
 */
export async function checkIncrement(
  tool: ZfsTool,
  dataset: string,
  { from, to }: { readonly from: FilesystemVersion } & Pick<ReceiveRequest, 'to'>,
): Promise<void> {
  const named = await snapshotsNamed(tool, dataset, [...new Set([from.name, to.name])]);
  if (named.some(({ name, guid }) => name === to.name && guid !== to.guid)) {
    throw new SnapferryError(
      'INVALID_REQUEST',
      `${dataset} has another snapshot named @${to.name}; rename one of the two ("zfs rename")`,
    );
  }
  if (named.some(({ guid }) => guid === from.guid)) return;
  const isBase = ({ type, guid }: FilesystemVersion): boolean => type === 'snapshot' && guid === from.guid;
  if ((await listVersionsIfThere(tool, dataset))?.some(isBase) === true) return;
  throw new SnapferryError(
    'VERSION_NOT_FOUND',
    `${dataset} does not have the snapshot with the guid ${from.guid} that the transfer starts from`,
  );
}

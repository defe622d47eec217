import { formatVersion } from '../../dataset.ts';
import type { FilesystemVersion } from '../../dataset.ts';
import { SnapferryError } from '../../errors.ts';
import type { ZfsTool } from './commands-tool.ts';
import { listDetailsArguments, listNamedArguments, listVersionsArguments } from './commands.ts';
import { versionName } from './names.ts';
import { zfsCause } from './output-failure.ts';
import { parseVersionDetails, parseVersions } from './output.ts';
import type { VersionDetails } from './output.ts';

const namedMax = 5;

/** Snapshots and bookmarks of a dataset, oldest first. @throws SnapferryError `DATASET_NOT_FOUND`, and as `ZfsTool.run` does */
export async function listVersions(tool: ZfsTool, dataset: string, signal?: AbortSignal): Promise<FilesystemVersion[]> {
  const doing = `listing the versions of ${dataset}`;
  const { stdout } = await tool.run(listVersionsArguments(dataset), { doing, signal });
  return parseVersions(stdout, dataset);
}

/** The same with what the wire does not carry. @throws as {@link listVersions} does */
export async function listDetails(tool: ZfsTool, dataset: string, signal?: AbortSignal): Promise<VersionDetails[]> {
  const doing = `listing the versions of ${dataset}`;
  const { stdout } = await tool.run(listDetailsArguments(dataset), { doing, signal });
  return parseVersionDetails(stdout).filter((details) => details.dataset === dataset);
}

/**
 * What now has the guids of these versions, under whatever name: a snapshot that was renamed is found, one that was made anew under the
 * same name is not taken for it. Where a snapshot is gone, a bookmark of it does, and the other way round. A dataset with many
 * thousands of snapshots is only listed if one of the names does not lead to its guid.
 * @throws SnapferryError `VERSION_NOT_FOUND` saying what there is, `DATASET_NOT_FOUND`, `INVALID_REQUEST` for an impossible name
 */
export async function findVersions(
  tool: ZfsTool,
  dataset: string,
  wanted: readonly FilesystemVersion[],
  signal?: AbortSignal,
): Promise<VersionDetails[]> {
  const names = wanted.map((version) => versionName(dataset, version));
  const { stdout } = await tool.run(listNamedArguments(names), {
    doing: `looking for ${names.join(' and ')}`,
    signal,
    accepts: (stderr) => ['version_not_found', 'dataset_not_found'].includes(zfsCause(stderr)),
  });
  const named = parseVersionDetails(stdout);
  const found = wanted.map((version) => named.find((details) => isSame(details, dataset, version)));
  if (found.every((details) => details !== undefined)) return found;
  const all = await listDetails(tool, dataset, signal);
  return wanted.map((version) => {
    const same = all.filter((details) => details.version.guid === version.guid);
    const details = same.find(({ version: { type } }) => type === version.type) ?? same[0];
    if (details === undefined) throw notFound(dataset, version, all);
    return details;
  });
}

function isSame(details: VersionDetails, dataset: string, wanted: FilesystemVersion): boolean {
  const { type, name, guid } = details.version;
  return details.dataset === dataset && type === wanted.type && name === wanted.name && guid === wanted.guid;
}

function notFound(dataset: string, wanted: FilesystemVersion, all: readonly VersionDetails[]): SnapferryError {
  const isReplaced = all.some(({ version: { type, name } }) => type === wanted.type && name === wanted.name);
  const newest = all.slice(-namedMax).map(({ version }) => formatVersion(version));
  const others = all.length > newest.length ? `${all.length - newest.length} older, then ` : '';
  const there = all.length === 0 ? 'it has no versions' : `there are ${others}${newest.join(', ')}`;
  const text =
    `${dataset} has no version with the guid ${wanted.guid} of ${formatVersion(wanted)}` +
    (isReplaced ? ', which was made anew under the same name since it was listed' : '') +
    `; ${there}. Compare both sides again`;
  return new SnapferryError('VERSION_NOT_FOUND', text);
}

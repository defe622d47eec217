import { versionName } from './names.ts';
import type { FilesystemVersion } from '../../dataset.ts';
import type { ZfsTool } from './commands-tool.ts';
import { findHolds, holdSnapshots, releaseSnapshots } from './holds.ts';
import { holdTag } from './names-ours.ts';
import type { JobOwner } from './names-ours.ts';
import { listDetails } from './versions.ts';

/**
 * Moves a job's hold to the newest version received, so that nobody destroys what the next increment starts from: the new one is
 * held before any older one is let go. Repeating it does no harm, and clears what an interrupted run left.
 * @throws SnapferryError as `ZfsTool.run` does
 */
export async function holdNewest(
  tool: ZfsTool,
  dataset: string,
  { version, owner }: { readonly version: FilesystemVersion; readonly owner: JobOwner },
): Promise<void> {
  const tag = holdTag('LAST', owner);
  await holdSnapshots(tool, tag, [versionName(dataset, version)]);
  const held = (await listDetails(tool, dataset))
    .filter((details) => details.holds > 0 && details.version.guid !== version.guid)
    .map((details) => versionName(dataset, details.version));
  const older = (await findHolds(tool, held)).filter((hold) => hold.tag === tag);
  await releaseSnapshots(
    tool,
    tag,
    older.map(({ snapshot }) => snapshot),
  );
}

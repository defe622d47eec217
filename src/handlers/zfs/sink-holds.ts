import { formatVersion } from '../../dataset.ts';
import type { FilesystemVersion } from '../../dataset.ts';
import type { ZfsTool } from './commands-tool.ts';
import { holdArguments, holdsArguments, releaseArguments } from './commands.ts';
import { versionName } from './names.ts';
import { holdTag } from './names-ours.ts';
import type { JobOwner } from './names-ours.ts';
import { zfsCause } from './output-failure.ts';
import { parseHolds } from './output.ts';
import { listDetails } from './versions.ts';

/** Snapshots asked about at once: argument lists have an end. */
const namedMax = 500;

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
  const newest = versionName(dataset, version);
  const doing = `holding ${newest}`;
  await tool.run(holdArguments(tag, [newest]), {
    doing,
    fallback: 'INTERNAL',
    accepts: (stderr) => zfsCause(stderr) === 'tag_exists',
  });
  const held = (await listDetails(tool, dataset))
    .filter((details) => details.holds > 0 && details.version.guid !== version.guid)
    .map((details) => dataset + formatVersion(details.version));
  for (let start = 0; start < held.length; start += namedMax) {
    const { stdout } = await tool.run(holdsArguments(held.slice(start, start + namedMax)), {
      doing,
      fallback: 'INTERNAL',
    });
    for (const hold of parseHolds(stdout)) {
      if (hold.tag !== tag) continue;
      await tool.run(releaseArguments(tag, [hold.snapshot]), {
        doing: `letting go of ${hold.snapshot}`,
        fallback: 'INTERNAL',
        accepts: (stderr) => ['tag_not_found', 'version_not_found', 'dataset_not_found'].includes(zfsCause(stderr)),
      });
    }
  }
}

import type { ZfsTool } from './commands-tool.ts';
import { holdArguments, holdsArguments, releaseArguments } from './commands.ts';
import type { OurTag } from './names-ours.ts';
import { parseHoldTag } from './names-ours.ts';
import { zfsCause } from './output-failure.ts';
import type { ZfsCause } from './output-failure.ts';
import { parseHolds } from './output.ts';
import type { ListedHold } from './output.ts';

/** A hold with a tag of ours. */
export interface OurHold extends ListedHold, OurTag {}

/** Names on one command line; far below what the kernel takes. */
const namesPerCommand = 100;

function* batches(names: readonly string[]): Generator<readonly string[]> {
  for (let start = 0; start < names.length; start += namesPerCommand) yield names.slice(start, start + namesPerCommand);
}

/** `zfs` reports each name by itself, and does what it can: it is enough if nothing is wrong but this. */
function onlyThese(causes: readonly ZfsCause[]): (stderr: string) => boolean {
  return (stderr) => {
    const lines = stderr.split('\n').filter((line) => line !== '' && line !== 'no datasets available');
    return lines.length > 0 && lines.every((line) => causes.includes(zfsCause(line)));
  };
}

/**
 * The holds of ours on these snapshots, whoever they are for. Those that have gone are passed over.
 * @param snapshots full names
 * @throws SnapferryError as `ZfsTool.run` does
 */
export async function findHolds(tool: ZfsTool, snapshots: readonly string[], signal?: AbortSignal): Promise<OurHold[]> {
  const found: OurHold[] = [];
  for (const batch of batches(snapshots)) {
    const { stdout } = await tool.run(holdsArguments(batch), {
      doing: 'listing holds',
      signal,
      accepts: onlyThese(['version_not_found', 'dataset_not_found']),
    });
    for (const hold of parseHolds(stdout)) {
      const tag = parseHoldTag(hold.tag);
      if (tag !== null) found.push({ ...hold, ...tag });
    }
  }
  return found;
}

/**
 * Holds snapshots, so that they cannot be destroyed. What is held with this tag already is well.
 * @throws SnapferryError `VERSION_NOT_FOUND` if one is not there; as `ZfsTool.run` does
 */
export async function holdSnapshots(
  tool: ZfsTool,
  tag: string,
  snapshots: readonly string[],
  signal?: AbortSignal,
): Promise<void> {
  for (const batch of batches(snapshots)) {
    await tool.run(holdArguments(tag, batch), {
      doing: `holding ${batch.join(' and ')}`,
      signal,
      accepts: onlyThese(['tag_exists']),
    });
  }
}

/** Releases holds. One that is not there, or whose snapshot is not, is well. @throws SnapferryError as `ZfsTool.run` does */
export async function releaseSnapshots(
  tool: ZfsTool,
  tag: string,
  snapshots: readonly string[],
  signal?: AbortSignal,
): Promise<void> {
  for (const batch of batches(snapshots)) {
    await tool.run(releaseArguments(tag, batch), {
      doing: `releasing the hold "${tag}"`,
      signal,
      accepts: onlyThese(['tag_not_found', 'version_not_found', 'dataset_not_found']),
    });
  }
}

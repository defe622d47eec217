import { sameDataset } from '../dataset.ts';
import type { FilesystemVersion } from '../dataset.ts';
import { SnapferryError } from '../errors.ts';
import { isWithin } from '../handlers/confine-dataset.ts';
import { delegating } from '../handlers/delegating.ts';
import type { RequestContext, RPCHandler } from '../rpc/interfaces.ts';
import type { SnapshotMode } from './choices.ts';
import { formatChanges } from './format.ts';
import { plannedVersion } from './planned-version.ts';
import type { Site, SnapshotRequest, TakenSnapshot } from './site.ts';

/** What {@link snapshotting} needs to know. */
export interface SnapshottingOptions {
  readonly site: Site;
  readonly mode: SnapshotMode;
  readonly request: Pick<SnapshotRequest, 'choices' | 'recursive' | 'select'>;
  /** Told what became of each snapshot. */
  readonly onResult?: (taken: TakenSnapshot) => void;
}

/**
 * A source that takes snapshots of its datasets before it tells the versions of one for the first time; with mode `plan` it
 * tells what the snapshots would hold instead, and changes nothing. A received copy is told as it is. The requester is
 * kept informed, for a first snapshot of a large directory takes a while.
 */
export function snapshotting(handler: RPCHandler, options: SnapshottingOptions): RPCHandler {
  const { site, mode, request: wanted } = options;
  if (mode === 'none') return handler;
  const isOurs = (filesystem: readonly string[]): boolean =>
    (wanted.recursive ? isWithin(site.dataset, filesystem) : sameDataset(site.dataset, filesystem)) &&
    wanted.select(filesystem);
  let begun: Promise<readonly TakenSnapshot[]> | null = null;
  return delegating(handler, {
    async filesystemVersions(request, context) {
      if (!isOurs(request.filesystem)) return handler.filesystemVersions(request, context);
      const result = (begun ??= takeAll(options, context));
      let own: TakenSnapshot | undefined;
      try {
        own = (await result).find(({ dataset }) => sameDataset(dataset, request.filesystem));
      } catch (error) {
        // The next request may find everything in a better state.
        if (begun === result) begun = null;
        throw error;
      }
      const versions = await versionsOrNone(() => handler.filesystemVersions(request, context), own !== undefined);
      if (mode === 'take' || own?.isTaken !== true) return versions;
      return [...versions, plannedVersion(own.changes, versions)];
    },
  });
}

/** A directory without a store has no versions yet, which is no error when one is only being planned. */
async function versionsOrNone(list: () => Promise<FilesystemVersion[]>, isKnown: boolean) {
  try {
    return await list();
  } catch (error) {
    const isNew = error instanceof SnapferryError && error.code === 'DATASET_NOT_FOUND' && isKnown;
    if (isNew) return [];
    throw error;
  }
}

async function takeAll(options: SnapshottingOptions, context: RequestContext): Promise<readonly TakenSnapshot[]> {
  const { site, mode, request, onResult } = options;
  const all = await site.takeSnapshots({ ...request, dryRun: mode === 'plan', force: false }, context);
  for (const taken of all) {
    onResult?.(taken);
    if (mode === 'take') tell(site, taken, context);
  }
  return all;
}

const toldMax = 20;
const messageCharactersMax = 1000;

/** News without numbers is for people to read; the requester shows it as it comes. */
function tell(
  site: Site,
  { dataset, version, changes, notices, missing }: TakenSnapshot,
  context: RequestContext,
): void {
  const name = site.formatName(dataset);
  const facts = [
    ...(version === null ? [] : [`took snapshot @${version.name} of ${name}: ${formatChanges(changes)}`]),
    ...notices,
    ...missing.map((path) => `cannot read ${path}; it is not in the snapshot`),
  ];
  const told = facts.slice(0, toldMax);
  if (facts.length > told.length) told.push(`and ${facts.length - told.length} more of this kind`);
  for (const fact of told) {
    context.progress({ message: fact.slice(0, messageCharactersMax), done: null, total: null });
  }
}

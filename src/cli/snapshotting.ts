import type { FilesystemVersion } from '../dataset.ts';
import { SnapferryError } from '../errors.ts';
import { delegating } from '../handlers/delegating.ts';
import { takeSnapshot } from '../handlers/directory/snapshot.ts';
import type { SnapshotOptions, SnapshotResult } from '../handlers/directory/snapshot.ts';
import { findStore } from '../handlers/directory/store-layout.ts';
import type { RequestContext, RPCHandler } from '../rpc/interfaces.ts';
import { formatChanges } from './format.ts';
import { plannedVersion } from './planned-version.ts';
import type { SnapshotChoices, SnapshotMode } from './remote-command.ts';

/** What {@link snapshotting} needs to know. */
export interface SnapshottingOptions {
  /** The directory of a dataset, or null for one that is not ours. */
  readonly directoryOf: (filesystem: readonly string[]) => string | null;
  readonly mode: SnapshotMode;
  readonly choices: SnapshotChoices;
  /** Told what became of each snapshot. */
  readonly onResult?: (result: SnapshotResult) => void;
}

/**
 * A source that takes a snapshot of a dataset before it tells its versions for the first time; with mode `plan` it tells
 * what the snapshot would hold instead, and changes nothing. A received copy is told as it is. The requester is
 * kept informed, for a first snapshot of a large directory takes a while.
 */
export function snapshotting(handler: RPCHandler, options: SnapshottingOptions): RPCHandler {
  if (options.mode === 'none') return handler;
  const begun = new Map<string, Promise<SnapshotResult | null>>();
  return delegating(handler, {
    async filesystemVersions(request, context) {
      const directory = options.directoryOf(request.filesystem);
      if (directory === null) return handler.filesystemVersions(request, context);
      const key = request.filesystem.join('/');
      const result = begun.get(key) ?? snapshotOf(directory, options, context);
      begun.set(key, result);
      let taken: SnapshotResult | null;
      try {
        taken = await result;
      } catch (error) {
        // The next request may find the directory in a better state.
        begun.delete(key);
        throw error;
      }
      const versions = await versionsOrNone(() => handler.filesystemVersions(request, context), taken);
      if (options.mode === 'take' || taken?.isTaken !== true) return versions;
      return [...versions, plannedVersion(taken.delta, versions)];
    },
  });
}

/** A directory without a store has no versions yet, which is no error when one is only being planned. */
async function versionsOrNone(list: () => Promise<FilesystemVersion[]>, result: SnapshotResult | null) {
  try {
    return await list();
  } catch (error) {
    const isNew = error instanceof SnapferryError && error.code === 'DATASET_NOT_FOUND' && result !== null;
    if (isNew) return [];
    throw error;
  }
}

async function snapshotOf(
  directory: string,
  options: SnapshottingOptions,
  context: RequestContext,
): Promise<SnapshotResult | null> {
  const marker = await findStore(directory);
  if (marker?.kind === 'copy') return null;
  const result = await takeSnapshot(directory, {
    ...snapshotOptions(options.choices),
    dryRun: options.mode === 'plan',
    signal: context.signal,
    logger: context.logger,
    onProgress: (progress) => context.progress(progress),
  });
  options.onResult?.(result);
  if (options.mode === 'take') tell(directory, result, context);
  return result;
}

const toldMax = 20;
const messageCharactersMax = 1000;

/** News without numbers is for people to read; the requester shows it as it comes. */
function tell(directory: string, { version, delta, notices, missing }: SnapshotResult, context: RequestContext): void {
  const facts = [
    ...(version === null ? [] : [`took snapshot @${version.name} of ${directory}: ${formatChanges(delta)}`]),
    ...notices,
    ...missing.map((path) => `cannot read ${path}; it is not in the snapshot`),
  ];
  const told = facts.slice(0, toldMax);
  if (facts.length > told.length) told.push(`and ${facts.length - told.length} more of this kind`);
  for (const fact of told) {
    context.progress({ message: fact.slice(0, messageCharactersMax), done: null, total: null });
  }
}

/** The choices of the command line as the backend takes them. */
export function snapshotOptions(choices: SnapshotChoices): SnapshotOptions {
  const { name, prefix, exclude } = choices;
  const chosen = name ?? (prefix === null ? null : `${prefix}${timestamp(new Date())}`);
  return { exclude, ...(chosen !== null && { name: chosen }) };
}

/** `20261121_013300_123`, UTC. */
function timestamp(date: Date): string {
  return date.toISOString().replaceAll(/[-:]/g, '').replace('T', '_').replace('.', '_').replace('Z', '');
}

import type { FilesystemVersion } from '../../dataset.ts';
import { toSnapferryError } from '../../errors.ts';
import type { Logger } from '../../rpc/interfaces.ts';
import type { ZfsTool } from './commands-tool.ts';
import { versionName } from './names.ts';
import { unmarkPlaceholder } from './placeholder.ts';
import { receiveProperties } from './receive-properties.ts';
import type { ReceivePropertyOptions } from './receive-properties.ts';
import type { StreamHead } from './receive-stream.ts';
import type { NewestHolds } from './sink-holds.ts';
import { readState } from './sink-state.ts';
import { listDetails } from './versions.ts';

/** What finishing a receive takes. */
export interface SettleContext {
  readonly tool: ZfsTool;
  /** Checked name of the copy. */
  readonly dataset: string;
  /** Null: nothing is held. */
  readonly holds: NewestHolds | null;
  readonly properties: ReceivePropertyOptions;
  readonly logger: Logger | undefined;
}

/** A snapshot that is there, and what its receive was like. */
export interface ReceivedSnapshot {
  readonly received: FilesystemVersion;
  /** Properties that were asked for with the receive. */
  readonly kept: ReadonlySet<string>;
  /** Whether a placeholder was in its place, and nobody has taken the mark away yet. */
  readonly wasMarked: boolean;
  readonly kind: StreamHead['kind'];
}

/**
 * What is left to do once a snapshot is there. Nothing of it can make that undone, so what fails is only told.
 * @returns what failed, for people
 */
export async function settleReceived(
  { tool, dataset, holds, logger }: SettleContext,
  { received, kept, wasMarked, kind }: ReceivedSnapshot,
): Promise<string[]> {
  const notices: string[] = [];
  const attempt = async (work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      const failure = toSnapferryError(error);
      logger?.warn({ err: failure, dataset }, 'a received snapshot could not be settled');
      notices.push(`${dataset}@${received.name} is complete, but ${failure.message}`);
    }
  };
  if (wasMarked) await attempt(() => unmarkPlaceholder(tool, dataset, { kind, kept }));
  if (holds !== null) await attempt(() => holds.moveTo(dataset, received));
  return notices;
}

/**
 * The same for a snapshot that came with an earlier receive, which may have been killed before it got so far. Where it did get so far
 * that takes one command, or none if it was in this process.
 * @param guid of the snapshot; one that is not there is nothing to do
 * @returns what failed, for people
 * @throws SnapferryError as `ZfsTool.run` does
 */
export async function settleEarlier(context: SettleContext, guid: bigint): Promise<string[]> {
  const { tool, dataset, holds, properties } = context;
  if (holds?.isAt(dataset, guid) === true) return [];
  const snapshots = (await listDetails(tool, dataset)).filter(({ version: { type } }) => type === 'snapshot');
  const received = snapshots.find(({ version }) => version.guid === guid)?.version;
  if (received === undefined) return [];
  // The hold is moved last, so what is held where it should be, and nowhere else, was finished.
  const held = snapshots.filter(({ holds: count }) => count > 0).map(({ version }) => versionName(dataset, version));
  if (holds !== null && held.length === 1 && held[0] === versionName(dataset, received)) return [];
  const state = await readState(tool, dataset);
  const kind = state?.kind ?? 'other';
  const carriesProperties = properties.fromSender === true;
  const kept = new Set(receiveProperties(properties, { kind, carriesProperties }).override.map(([name]) => name));
  return settleReceived(context, { received, kept, wasMarked: state?.isMarked === true, kind });
}

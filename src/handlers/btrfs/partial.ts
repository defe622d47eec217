import { join } from 'node:path';
import type { Logger } from '../../rpc/interfaces.ts';
import type { ReceiveRequest } from '../../sink.ts';
import { SnapferryError } from '../../errors.ts';
import { deleteArguments } from './commands.ts';
import { PrefixDigest } from './prefix-digest.ts';
import type { BtrfsStore, SavedPartial } from './store.ts';
import type { StreamContinuation } from './stream-checker.ts';
import { viewSubvolumes } from './subvolumes.ts';
import type { BtrfsTool } from './tool.ts';

/** What both halves of a receive work with. */
export interface ReceiveTools {
  readonly tool: BtrfsTool;
  readonly store: BtrfsStore;
  readonly logger?: Logger | undefined;
}

/**
 * What an interrupted receive left, if it can go on: noted, and still there as it was noted. What is there without a note was left by a
 * crash, and nobody knows how far it got.
 */
export async function findPartial({ tool, store }: ReceiveTools): Promise<SavedPartial | null> {
  const partial = (await store.note())?.partial ?? null;
  if (partial === null || !partial.name.startsWith(store.temporaryPrefix) || partial.name.includes('/')) return null;
  const shown = await tool.show(join(store.folder, partial.name));
  const isAsNoted = shown?.uuid === partial.uuid && !shown.isReadOnly && shown.receivedUUID === null;
  return isAsNoted ? partial : null;
}

/**
 * Deletes what receives into this dataset have left, but for what is kept. Only with the lock held: a receive that runs looks the same as
 * one that is over. Nothing but subvolumes with the prefix that only receives into this dataset use is touched.
 */
export async function removeRemains(tools: ReceiveTools, keep: SavedPartial | null): Promise<void> {
  const { tool, store, logger } = tools;
  const prefix = join(store.folder, store.temporaryPrefix);
  const { subvolumes } = await viewSubvolumes(tool, store.folder);
  const remains = subvolumes.filter(({ path, uuid }) => path.startsWith(prefix) && uuid !== keep?.uuid);
  for (const { path } of remains) {
    if (path.slice(prefix.length).includes('/')) continue;
    await tool.run(deleteArguments(path), { code: 'INTERNAL' });
    logger?.info({ dataset: store.dataset, subvolume: path }, 'what an unfinished receive had left was deleted');
  }
  const note = await store.note();
  if (keep !== null) await store.writeNote({ receiving: null, partial: keep });
  else if (note !== null) await store.removeNote();
}

/** A partial receive as the checker needs it, for a transfer that goes on with it. @throws SnapferryError `RESUME_TOKEN_INVALID` */
export function continuationOf(
  { store }: ReceiveTools,
  partial: SavedPartial | null,
  { from, to }: ReceiveRequest,
): StreamContinuation {
  const isOfThisStep = partial?.to === String(to.guid) && partial.from === (from === null ? null : String(from.guid));
  if (partial === null || !isOfThisStep) {
    throw new SnapferryError(
      'RESUME_TOKEN_INVALID',
      `nothing of this transfer is here that it could go on with; start the step anew`,
    );
  }
  return {
    uuid: partial.uuid,
    path: join(store.folder, partial.name),
    identity: partial.identity,
    position: {
      version: partial.version,
      offset: partial.offset,
      digest: PrefixDigest.restore(partial.digest),
    },
  };
}

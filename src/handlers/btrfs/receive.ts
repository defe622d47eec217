import { randomBytes } from 'node:crypto';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { Uint8ArrayList } from 'uint8arraylist';
import { formatVersion } from '../../dataset.ts';
import { SnapferryError } from '../../errors.ts';
import type { ReceiveRequest, ReceiveResult, TransferBytes } from '../../sink.ts';
import { syncDirectory } from '../directory/store-files.ts';
import type { RunningCommand } from '../run-command.ts';
import { receiveArguments, syncArguments } from './commands.ts';
import { copiesOf } from './copies.ts';
import { LentPieces } from './lent-pieces.ts';
import { isAtOrBelow } from './mounts.ts';
import { requireFree, snapshotPath } from './names.ts';
import { isCutInput } from './output.ts';
import { continuationOf, findPartial, removeRemains, type ReceiveTools } from './partial.ts';
import type { SavedPartial } from './store.ts';
import { StreamChecker, type StreamBase } from './stream-checker.ts';
import { btrfsStreamFormat } from './stream-format.ts';
import { viewSubvolumes } from './subvolumes.ts';
import { originOf, type Snapshot } from './versions.ts';

/** What a receive needs beside the transfer. */
export interface ReceiveContext extends ReceiveTools {
  readonly signal?: AbortSignal | undefined;
}

/** How long a receive may take to carry out what it already has, once nothing more comes. */
const settleMsMax = 60_000;

/**
 * Receives one stream into a dataset as its only writer. The copy is built under another name, and gets its own only when it is
 * read-only, has the `received_uuid` it must have, and is on disk: `btrfs receive` exits before that.
 * After an interruption the store holds a partial receive if one can go on; after any other failure it is as it was.
 * @throws SnapferryError `BUSY`, `INVALID_REQUEST`, `VERSION_NOT_FOUND`, `STREAM_FORMAT_MISMATCH`, `RESUME_TOKEN_INVALID`, `CANCELLED`,
 * `PROTOCOL_VIOLATION`, `STREAM_TRUNCATED`, `INTERNAL` with the tool's own words, or whatever the bytes throw
 */
export async function receiveStream(
  context: ReceiveContext,
  request: ReceiveRequest,
  bytes: TransferBytes,
): Promise<ReceiveResult> {
  const pieces = new LentPieces(bytes, context.signal);
  try {
    if (request.format !== null && request.format !== btrfsStreamFormat) {
      throw new SnapferryError(
        'STREAM_FORMAT_MISMATCH',
        `${context.store.dataset} takes btrfs streams, and the sender sends ${JSON.stringify(request.format)}`,
      );
    }
    return await context.store.withLock(() => receiveLocked(context, request, pieces), context.signal);
  } finally {
    await pieces.close();
  }
}

async function receiveLocked(
  context: ReceiveContext,
  request: ReceiveRequest,
  pieces: LentPieces,
): Promise<ReceiveResult> {
  const { tool, store } = context;
  const target = snapshotPath(store.dataset, request.to.name);
  const copies = copiesOf(await viewSubvolumes(tool, store.folder, context.signal), store.dataset);
  await requireNew(request, copies, target);
  const base = request.from === null ? null : await findBase(context, request, copies);
  const partial = request.resumed ? await findPartial(context) : null;
  const continuation = request.resumed ? continuationOf(context, partial, request) : null;
  await removeRemains(context, partial);
  await store.keepRecords(new Set(copies.map(({ subvolume }) => subvolume.uuid)));

  const name = store.temporaryPrefix + randomBytes(8).toString('hex');
  const checker = new StreamChecker({ toGuid: request.to.guid, base, name }, continuation);
  // On disk before anything else is: what has this name after a crash does not count, whatever it looks like.
  await store.writeNote({ receiving: name, partial });
  const receiving = new Receiving(context, request, checker, name);
  try {
    await receiving.feed(pieces);
    await receiving.commit(target);
  } catch (error) {
    await receiving.giveUp(partial);
    throw error;
  }
  await removeRemains(context, null);
  return { notices: [], missing: [] };
}

async function requireNew({ to }: ReceiveRequest, copies: readonly Snapshot[], target: string): Promise<void> {
  const same = copies.find(({ version }) => version.guid === to.guid);
  if (same !== undefined) {
    const text = `${same.subvolume.path} is already a copy of ${formatVersion(to)}; nothing was received`;
    throw new SnapferryError('INVALID_REQUEST', text);
  }
  await requireFree(target);
}

async function findBase(
  { tool, store }: ReceiveContext,
  { from }: ReceiveRequest,
  copies: readonly Snapshot[],
): Promise<StreamBase> {
  const found = copies.find(
    ({ version, subvolume }) => version.guid === from?.guid && isAtOrBelow(subvolume.path, store.folder),
  );
  const shown = found === undefined ? null : await tool.show(found.subvolume.path);
  if (found === undefined || shown?.uuid !== found.subvolume.uuid || !shown.isReadOnly) {
    const what = from === null ? 'the base' : formatVersion(from);
    throw new SnapferryError('VERSION_NOT_FOUND', `${store.dataset} has no whole copy of ${what} to start from`);
  }
  return { origin: originOf(found.subvolume), uuid: found.subvolume.uuid, path: found.subvolume.path };
}

/** One run of `btrfs receive`. */
class Receiving {
  readonly #context: ReceiveContext;
  readonly #request: ReceiveRequest;
  readonly #checker: StreamChecker;
  readonly #name: string;
  readonly #path: string;
  readonly #command: RunningCommand;
  /** Whether nothing but the end of the bytes, too early, is the matter. */
  #isInterrupted = false;

  constructor(context: ReceiveContext, request: ReceiveRequest, checker: StreamChecker, name: string) {
    const { tool, store } = context;
    this.#context = context;
    this.#request = request;
    this.#checker = checker;
    this.#name = name;
    this.#path = join(store.folder, name);
    this.#command = tool.start(receiveArguments(store.folder), 'input', {
      code: 'INTERNAL',
      acceptsStatus: (status, stderr) => this.#isInterrupted && status === 1 && isCutInput(stderr),
    });
  }

  /** Resolves when the tool has taken all of it and has succeeded. */
  async feed(pieces: LentPieces): Promise<void> {
    for (;;) {
      const parts = await pieces.next().catch((error: unknown) => {
        this.#isInterrupted = true;
        throw error;
      });
      if (parts === null) break;
      const checked = new Uint8ArrayList();
      for (const part of parts) checked.appendAll(this.#checker.take(part));
      await this.#command.write(checked);
    }
    await this.#command.write(this.#finish());
    await this.#command.endInput();
    await this.#command.finished;
  }

  #finish(): Uint8Array {
    try {
      return this.#checker.finish();
    } catch (error) {
      this.#isInterrupted = true;
      throw error;
    }
  }

  /** Makes the subvolume the copy that it is meant to be. */
  async commit(target: string): Promise<void> {
    const { tool, store, logger } = this.#context;
    const shown = await tool.show(this.#path, { code: 'INTERNAL' });
    if (shown?.isReadOnly !== true || shown.receivedUUID !== this.#checker.identity?.uuid) {
      const text = `btrfs receive exited without an error, but ${this.#path} is not a whole copy`;
      throw new SnapferryError('INTERNAL', `${text}: it must be read-only with the received UUID of its original`);
    }
    await tool.run(syncArguments(store.folder), { code: 'INTERNAL' });
    await store.writeRecord(shown.uuid, { creation: this.#request.to.creation });
    await requireFree(target);
    await rename(this.#path, target);
    await syncDirectory(store.folder);
    logger?.info({ dataset: store.dataset, snapshot: this.#request.to.name, path: target }, 'snapshot received');
  }

  /**
   * After a failure: keeps what can go on, deletes everything else. Never throws, for there is an error to report; what could not be
   * deleted is noted, and the next receive tries again.
   * @param earlier what this receive went on with; it is as it was, for only a snapshot of it was changed
   */
  async giveUp(earlier: SavedPartial | null): Promise<void> {
    const { store, logger } = this.#context;
    try {
      const kept = this.#isInterrupted ? ((await this.#keep()) ?? earlier) : null;
      await this.#command.stop();
      await removeRemains(this.#context, kept);
    } catch (error) {
      await this.#command.stop();
      logger?.warn({ err: error, dataset: store.dataset }, 'what a failed receive left could not be removed');
    }
  }

  /** Lets the tool carry out all it has been given; then it is known how far the subvolume has got. */
  async #keep(): Promise<SavedPartial | null> {
    const { tool, store } = this.#context;
    const { position, identity } = this.#checker;
    if (position === null || identity === null || !(await this.#isSettled())) return null;
    const shown = await tool.show(this.#path);
    if (shown === null || shown.isReadOnly) return null;
    await tool.run(syncArguments(store.folder));
    const { from, to } = this.#request;
    const partial: SavedPartial = {
      name: this.#name,
      uuid: shown.uuid,
      from: from === null ? null : String(from.guid),
      to: String(to.guid),
      identity,
      version: position.version,
      offset: position.offset,
      digest: position.digest.save(),
    };
    await store.writeNote({ receiving: null, partial });
    return partial;
  }

  async #isSettled(): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const tooLate = new Promise<false>((resolve) => {
      timer = setTimeout(() => resolve(false), settleMsMax);
    });
    const settled = this.#command.endInput().then(() =>
      this.#command.finished.then(
        () => true,
        () => false,
      ),
    );
    return Promise.race([settled, tooLate]).finally(() => clearTimeout(timer));
  }
}

import { checkDatasetPath, formatDatasetPath } from '../../dataset.ts';
import type { DatasetPath, FilesystemVersion } from '../../dataset.ts';
import { SnapferryError, toSnapferryError } from '../../errors.ts';
import type { Logger } from '../../rpc/interfaces.ts';
import type { ReceiveRequest, ReceiveResult, ReplicationSink, ResumeState, TransferBytes } from '../../sink.ts';
import { copiesOf } from './copies.ts';
import { withCreations } from './creations.ts';
import { mountOf } from './mounts.ts';
import { snapshotPath } from './names.ts';
import { findPartial, removeRemains, type ReceiveTools } from './partial.ts';
import { PrefixDigest } from './prefix-digest.ts';
import { receiveStream } from './receive.ts';
import { encodeResumeToken } from './resume-token.ts';
import { BtrfsStore } from './store.ts';
import { nearestExisting, viewSubvolumes, withoutSymlinks } from './subvolumes.ts';
import { BtrfsTool, type BtrfsToolOptions } from './tool.ts';
import { liveAt } from './versions.ts';

/** Options of {@link btrfsSink}. */
export interface BtrfsSinkOptions {
  /**
   * The absolute path of a dataset: its copies become `PATH@SNAPSHOT`, read-only subvolumes beside it. At the path itself nothing need
   * be, and nothing is made. Called with checked paths only.
   */
  locate(filesystem: DatasetPath): string;
  readonly tool?: BtrfsToolOptions | undefined;
  readonly logger?: Logger | undefined;
}

/**
 * The receiving half of the btrfs backend; needs root. Whatever a sender sends, nothing is written outside the new subvolume, and a
 * copy appears whole and on disk or not at all. Nothing needs to be closed.
 */
export function btrfsSink(options: BtrfsSinkOptions): ReplicationSink {
  return new BtrfsSink(options);
}

class BtrfsSink implements ReplicationSink {
  readonly #options: BtrfsSinkOptions;
  readonly #tool: BtrfsTool;

  constructor(options: BtrfsSinkOptions) {
    this.#options = options;
    this.#tool = new BtrfsTool(options.tool);
  }

  async filesystemVersions(filesystem: DatasetPath, signal?: AbortSignal): Promise<FilesystemVersion[] | null> {
    return this.#doing('listing the versions of', filesystem, async ({ store }) => {
      const view = await viewSubvolumes(this.#tool, store.folder, signal);
      const copies = copiesOf(view, store.dataset);
      if (copies.length === 0 && liveAt(view, store.dataset) === null) return null;
      return withCreations(this.#tool, store, copies, signal);
    });
  }

  async resumeState(filesystem: DatasetPath): Promise<ResumeState | null> {
    return this.#doing('looking for an interrupted transfer of', filesystem, async (tools) => {
      const note = await tools.store.note();
      if (note === null) return null;
      const partial = await findPartial(tools);
      if (partial === null || note.receiving !== null) await removeUnlessBusy(tools);
      if (partial === null) return null;
      const [from, to] = [partial.from === null ? null : BigInt(partial.from), BigInt(partial.to)];
      const digest = PrefixDigest.restore(partial.digest).value();
      return { token: encodeResumeToken({ from, to, offset: partial.offset, digest }), fromGuid: from, toGuid: to };
    });
  }

  async discardPartial(filesystem: DatasetPath): Promise<void> {
    await this.#doing('discarding an interrupted transfer of', filesystem, async (tools) => {
      if (await tools.store.exists()) await tools.store.withLock(() => removeRemains(tools, null));
    });
  }

  async createParents(filesystem: DatasetPath): Promise<void> {
    await this.#doing('creating the parents of', filesystem, async ({ store }) => {
      await mountOf(await nearestExisting(store.folder));
      await store.create();
    });
  }

  async receive(request: ReceiveRequest, bytes: TransferBytes, signal?: AbortSignal): Promise<ReceiveResult> {
    const { filesystem, to } = request;
    const prepared = this.#doing('receiving', filesystem, async ({ store }) => {
      snapshotPath(store.dataset, to.name);
      await mountOf(await nearestExisting(store.folder));
      await store.create();
    });
    await prepared.catch(async (error: unknown) => {
      // Whoever sends must learn that nobody will read.
      await bytes[Symbol.asyncIterator]().return?.();
      throw error;
    });
    return this.#doing('receiving', filesystem, (tools) => receiveStream({ ...tools, signal }, request, bytes));
  }

  async #doing<T>(doing: string, filesystem: DatasetPath, work: (tools: ReceiveTools) => Promise<T>): Promise<T> {
    checkDatasetPath(filesystem);
    const path = this.#options.locate(filesystem);
    try {
      const store = new BtrfsStore(await withoutSymlinks(path));
      return await work({ tool: this.#tool, store, logger: this.#options.logger });
    } catch (error) {
      throw toSnapferryError(error, 'INTERNAL', `${doing} "${formatDatasetPath(filesystem)}" at ${path}`);
    }
  }
}

/** A receive that runs has the same notes as one that was killed; the lock tells them apart. */
async function removeUnlessBusy(tools: ReceiveTools): Promise<void> {
  try {
    await tools.store.withLock(async () => removeRemains(tools, await findPartial(tools)));
  } catch (error) {
    if (!(error instanceof SnapferryError)) throw error;
    tools.logger?.debug({ err: error, dataset: tools.store.dataset }, 'an unfinished receive was left as it is');
  }
}

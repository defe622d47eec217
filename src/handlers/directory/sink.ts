import { mkdir } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { checkDatasetPath, formatDatasetPath } from '../../dataset.ts';
import type { DatasetPath, FilesystemVersion } from '../../dataset.ts';
import { SnapferryError, toSnapferryError } from '../../errors.ts';
import type { Logger } from '../../rpc/interfaces.ts';
import type { ReceiveRequest, ReceiveResult, ReplicationSink, ResumeState, TransferBytes } from '../../sink.ts';
import { defaultReceiveLimits } from './receive-delta.ts';
import type { ReceiveLimits } from './receive-delta.ts';
import { receiveTransfer } from './receive.ts';
import { PartialShelf, removePartial } from './resume.ts';
import { openStore } from './store.ts';
import type { Store } from './store.ts';

/** Options of {@link directorySink}. */
export interface DirectorySinkOptions {
  /** The directory of a dataset's copy; it is created by the first receive. Called with checked paths only. */
  locate(filesystem: DatasetPath): string;
  readonly logger?: Logger | undefined;
  /** Overrides of {@link defaultReceiveLimits}. */
  readonly limits?: Partial<ReceiveLimits> | undefined;
}

/**
 * The receiving half of the directory backend: keeps copies as directories of browsable snapshots. Whatever a sender
 * sends, nothing is written outside the copy's staging directory, and a version appears whole or not at all. Nothing
 * needs to be closed.
 */
export function directorySink(options: DirectorySinkOptions): ReplicationSink {
  return new DirectorySink(options);
}

class DirectorySink implements ReplicationSink {
  readonly #options: DirectorySinkOptions;
  readonly #limits: ReceiveLimits;
  readonly #partials: PartialShelf;

  constructor(options: DirectorySinkOptions) {
    this.#options = options;
    this.#limits = { ...defaultReceiveLimits, ...options.limits };
    this.#partials = new PartialShelf(this.#limits);
  }

  async filesystemVersions(filesystem: DatasetPath): Promise<FilesystemVersion[] | null> {
    return this.#doing('listing the versions of', filesystem, async () => {
      return (await this.#existingStore(filesystem))?.versions() ?? null;
    });
  }

  async missing(filesystem: DatasetPath, version: FilesystemVersion): Promise<readonly string[]> {
    return this.#doing('reading what is missing in', filesystem, async () => {
      const store = await this.#existingStore(filesystem);
      return store === null ? [] : (await store.headerOf(version)).missing;
    });
  }

  async resumeState(filesystem: DatasetPath): Promise<ResumeState | null> {
    return this.#doing('looking for an interrupted transfer of', filesystem, async () => {
      const store = await this.#existingStore(filesystem);
      return store === null ? null : this.#partials.resumeState(store);
    });
  }

  async discardPartial(filesystem: DatasetPath): Promise<void> {
    await this.#doing('discarding an interrupted transfer of', filesystem, async () => {
      const store = await this.#existingStore(filesystem);
      if (store === null) return;
      this.#partials.forget(store);
      await store.withLock(() => removePartial(store));
    });
  }

  async createParents(filesystem: DatasetPath): Promise<void> {
    await this.#doing('creating the parents of', filesystem, async (directory) => {
      await mkdir(dirname(resolve(directory)), { recursive: true });
    });
  }

  async receive(request: ReceiveRequest, bytes: TransferBytes, signal?: AbortSignal): Promise<ReceiveResult> {
    const { filesystem } = request;
    const opened = this.#doing('receiving', filesystem, (directory) =>
      openStore(directory, { kind: 'copy', create: true }),
    );
    const store = await opened.catch(async (error: unknown) => {
      // Whoever sends must learn that nobody will read.
      await bytes[Symbol.asyncIterator]().return?.();
      throw error;
    });
    const { logger } = this.#options;
    const context = { store, partials: this.#partials, limits: this.#limits, signal, logger };
    return this.#doing('receiving', filesystem, () => receiveTransfer(context, request, bytes));
  }

  async #existingStore(filesystem: DatasetPath): Promise<Store | null> {
    try {
      return await openStore(this.#options.locate(filesystem), { kind: 'copy' });
    } catch (error) {
      if (error instanceof SnapferryError && error.code === 'DATASET_NOT_FOUND') return null;
      throw error;
    }
  }

  async #doing<T>(doing: string, filesystem: DatasetPath, work: (directory: string) => Promise<T>): Promise<T> {
    checkDatasetPath(filesystem);
    const directory = this.#options.locate(filesystem);
    try {
      return await work(directory);
    } catch (error) {
      throw toSnapferryError(error, 'INTERNAL', `${doing} "${formatDatasetPath(filesystem)}" in ${directory}`);
    }
  }
}

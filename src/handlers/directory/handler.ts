import { statSync } from 'node:fs';
import { formatDatasetPath, sameDataset } from '../../dataset.ts';
import type { DatasetPath, FilesystemVersion } from '../../dataset.ts';
import { SnapferryError, toSnapferryError } from '../../errors.ts';
import type {
  FilesystemsRequest,
  IncrementalTransferRequest,
  InitialTransferRequest,
  Logger,
  RequestContext,
  RPCHandler,
  Transfer,
  TransferCompletedRequest,
  TransferEstimateRequest,
} from '../../rpc/interfaces.ts';
import { estimateTransfer, sendTransfer } from './send.ts';
import { openStore, storedNameBytesMax } from './store.ts';
import type { Store } from './store.ts';

/** A directory on offer, and the name under which peers see it. */
export interface DirectoryDataset {
  readonly path: DatasetPath;
  /** A live directory or a received copy. */
  readonly directory: string;
}

/** Prefix of the bookmarks that remember how far a job has got. */
export const cursorPrefix = 'snapferry_cursor_';

const jobIdPattern = /^[A-Za-z0-9][A-Za-z0-9_.:-]*$/;

/**
 * The source half of the directory backend: offers the snapshots of directories. Holds nothing open between requests;
 * nothing needs to be closed. Handler codes: `DATASET_NOT_FOUND`, `VERSION_NOT_FOUND` with what exists,
 * `RESUME_TOKEN_INVALID`, `INVALID_REQUEST`, `ACCESS_DENIED`, `SOURCE_FAILED`.
 */
export function directoryHandler(options: {
  readonly datasets: readonly DirectoryDataset[];
  readonly logger?: Logger | undefined;
}): RPCHandler {
  return new DirectoryHandler(options.datasets, options.logger);
}

class DirectoryHandler implements RPCHandler {
  readonly #datasets: readonly DirectoryDataset[];
  readonly #logger: Logger | undefined;

  constructor(datasets: readonly DirectoryDataset[], logger: Logger | undefined) {
    this.#datasets = datasets;
    this.#logger = logger;
  }

  filesystems({ roots }: FilesystemsRequest): Promise<DatasetPath[]> {
    const isWanted = (path: DatasetPath): boolean => {
      const name = formatDatasetPath(path);
      return roots === null || roots.map(withoutSlashes).some((root) => name === root || name.startsWith(`${root}/`));
    };
    return Promise.resolve(this.#datasets.map(({ path }) => path).filter(isWanted));
  }

  async filesystemVersions({ filesystem }: { filesystem: DatasetPath }): Promise<FilesystemVersion[]> {
    return this.#doing('listing the versions of', filesystem, async ({ directory }) => {
      try {
        return await (await openStore(directory)).versions();
      } catch (error) {
        if (hasNoSnapshotYet(error, directory)) return [];
        throw error;
      }
    });
  }

  async initialTransfer(request: InitialTransferRequest, context: RequestContext): Promise<Transfer> {
    const { version: to, resumeToken } = request;
    return this.#withStore('sending', request.filesystem, (store) =>
      sendTransfer(store, { from: null, to, resumeToken, signal: context.signal }),
    );
  }

  async incrementalTransfer(request: IncrementalTransferRequest, context: RequestContext): Promise<Transfer> {
    const { from, to, resumeToken } = request;
    return this.#withStore('sending', request.filesystem, (store) =>
      sendTransfer(store, { from, to, resumeToken, signal: context.signal }),
    );
  }

  async transferEstimate(request: TransferEstimateRequest): Promise<number> {
    return this.#withStore('estimating a transfer of', request.filesystem, (store) => estimateTransfer(store, request));
  }

  async transferCompleted({ filesystem, version, jobId }: TransferCompletedRequest): Promise<void> {
    const cursor = cursorName(jobId);
    await this.#withStore('moving the replication cursor of', filesystem, async (store) => {
      const versions = await store.versions();
      const found = versions.find(({ guid }) => guid === version.guid);
      // Throws, naming what there is.
      if (found === undefined) await store.headerOf(version);
      const current = versions.find(({ type, name }) => type === 'bookmark' && name === cursor);
      if (found === undefined || (current !== undefined && current.createTXG >= found.createTXG)) return;
      await store.setBookmark(cursor, found);
      this.#logger?.debug({ directory: store.directory, cursor, to: found.name }, 'replication cursor moved');
    });
  }

  async #withStore<T>(doing: string, filesystem: DatasetPath, work: (store: Store) => Promise<T>): Promise<T> {
    return this.#doing(doing, filesystem, async ({ directory }) => work(await openStore(directory)));
  }

  async #doing<T>(doing: string, filesystem: DatasetPath, work: (dataset: DirectoryDataset) => Promise<T>): Promise<T> {
    const name = formatDatasetPath(filesystem);
    const dataset = this.#datasets.find(({ path }) => sameDataset(path, filesystem));
    if (dataset === undefined) throw new SnapferryError('DATASET_NOT_FOUND', `there is no dataset "${name}" here`);
    try {
      return await work(dataset);
    } catch (error) {
      throw toSnapferryError(error, 'SOURCE_FAILED', `${doing} "${name}"`);
    }
  }
}

function withoutSlashes(root: string): string {
  return root.replace(/^\/+|\/+$/g, '');
}

function hasNoSnapshotYet(error: unknown, directory: string): boolean {
  const isNoStore = error instanceof SnapferryError && error.code === 'DATASET_NOT_FOUND';
  return isNoStore && statSync(directory, { throwIfNoEntry: false })?.isDirectory() === true;
}

function cursorName(jobId: string): string {
  const name = cursorPrefix + jobId;
  if (jobIdPattern.test(jobId) && name.length <= storedNameBytesMax) return name;
  throw new SnapferryError(
    'INVALID_REQUEST',
    `the job id ${JSON.stringify(jobId.slice(0, 100))} cannot name a bookmark: letters, digits, "_", ".", ":" and "-", ` +
      `beginning with a letter or digit, at most ${storedNameBytesMax - cursorPrefix.length} characters`,
  );
}

import { relative } from 'node:path';
import { formatDatasetPath, formatVersion, sameDataset } from '../../dataset.ts';
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
import { withCreations } from './creations.ts';
import { moveCursor } from './cursors.ts';
import { decodeResumeToken } from './resume-token.ts';
import { estimateFull, sendStream } from './send.ts';
import { BtrfsStore } from './store.ts';
import { viewSubvolumes, withoutSymlinks, type SubvolumeView } from './subvolumes.ts';
import { BtrfsTool, type BtrfsToolOptions } from './tool.ts';
import {
  datasetsBelow,
  describeNested,
  liveAt,
  nestedIn,
  snapshotFoldersDefault,
  snapshotsOf,
  type Snapshot,
} from './versions.ts';

/** A subvolume on offer, and the name under which peers see it. */
export interface BtrfsRoot {
  /** Absolute path of a subvolume, or of a dataset that exists only as copies named `PATH@SNAPSHOT`. */
  readonly directory: string;
  /** Default: the components of the absolute path. What is below has its relative path appended. */
  readonly path?: DatasetPath | undefined;
  /** Also offers the subvolumes below it; then `directory` may be any folder on btrfs. Default false. */
  readonly isRecursive?: boolean | undefined;
}

/** Options of {@link btrfsHandler}. */
export interface BtrfsHandlerOptions {
  readonly roots: readonly BtrfsRoot[];
  /** Folders in which snapshots are looked for, by name beside and inside datasets, or absolute. Default `['.snapshots']`. */
  readonly snapshotFolders?: readonly string[] | undefined;
  /** Version of the stream format. Default 1, which every btrfs understands. */
  readonly streamVersion?: 1 | 2 | undefined;
  readonly tool?: BtrfsToolOptions | undefined;
  readonly logger?: Logger | undefined;
}

/**
 * The source half of the btrfs backend: offers read-only snapshots of subvolumes; needs root, at least through `sudo`. Holds nothing
 * open between requests; nothing needs to be closed. Handler codes: `DATASET_NOT_FOUND`, `VERSION_NOT_FOUND` with what exists,
 * `RESUME_TOKEN_INVALID`, `INVALID_REQUEST`, `ACCESS_DENIED`, `SOURCE_FAILED`.
 */
export function btrfsHandler(options: BtrfsHandlerOptions): RPCHandler {
  return new BtrfsHandler(options);
}

/** A dataset that exists. */
interface Offered {
  readonly path: DatasetPath;
  readonly directory: string;
  readonly view: SubvolumeView;
  /** Subvolumes inside, of which nothing is in its snapshots and which are not on offer by themselves. */
  readonly lost: readonly string[];
}

interface Found extends Offered {
  readonly snapshots: readonly Snapshot[];
}

const namesShownMax = 10;

class BtrfsHandler implements RPCHandler {
  readonly #options: BtrfsHandlerOptions;
  readonly #tool: BtrfsTool;
  readonly #folders: readonly string[];

  constructor(options: BtrfsHandlerOptions) {
    this.#options = options;
    this.#tool = new BtrfsTool(options.tool);
    this.#folders = options.snapshotFolders ?? snapshotFoldersDefault;
  }

  async filesystems({ roots }: FilesystemsRequest, { signal }: RequestContext): Promise<DatasetPath[]> {
    const isWanted = ({ path }: Offered): boolean => {
      const name = formatDatasetPath(path);
      return roots === null || roots.map(withoutSlashes).some((root) => name === root || name.startsWith(`${root}/`));
    };
    try {
      return (await this.#offered(null, signal)).filter(isWanted).map(({ path }) => path);
    } catch (error) {
      throw toSnapferryError(error, 'SOURCE_FAILED', 'listing subvolumes');
    }
  }

  async filesystemVersions(
    { filesystem }: { filesystem: DatasetPath },
    { signal }: RequestContext,
  ): Promise<FilesystemVersion[]> {
    return this.#doing('listing the versions of', filesystem, signal, async ({ directory, snapshots }) =>
      withCreations(this.#tool, new BtrfsStore(directory), snapshots, signal),
    );
  }

  async initialTransfer(request: InitialTransferRequest, context: RequestContext): Promise<Transfer> {
    const { filesystem, version, resumeToken } = request;
    return this.#doing('sending', filesystem, context.signal, (found) => {
      return this.#send(found, { from: null, to: version, resumeToken }, context);
    });
  }

  async incrementalTransfer(request: IncrementalTransferRequest, context: RequestContext): Promise<Transfer> {
    const { filesystem, from, to, resumeToken } = request;
    return this.#doing('sending', filesystem, context.signal, (found) => {
      return this.#send(found, { from, to, resumeToken }, context);
    });
  }

  async transferEstimate(request: TransferEstimateRequest, { signal }: RequestContext): Promise<number | null> {
    const { filesystem, from, to, resumeToken } = request;
    return this.#doing('estimating a transfer of', filesystem, signal, async (found) => {
      const snapshot = requireSnapshot(found, to);
      if (from !== null) {
        requireSnapshot(found, from);
        return null;
      }
      const bytes = await estimateFull(this.#tool, snapshot, signal);
      const skipped = resumeToken === undefined ? 0 : decodeResumeToken(resumeToken).offset;
      return bytes === null ? null : Math.max(0, bytes - skipped);
    });
  }

  async transferCompleted(request: TransferCompletedRequest, { signal }: RequestContext): Promise<void> {
    const { filesystem, version, jobId } = request;
    await this.#doing('moving the replication cursor of', filesystem, signal, async (found) => {
      const { version: own } = requireSnapshot(found, version);
      await moveCursor(new BtrfsStore(found.directory), jobId, own);
      this.#options.logger?.debug({ dataset: found.directory, job: jobId, to: own.name }, 'replication cursor moved');
    });
  }

  async #send(
    found: Found,
    { from, to, resumeToken }: Pick<TransferEstimateRequest, 'from' | 'to' | 'resumeToken'>,
    context: RequestContext,
  ): Promise<Transfer> {
    const tell = (message: string): void => context.progress({ message, done: null, total: null });
    if (found.lost.length > 0) tell(describeNested(found.directory, found.lost));
    return sendStream(this.#tool, {
      from: from === null ? null : requireSnapshot(found, from),
      to: requireSnapshot(found, to),
      resumeToken,
      streamVersion: this.#options.streamVersion ?? 1,
      signal: context.signal,
      onSkip: (bytes) =>
        tell(`making the first ${bytes} bytes of ${formatVersion(to)} once more, without sending them`),
    });
  }

  /** Datasets on offer. @param wanted null: all of them; else the listing is read only where that one can be */
  async #offered(wanted: DatasetPath | null, signal: AbortSignal): Promise<Offered[]> {
    const offered: Offered[] = [];
    for (const root of this.#options.roots) {
      const directory = await withoutSymlinks(root.directory);
      const path = root.path ?? root.directory.split('/').filter((component) => component !== '');
      const isPossible = wanted === null || sameDataset(path, wanted.slice(0, path.length));
      if (!isPossible || (wanted !== null && root.isRecursive !== true && wanted.length !== path.length)) continue;
      const view = await viewSubvolumes(this.#tool, directory, signal);
      const folders = root.isRecursive === true ? datasetsBelow(view, directory) : this.#existing(view, directory);
      for (const folder of folders) {
        const below = relative(directory, folder);
        const lost = root.isRecursive === true ? [] : nestedIn(view, folder, this.#folders);
        offered.push({ path: below === '' ? path : [...path, ...below.split('/')], directory: folder, view, lost });
      }
    }
    return offered;
  }

  #existing(view: SubvolumeView, directory: string): string[] {
    const exists = liveAt(view, directory) !== null || snapshotsOf(view, directory, this.#folders).length > 0;
    return exists ? [directory] : [];
  }

  async #doing<T>(
    doing: string,
    filesystem: DatasetPath,
    signal: AbortSignal,
    work: (found: Found) => Promise<T>,
  ): Promise<T> {
    const name = formatDatasetPath(filesystem);
    try {
      const offered = (await this.#offered(filesystem, signal)).find(({ path }) => sameDataset(path, filesystem));
      if (offered === undefined) {
        throw new SnapferryError('DATASET_NOT_FOUND', `there is no dataset ${JSON.stringify(name)} here`);
      }
      return await work({ ...offered, snapshots: snapshotsOf(offered.view, offered.directory, this.#folders) });
    } catch (error) {
      throw toSnapferryError(error, 'SOURCE_FAILED', `${doing} "${name}"`);
    }
  }
}

function withoutSlashes(root: string): string {
  return root.replace(/^\/+|\/+$/g, '');
}

/** The snapshot with the version's guid; of several, the one with its name. */
function requireSnapshot({ directory, snapshots }: Found, wanted: FilesystemVersion): Snapshot {
  const same = snapshots.filter(({ version }) => version.guid === wanted.guid);
  const found = same.find(({ version }) => version.name === wanted.name) ?? same[0];
  if (found !== undefined && wanted.type === 'snapshot') return found;
  const names = snapshots.map(({ version }) => formatVersion(version));
  const shown = names.length > namesShownMax ? ['…', ...names.slice(-namesShownMax)] : names;
  const there = names.length === 0 ? 'there is none' : `there are: ${shown.join(', ')}`;
  throw new SnapferryError('VERSION_NOT_FOUND', `${directory} has no snapshot ${formatVersion(wanted)}; ${there}`);
}

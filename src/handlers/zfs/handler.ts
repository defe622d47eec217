import { formatDatasetPath } from '../../dataset.ts';
import type { DatasetPath, FilesystemVersion } from '../../dataset.ts';
import { SnapferryError, toSnapferryError } from '../../errors.ts';
import type {
  FilesystemsRequest,
  FilesystemVersionsRequest,
  IncrementalTransferRequest,
  InitialTransferRequest,
  Logger,
  RequestContext,
  RPCHandler,
  Transfer,
  TransferCompletedRequest,
  TransferEstimateRequest,
} from '../../rpc/interfaces.ts';
import { listDatasetsArguments } from './commands.ts';
import { zfsTool } from './commands-tool.ts';
import type { ZfsTool } from './commands-tool.ts';
import { ZfsRoots } from './handler-roots.ts';
import type { RootPart, ZfsRoot } from './handler-roots.ts';
import { JobProtection } from './holds-job.ts';
import type { ZfsProtection } from './holds-job.ts';
import { parseDatasets } from './output.ts';
import { sendBytes } from './send-stream.ts';
import { checkSendOptions, sendFlagsFor } from './send-options.ts';
import type { ZfsSendOptions } from './send-options.ts';
import { prepareSend } from './send.ts';
import type { SendRequest } from './send.ts';
import { listVersions } from './versions.ts';

/** What `StreamFormat` says of streams of `zfs send`. */
export const zfsStreamFormat = 'zfs';

/** What {@link zfsHandler} takes. */
export interface ZfsHandlerOptions {
  /** What is on offer. */
  readonly roots: readonly ZfsRoot[];
  /** Whether a dataset of these roots is on offer, by its name here. Default: all are. */
  readonly includes?: ((dataset: string) => boolean) | undefined;
  /** How datasets are sent. */
  readonly send?: ZfsSendOptions | undefined;
  /** Default `resumability`. Only transfers that name their job are protected. */
  readonly protection?: ZfsProtection | undefined;
  /** Default: `zfs` as this user. */
  readonly tool?: ZfsTool | undefined;
  readonly logger?: Logger | undefined;
}

/**
 * The source half of the ZFS backend: offers filesystems and volumes with their snapshots and bookmarks. Datasets that were only made as
 * parents of others are not offered. Holds nothing open between requests; nothing needs to be closed. Handler codes:
 * `DATASET_NOT_FOUND`, `VERSION_NOT_FOUND` with what exists, `RESUME_TOKEN_INVALID`, `STREAM_FORMAT_MISMATCH`, `INVALID_REQUEST`, `BUSY`,
 * `SOURCE_FAILED`, `CANCELLED`, and `TIMEOUT` if `zfs` stood still.
 * @throws SnapferryError `INVALID_REQUEST` for an impossible root; RangeError for send options that contradict each other
 */
export function zfsHandler(options: ZfsHandlerOptions): RPCHandler {
  return new ZfsHandler(options);
}

class ZfsHandler implements RPCHandler {
  readonly #tool: ZfsTool;
  readonly #roots: ZfsRoots;
  readonly #send: ZfsSendOptions;
  readonly #protection: JobProtection;
  readonly #logger: Logger | undefined;

  constructor({ roots, includes, send = {}, protection, tool, logger }: ZfsHandlerOptions) {
    checkSendOptions(send);
    this.#tool = tool ?? zfsTool();
    this.#roots = new ZfsRoots(roots, includes ?? (() => true));
    this.#send = send;
    this.#protection = new JobProtection(this.#tool, protection ?? 'resumability', logger);
    this.#logger = logger;
  }

  async filesystems({ roots }: FilesystemsRequest, { signal }: RequestContext): Promise<DatasetPath[]> {
    const found = new Map<string, DatasetPath>();
    for (const part of this.#roots.partsFor(roots)) {
      for (const path of await this.#pathsOf(part, signal)) found.set(formatDatasetPath(path), path);
    }
    return [...found.values()];
  }

  async #pathsOf(part: RootPart, signal: AbortSignal): Promise<DatasetPath[]> {
    const { dataset, recursive, isWhole } = part;
    const doing = `listing the datasets at ${dataset}`;
    let names: string[];
    try {
      const { stdout } = await this.#tool.run(listDatasetsArguments(dataset, recursive), { doing, signal });
      names = parseDatasets(stdout)
        .filter(({ isPlaceholder }) => !isPlaceholder)
        .map(({ name }) => name);
    } catch (error) {
      if (!(error instanceof SnapferryError && error.code === 'DATASET_NOT_FOUND')) throw error;
      // A root that is missing is offered all the same: that nothing can be read from it must be heard of, and not stop the others.
      names = isWhole ? [dataset] : [];
    }
    return names.map((name) => this.#roots.pathOf(part, name)).filter((path) => path !== null);
  }

  async filesystemVersions(
    { filesystem }: FilesystemVersionsRequest,
    { signal }: RequestContext,
  ): Promise<FilesystemVersion[]> {
    return this.#doing('listing the versions of', filesystem, (dataset) => listVersions(this.#tool, dataset, signal));
  }

  async initialTransfer(request: InitialTransferRequest, context: RequestContext): Promise<Transfer> {
    return this.#transfer({ ...request, from: null, to: request.version }, context);
  }

  async incrementalTransfer(request: IncrementalTransferRequest, context: RequestContext): Promise<Transfer> {
    return this.#transfer(request, context);
  }

  async transferEstimate(request: TransferEstimateRequest, { signal }: RequestContext): Promise<number | null> {
    return this.#doing('estimating a transfer of', request.filesystem, async (dataset) => {
      const { from, to, resumeToken } = request;
      return (await this.#prepare({ dataset, from, to, resumeToken, signal })).estimatedBytes;
    });
  }

  async transferCompleted(request: TransferCompletedRequest, context: RequestContext): Promise<void> {
    const { filesystem, version, jobId } = request;
    await this.#doing('moving the replication cursor of', filesystem, (dataset) =>
      this.#protection.complete({
        dataset,
        version,
        owner: { identity: context.clientIdentity, jobId },
        isRawNow: ({ isEncrypted }) => isEncrypted && sendFlagsFor(this.#send, dataset, isEncrypted).raw,
        signal: context.signal,
      }),
    );
  }

  async #transfer(
    request: Omit<IncrementalTransferRequest, 'from'> & { readonly from: FilesystemVersion | null },
    { clientIdentity, signal }: RequestContext,
  ): Promise<Transfer> {
    const { filesystem, from, to, resumeToken, jobId } = request;
    return this.#doing('sending', filesystem, async (dataset) => {
      const prepared = await this.#prepare({ dataset, from, to, resumeToken, signal });
      if (jobId !== undefined) {
        await this.#protection.begin({ ...prepared, owner: { identity: clientIdentity, jobId }, signal });
      }
      const { estimatedBytes, resumed } = prepared;
      return { format: zfsStreamFormat, estimatedBytes, resumed, bytes: sendBytes(this.#tool, prepared, signal) };
    });
  }

  #prepare(request: SendRequest): ReturnType<typeof prepareSend> {
    return prepareSend(this.#tool, request, { options: this.#send, logger: this.#logger });
  }

  async #doing<T>(doing: string, filesystem: DatasetPath, work: (dataset: string) => Promise<T>): Promise<T> {
    const dataset = this.#roots.locate(filesystem);
    try {
      return await work(dataset);
    } catch (error) {
      throw toSnapferryError(error, 'SOURCE_FAILED', `${doing} "${dataset}"`);
    }
  }
}

import { formatDatasetPath, formatVersion } from '../../dataset.ts';
import type { DatasetPath, FilesystemVersion } from '../../dataset.ts';
import { SnapferryError, toSnapferryError } from '../../errors.ts';
import type { Logger } from '../../rpc/interfaces.ts';
import type { ReceiveRequest, ReceiveResult, ReplicationSink, ResumeState, TransferBytes } from '../../sink.ts';
import { zfsTool } from './commands-tool.ts';
import type { ZfsTool } from './commands-tool.ts';
import { checkDatasetName, datasetName } from './names.ts';
import { zfsCause } from './output-failure.ts';
import { createMissingParents, isEmptyPlaceholder } from './placeholder.ts';
import type { PlaceholderOptions } from './placeholder.ts';
import { resumeTokenArguments } from './receive-commands.ts';
import { checkReceiveProperties } from './receive-properties.ts';
import type { ReceivePropertyOptions } from './receive-properties.ts';
import { ReceiveStream } from './receive-stream.ts';
import { decodeResumeToken } from './resume-token.ts';
import { abortReceive } from './sink-abort.ts';
import { NewestHolds } from './sink-holds.ts';
import { receiveTransfer } from './sink-receive.ts';
import { settleEarlier } from './sink-settle.ts';
import { readState } from './sink-state.ts';
import { listVersionsIfThere } from './sink-versions.ts';

/** Options of {@link zfsSink}. */
export interface ZfsSinkOptions {
  /** The ZFS dataset of a dataset's copy: `backup/web1/home`. Called with valid names only; its answer is checked again. */
  locate(filesystem: DatasetPath): string;
  /** Default: `zfs` of this machine. */
  readonly tool?: ZfsTool | undefined;
  /** With it, the newest version received is held for this job, until a newer one is. */
  readonly jobId?: string | undefined;
  /** Whose data it is; part of the tag of the hold. Default: unknown. */
  readonly identity?: string | undefined;
  readonly properties?: ReceivePropertyOptions | undefined;
  readonly placeholder?: PlaceholderOptions | undefined;
  readonly logger?: Logger | undefined;
}

/**
 * The receiving half of the ZFS backend: keeps copies as datasets with the sender's snapshots. Nothing that is there is ever rolled
 * back or overwritten, but for empty placeholders of its own. A sender decides neither where a copy is mounted nor any other
 * property, unless the options say so. Nothing needs to be closed.
 * @throws SnapferryError `INVALID_REQUEST` for impossible properties, or a job id that cannot be part of a tag
 */
export function zfsSink(options: ZfsSinkOptions): ReplicationSink {
  checkReceiveProperties(options.properties ?? {});
  return new ZfsSink(options);
}

class ZfsSink implements ReplicationSink {
  readonly #options: ZfsSinkOptions;
  readonly #tool: ZfsTool;
  readonly #holds: NewestHolds | null;
  /** Datasets being received into. ZFS refuses a second receive, too, but does not say why. */
  readonly #receiving = new Set<string>();

  constructor(options: ZfsSinkOptions) {
    this.#options = options;
    this.#tool = options.tool ?? zfsTool();
    const { identity = '', jobId } = options;
    this.#holds = jobId === undefined ? null : new NewestHolds(this.#tool, { identity, jobId });
  }

  async filesystemVersions(filesystem: DatasetPath, signal?: AbortSignal): Promise<FilesystemVersion[] | null> {
    return this.#doing('listing the versions of', filesystem, async (dataset) => {
      const versions = await listVersionsIfThere(this.#tool, dataset, signal);
      if (versions === null || versions.length > 0) return versions;
      const state = await readState(this.#tool, dataset, signal);
      // What is only the beginning of a first receive, or was only made to have children, is no copy yet.
      if (state === null || state.isInconsistent || isEmptyPlaceholder(state, 0)) return null;
      return versions;
    });
  }

  async resumeState(filesystem: DatasetPath, signal?: AbortSignal): Promise<ResumeState | null> {
    return this.#doing('looking for an interrupted transfer of', filesystem, async (dataset) => {
      if (this.#receiving.has(dataset)) throw busy(dataset);
      const { stdout } = await this.#tool.run(resumeTokenArguments(dataset), {
        doing: `looking for an interrupted receive of ${dataset}`,
        signal,
        fallback: 'INTERNAL',
        accepts: (stderr) => zfsCause(stderr) === 'dataset_not_found',
      });
      const token = stdout.toString('utf8').trim();
      if (token === '' || token === '-') return null;
      try {
        const { fromGuid, toGuid } = decodeResumeToken(token);
        return { token, fromGuid, toGuid };
      } catch (error) {
        this.#options.logger?.warn({ err: error, dataset }, 'a partial receive is of no use and will be discarded');
        return null;
      }
    });
  }

  async discardPartial(filesystem: DatasetPath): Promise<void> {
    await this.#doing('discarding an interrupted transfer of', filesystem, async (dataset) => {
      if (this.#receiving.has(dataset)) throw busy(dataset);
      await abortReceive(this.#tool, dataset);
    });
  }

  async createParents(filesystem: DatasetPath): Promise<void> {
    await this.#doing('creating the parents of', filesystem, (dataset) =>
      createMissingParents({ tool: this.#tool, options: this.#options.placeholder ?? {} }, dataset),
    );
  }

  async settle(filesystem: DatasetPath, version: FilesystemVersion): Promise<readonly string[]> {
    return this.#doing('finishing an earlier receive of', filesystem, (dataset) =>
      this.#alone(dataset, () => {
        const { properties = {}, logger } = this.#options;
        return settleEarlier({ tool: this.#tool, dataset, holds: this.#holds, properties, logger }, version.guid);
      }),
    );
  }

  async receive(request: ReceiveRequest, bytes: TransferBytes, signal?: AbortSignal): Promise<ReceiveResult> {
    const stream = new ReceiveStream(bytes);
    const cancel = (): void =>
      stream.interrupt(new SnapferryError('CANCELLED', `receiving ${formatVersion(request.to)} was cancelled`));
    if (signal?.aborted === true) cancel();
    signal?.addEventListener('abort', cancel, { once: true });
    try {
      return await this.#doing('receiving', request.filesystem, (dataset) =>
        this.#alone(dataset, () => {
          const { properties = {}, logger } = this.#options;
          const context = { tool: this.#tool, dataset, holds: this.#holds, properties, logger, signal };
          return receiveTransfer(context, request, stream);
        }),
      );
    } finally {
      signal?.removeEventListener('abort', cancel);
      await stream.close();
    }
  }

  async #alone<T>(dataset: string, work: () => Promise<T>): Promise<T> {
    if (this.#receiving.has(dataset)) throw busy(dataset);
    this.#receiving.add(dataset);
    try {
      return await work();
    } finally {
      this.#receiving.delete(dataset);
    }
  }

  async #doing<T>(doing: string, filesystem: DatasetPath, work: (dataset: string) => Promise<T>): Promise<T> {
    datasetName(filesystem);
    const dataset = this.#options.locate(filesystem);
    checkDatasetName(dataset);
    try {
      return await work(dataset);
    } catch (error) {
      throw toSnapferryError(error, 'INTERNAL', `${doing} "${formatDatasetPath(filesystem)}" in ${dataset}`);
    }
  }
}

function busy(dataset: string): SnapferryError {
  return new SnapferryError('BUSY', `another transfer is being received into ${dataset}; run again once it has ended`);
}

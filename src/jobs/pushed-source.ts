import { formatDatasetPath } from '../dataset.ts';
import type { DatasetPath, FilesystemVersion } from '../dataset.ts';
import { SnapferryError } from '../errors.ts';
import { delegating } from '../handlers/delegating.ts';
import type { IncrementalTransferRequest, InitialTransferRequest, RPCHandler, Transfer } from '../rpc/interfaces.ts';
import { initialRefusal } from './replicate-round.ts';

/** What a push lets the other side see and do, and wants to know of it. */
export interface PushedSourceOptions {
  /** Keeps holds and cursors, whatever the other side calls its own job. */
  readonly jobId: string;
  /** Only these are sent. Others may still be what a transfer starts from. */
  readonly isWanted: (snapshot: FilesystemVersion) => boolean;
  /** Whether a first transfer of all is refused. */
  readonly refusesInitial: boolean;
  readonly formatName: (dataset: DatasetPath) => string;
  /** What there is of a dataset, as the other side is told. */
  readonly onVersions: (dataset: DatasetPath, versions: readonly FilesystemVersion[]) => void;
  readonly onTransfer: (dataset: DatasetPath, step: PushedStep, transfer: Transfer) => void;
  /** The other side has it for good. */
  readonly onCompleted: (dataset: DatasetPath, version: FilesystemVersion) => void;
  /** A first transfer was refused. */
  readonly onInitialRefused: (dataset: DatasetPath) => void;
}

/** A transfer that the other side has asked for. */
export interface PushedStep {
  readonly from: FilesystemVersion | null;
  readonly to: FilesystemVersion;
}

/**
 * A source as a push shows it. A snapshot that is not wanted is shown as if only its bookmark were left: then it can be what a transfer
 * starts from, and is never asked for itself.
 */
export function pushedSource(handler: RPCHandler, options: PushedSourceOptions): RPCHandler {
  const { jobId, isWanted, refusesInitial, formatName } = options;
  /** Snapshots shown as bookmarks, by dataset. */
  const masked = new Map<string, Map<bigint, FilesystemVersion>>();
  const unmasked = (dataset: DatasetPath, version: FilesystemVersion): FilesystemVersion =>
    (version.type === 'bookmark' ? masked.get(formatDatasetPath(dataset))?.get(version.guid) : undefined) ?? version;
  const transferEstimate = handler.transferEstimate?.bind(handler);
  const transferCompleted = handler.transferCompleted?.bind(handler);
  return delegating(handler, {
    async filesystemVersions(request, context) {
      const versions = await handler.filesystemVersions(request, context);
      const unwanted = versions.filter((version) => version.type === 'snapshot' && !isWanted(version));
      masked.set(formatDatasetPath(request.filesystem), new Map(unwanted.map((version) => [version.guid, version])));
      const shown = versions.map((version) =>
        unwanted.includes(version) ? { ...version, type: 'bookmark' } : version,
      );
      options.onVersions(request.filesystem, shown);
      return shown;
    },
    async initialTransfer(request: InitialTransferRequest, context) {
      const { filesystem, version, resumeToken } = request;
      if (refusesInitial && resumeToken === undefined) {
        options.onInitialRefused(filesystem);
        throw new SnapferryError('ACCESS_DENIED', initialRefusal(formatName(filesystem)));
      }
      const transfer = await handler.initialTransfer({ ...request, jobId }, context);
      options.onTransfer(filesystem, { from: null, to: version }, transfer);
      return transfer;
    },
    async incrementalTransfer(request: IncrementalTransferRequest, context) {
      const { filesystem, from, to } = request;
      const transfer = await handler.incrementalTransfer(
        { ...request, from: unmasked(filesystem, from), jobId },
        context,
      );
      options.onTransfer(filesystem, { from, to }, transfer);
      return transfer;
    },
    ...(transferEstimate && {
      transferEstimate: (request, context) => {
        const from = request.from === null ? null : unmasked(request.filesystem, request.from);
        return transferEstimate({ ...request, from }, context);
      },
    }),
    async transferCompleted(request, context) {
      await transferCompleted?.({ ...request, jobId }, context);
      options.onCompleted(request.filesystem, request.version);
    },
  });
}

import { formatDatasetPath } from '../dataset.ts';
import type { DatasetPath } from '../dataset.ts';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import { btrfsDestroyer } from '../handlers/btrfs/destroy.ts';
import { btrfsHandler } from '../handlers/btrfs/handler.ts';
import type { BtrfsRoot } from '../handlers/btrfs/handler.ts';
import { checkDatasetFolder } from '../handlers/btrfs/names.ts';
import { decodeResumeToken } from '../handlers/btrfs/resume-token.ts';
import { btrfsSink } from '../handlers/btrfs/sink.ts';
import { takeBtrfsSnapshot } from '../handlers/btrfs/snapshot.ts';
import type { BtrfsToolOptions } from '../handlers/btrfs/tool.ts';
import type { DatasetFilter } from '../dataset-filter.ts';
import type { RPCHandler } from '../rpc/interfaces.ts';
import { LocalRPC } from '../rpc/local-rpc.ts';
import type { JobBackend, JobBackendOptions, SnapshotOutcome, SnapshotsRequest } from './job-backend.ts';
import { selectedSource } from './selected-source.ts';

/** Jobs on btrfs. */
export function btrfsBackend({ tools, logger, clock }: JobBackendOptions): JobBackend {
  const tool: BtrfsToolOptions = { program: tools.btrfs };
  const offering = (roots: readonly BtrfsRoot[], folder: string | null): RPCHandler =>
    btrfsHandler({ roots, ...foldersOf(folder), tool, logger });
  return {
    backend: 'btrfs',
    takesAllAtOnce: false,
    formatName: directoryOf,
    parseName: (name) => name.split('/').filter((component) => component !== ''),
    checkDataset: (dataset) => checkDatasetFolder(directoryOf(dataset)),
    readResumeToken: readBtrfsToken,
    source: ({ selection: { filter }, snapshotFolder }) =>
      Promise.resolve(selectedSource(offering(btrfsRootsOf(filter), snapshotFolder), filter.matches)),
    sink: () => btrfsSink({ locate: directoryOf, tool, logger }),
    async takeSnapshots(request) {
      const outcomes = new Map<DatasetPath, SnapshotOutcome>();
      // Those inside others first, since their snapshots may lie in the outer ones.
      for (const dataset of request.datasets.toSorted((a, b) => b.length - a.length)) {
        outcomes.set(dataset, await takeOne(dataset, request, { tool, now: () => new Date(clock.nowMs()) }));
      }
      return request.datasets.flatMap((dataset) => outcomes.get(dataset) ?? []);
    },
    destroyer: ({ dataset, snapshotFolder }) =>
      btrfsDestroyer({ directory: directoryOf(dataset), ...foldersOf(snapshotFolder), tool }),
    async copiesBelow(place, signal) {
      const roots = [{ directory: directoryOf(place), path: place, isRecursive: true }];
      await using client = LocalRPC.connect(offering(roots, null), { logger });
      try {
        const found = await client.filesystems({ roots: null }, { signal });
        return found.filter((dataset) => dataset.length > place.length);
      } catch (error) {
        if (error instanceof SnapferryError && error.code === 'DATASET_NOT_FOUND') return [];
        throw error;
      }
    },
  };
}

/** What a resume token of btrfs says. It names versions only, and its sender looks for them in the requested dataset. */
export function readBtrfsToken(token: string): ReturnType<JobBackend['readResumeToken']> {
  const { from, to } = decodeResumeToken(token);
  return { filesystem: null, fromGuid: from, toGuid: to };
}

/** Where datasets that a filter means may be. */
export function btrfsRootsOf({ roots }: Pick<DatasetFilter, 'roots'>): BtrfsRoot[] {
  return roots.map(({ path, isSubtree }) => ({ directory: directoryOf(path), path, isRecursive: isSubtree }));
}

function directoryOf(dataset: DatasetPath): string {
  return `/${formatDatasetPath(dataset)}`;
}

function foldersOf(folder: string | null) {
  return folder === null ? {} : { snapshotFolders: [folder] };
}

async function takeOne(
  dataset: DatasetPath,
  { name, datasets, snapshotFolder, dryRun, signal }: SnapshotsRequest,
  { tool, now }: { readonly tool: BtrfsToolOptions; readonly now: () => Date },
): Promise<SnapshotOutcome> {
  const folder = snapshotFolder === null ? {} : { folder: snapshotFolder };
  try {
    const options = { name, force: true, dryRun, ...folder, covered: datasets.map(directoryOf), tool, now, signal };
    const { version, notices } = await takeBtrfsSnapshot(directoryOf(dataset), options);
    return { dataset, version, notices, missing: [], error: null };
  } catch (error) {
    return { dataset, version: null, notices: [], missing: [], error: toSnapferryError(error, 'SOURCE_FAILED') };
  }
}

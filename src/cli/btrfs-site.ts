import { checkDatasetPath, formatDatasetPath, formatVersion, parseDatasetPath } from '../dataset.ts';
import type { DatasetPath } from '../dataset.ts';
import { SnapferryError } from '../errors.ts';
import { listBtrfsCursors, releaseBtrfsCursor } from '../handlers/btrfs/cursors.ts';
import { btrfsHandler } from '../handlers/btrfs/handler.ts';
import { checkDatasetFolder } from '../handlers/btrfs/names.ts';
import { btrfsSink } from '../handlers/btrfs/sink.ts';
import { takeBtrfsSnapshot } from '../handlers/btrfs/snapshot.ts';
import type { BtrfsToolOptions } from '../handlers/btrfs/tool.ts';
import { btrfsRootsOf, readBtrfsToken } from '../jobs/backend-btrfs.ts';
import { selectedSource } from '../jobs/selected-source.ts';
import type { RPCHandler } from '../rpc/interfaces.ts';
import { LocalRPC } from '../rpc/local-rpc.ts';
import { formatDatasetOf } from './location.ts';
import type { Site, SiteAccess, SiteContext, SnapshotRequest, TakenSnapshot, Trace, TraceRequest } from './site.ts';
import { snapshotName } from './snapshot-name.ts';
import { UsageError } from './usage-error.ts';

/**
 * The site of a btrfs subvolume, by its absolute path.
 * @throws UsageError for what cannot be one
 */
export function btrfsSite(path: string, { logger, sudo }: SiteAccess): Site {
  const directory = path.replace(/(?<=.)\/+$/, '');
  const dataset = datasetOf(directory);
  const tool: BtrfsToolOptions = sudo ? { program: ['sudo', '-n', 'btrfs'] } : {};
  const offering = (recursive: boolean, select: (filesystem: DatasetPath) => boolean): RPCHandler =>
    selectedSource(
      btrfsHandler({ roots: [{ directory, path: dataset, isRecursive: recursive }], tool, logger }),
      select,
    );
  const site: Site = {
    backend: 'btrfs',
    dataset,
    formatName: (filesystem) => formatDatasetOf('btrfs', filesystem),
    checkDataset: (filesystem) => checkDatasetFolder(pathOf(filesystem)),
    readResumeToken: readBtrfsToken,
    source: ({ recursive, select }) => offering(recursive, select),
    sourceOf: (filter) =>
      Promise.resolve(selectedSource(btrfsHandler({ roots: btrfsRootsOf(filter), tool, logger }), filter.matches)),
    sink: () => btrfsSink({ locate: pathOf, tool, logger }),
    checkTarget: () => Promise.resolve(),
    takeSnapshots: (request, context) => takeSnapshots(site, request, context, tool),
    traces: (request, signal) => cursors(site, request, signal),
    async release(request, signal) {
      const found = await cursors(site, request, signal);
      for (const { dataset: of, job } of found) await releaseBtrfsCursor(pathOf(of), job);
      return found;
    },
  };
  return site;
}

function pathOf(filesystem: DatasetPath): string {
  return `/${formatDatasetPath(filesystem)}`;
}

function datasetOf(directory: string): DatasetPath {
  try {
    checkDatasetFolder(directory);
    const dataset = parseDatasetPath(directory);
    checkDatasetPath(dataset);
    return dataset;
  } catch (error) {
    throw new UsageError((error as Error).message, { cause: error });
  }
}

/** What of a site is there: its own dataset, or all below it, too. */
async function datasetsOf(
  site: Site,
  { recursive, select }: Pick<SnapshotRequest, 'recursive' | 'select'>,
  signal: AbortSignal,
): Promise<readonly DatasetPath[]> {
  if (!recursive) return [site.dataset];
  await using client = LocalRPC.connect(site.source({ recursive, select, send: { raw: false, properties: false } }));
  return await client.filesystems({ roots: null }, { signal });
}

/**
 * One after the other: btrfs has no snapshot of several subvolumes at the same moment. Those inside others first, since their snapshots
 * lie in the outer ones, which would have changed again.
 */
async function takeSnapshots(
  site: Site,
  request: SnapshotRequest,
  { signal }: SiteContext,
  tool: BtrfsToolOptions,
): Promise<TakenSnapshot[]> {
  const { choices, dryRun, force } = request;
  const name = snapshotName(choices, new Date());
  const all: TakenSnapshot[] = [];
  const datasets = await datasetsOf(site, request, signal);
  const covered = datasets.map(pathOf);
  for (const dataset of datasets.toReversed()) {
    try {
      const result = await takeBtrfsSnapshot(pathOf(dataset), { name, dryRun, force, covered, tool, signal });
      const changes = { added: null, changed: null, removed: null, bytes: null };
      all.push({ dataset, ...result, changes, missing: [] });
    } catch (error) {
      if (!(await isCopy(site, dataset, error, signal))) throw error;
    }
  }
  return all.toReversed();
}

/** A dataset of which there are only copies has nothing of which a snapshot could be taken. */
async function isCopy(site: Site, filesystem: DatasetPath, error: unknown, signal: AbortSignal): Promise<boolean> {
  if (!(error instanceof SnapferryError && error.code === 'DATASET_NOT_FOUND')) return false;
  await using client = LocalRPC.connect(
    site.source({ recursive: true, select: () => true, send: { raw: false, properties: false } }),
  );
  const versions = await client.filesystemVersions({ filesystem }, { signal }).catch(() => []);
  return versions.length > 0;
}

async function cursors(site: Site, request: TraceRequest, signal: AbortSignal): Promise<Trace[]> {
  const traces: Trace[] = [];
  for (const dataset of await datasetsOf(site, request, signal)) {
    for (const { job, name } of await listBtrfsCursors(pathOf(dataset))) {
      if (request.job !== null && job !== request.job) continue;
      const version = pathOf(dataset) + formatVersion({ type: 'snapshot', name });
      traces.push({ dataset, name: version, kind: 'CURSOR', identity: '', job });
    }
  }
  return traces;
}

import type { Protection, ReceiveSettings, SendSettings } from '../config/transfer-settings.ts';
import type { DatasetFilter } from '../dataset-filter.ts';
import { formatDatasetPath } from '../dataset.ts';
import type { DatasetPath } from '../dataset.ts';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import { delegating } from '../handlers/delegating.ts';
import { zfsTool } from '../handlers/zfs/commands-tool.ts';
import type { ZfsTool } from '../handlers/zfs/commands-tool.ts';
import { zfsDestroyer } from '../handlers/zfs/destroy.ts';
import type { ZfsRoot } from '../handlers/zfs/handler-roots.ts';
import { zfsHandler } from '../handlers/zfs/handler.ts';
import { datasetName, datasetPath } from '../handlers/zfs/names.ts';
import { decodeResumeToken } from '../handlers/zfs/resume-token.ts';
import type { ZfsSendOptions } from '../handlers/zfs/send-options.ts';
import { zfsSink } from '../handlers/zfs/sink.ts';
import { takeZfsSnapshots } from '../handlers/zfs/snapshot.ts';
import type { RPCHandler } from '../rpc/interfaces.ts';
import { LocalRPC } from '../rpc/local-rpc.ts';
import type { JobBackend, JobBackendOptions, SnapshotOutcome, SnapshotsRequest } from './job-backend.ts';

/** Jobs on ZFS. */
export function zfsBackend({ tools, logger }: JobBackendOptions): JobBackend {
  const tool = zfsTool({ argv: tools.zfs });
  return {
    backend: 'zfs',
    takesAllAtOnce: true,
    formatName: formatDatasetPath,
    parseName: datasetPath,
    checkDataset: (dataset) => void datasetName(dataset),
    readResumeToken: readZfsToken,
    async source({ selection: { filter }, send, protection }) {
      const roots = await rootsOf(filter, tool);
      const offering = (level: Protection): RPCHandler =>
        zfsHandler({
          roots,
          includes: (name) => filter.matches(name.split('/')),
          send: sendOptions(send),
          protection: level,
          tool,
          logger,
        });
      return protectedBy(offering, protection);
    },
    sink: ({ recv, jobId, identity }) =>
      zfsSink({ locate: formatDatasetPath, ...receiveOptions(recv), jobId, identity, tool, logger }),
    takeSnapshots: (request) => takeSnapshots(request, tool),
    destroyer: ({ dataset, isCopy, receivedAt }) =>
      zfsDestroyer({ dataset: datasetName(dataset), isCopy, receivedAt, tool }),
    async copiesBelow(place, signal) {
      const below = zfsHandler({ roots: [{ dataset: datasetName(place) }], tool, logger });
      await using client = LocalRPC.connect(below, { logger });
      const found = await client.filesystems({ roots: null }, { signal });
      return found.filter((dataset) => dataset.length > place.length);
    },
  };
}

/** What a resume token of ZFS says. */
export function readZfsToken(token: string): ReturnType<JobBackend['readResumeToken']> {
  const { dataset, fromGuid, toGuid } = decodeResumeToken(token);
  return { filesystem: datasetPath(dataset), fromGuid, toGuid };
}

/** Where datasets that a filter means may be. `<` stands for every pool. @throws SnapferryError as `ZfsTool.run` does */
export async function rootsOf({ roots }: Pick<DatasetFilter, 'roots'>, tool: ZfsTool): Promise<ZfsRoot[]> {
  const pools = roots.some(({ path }) => path.length === 0) ? await listPools(tool) : [];
  const named = roots.filter(({ path }) => path.length > 0);
  return [
    ...pools.map((dataset) => ({ dataset, recursive: true })),
    ...named.map(({ path, isSubtree }) => ({ dataset: formatDatasetPath(path), recursive: isSubtree })),
  ];
}

/** The pools of this machine. @throws SnapferryError as `ZfsTool.run` does */
export async function listPools(tool: ZfsTool, signal?: AbortSignal): Promise<string[]> {
  const { stdout } = await tool.run(['list', '-H', '-o', 'name', '-d', '0'], { doing: 'listing the pools', signal });
  return stdout.toString('utf8').split('\n').filter(Boolean);
}

function sendOptions(send: SendSettings): ZfsSendOptions {
  return {
    ...(send.encrypted !== null && { encrypted: send.encrypted }),
    ...(send.raw && { raw: true }),
    largeBlocks: send.largeBlocks,
    embedded: send.embeddedData,
    compressed: send.compressed,
    properties: send.sendProperties,
  };
}

function receiveOptions({ properties, placeholderEncryption }: ReceiveSettings) {
  return {
    properties,
    placeholder: placeholderEncryption === 'unspecified' ? {} : { encryption: placeholderEncryption },
  };
}

const levels: readonly Protection[] = ['nothing', 'incremental', 'resumability'];

/**
 * A first transfer may be protected in another way than those after it. Each handler remembers what it has made, and must not
 * remember what another one has changed meanwhile, so each request gets a new one. What has arrived is told to one that protects more,
 * which also takes back what the other has made.
 */
function protectedBy(
  offering: (level: Protection) => RPCHandler,
  { initial, incremental }: { readonly initial: Protection; readonly incremental: Protection },
): RPCHandler {
  if (initial === incremental) return offering(initial);
  const stronger = levels.indexOf(initial) > levels.indexOf(incremental) ? initial : incremental;
  return delegating(offering(incremental), {
    initialTransfer: (request, context) => offering(initial).initialTransfer(request, context),
    incrementalTransfer: (request, context) => offering(incremental).incrementalTransfer(request, context),
    transferCompleted: async (request, context) => offering(stronger).transferCompleted?.(request, context),
  });
}

async function takeSnapshots(request: SnapshotsRequest, tool: ZfsTool): Promise<SnapshotOutcome[]> {
  const byPool = new Map<string, DatasetPath[]>();
  for (const dataset of request.datasets) {
    const pool = dataset[0] ?? '';
    byPool.set(pool, [...(byPool.get(pool) ?? []), dataset]);
  }
  const outcomes = new Map<string, SnapshotOutcome>();
  for (const datasets of byPool.values()) {
    for (const outcome of await takeInPool(datasets, request, tool)) {
      outcomes.set(formatDatasetPath(outcome.dataset), outcome);
    }
  }
  return request.datasets.map((dataset) => outcomes.get(formatDatasetPath(dataset)) ?? untaken(dataset));
}

/** One command takes all snapshots of a pool, at the same moment. */
async function takeInPool(
  datasets: readonly DatasetPath[],
  { name, dryRun, signal }: SnapshotsRequest,
  tool: ZfsTool,
): Promise<SnapshotOutcome[]> {
  const names = new Set(datasets.map(formatDatasetPath));
  try {
    const results = await takeZfsSnapshots({
      root: formatDatasetPath(commonAncestor(datasets)),
      recursive: datasets.length > 1,
      includes: (dataset) => names.has(dataset),
      name,
      force: true,
      dryRun,
      tool,
      signal,
    });
    return results.map(({ dataset, version }) => {
      return { dataset: dataset.split('/'), version, notices: [], missing: [], error: null };
    });
  } catch (error) {
    return datasets.map((dataset) => ({ ...untaken(dataset), error: toSnapferryError(error, 'SOURCE_FAILED') }));
  }
}

function untaken(dataset: DatasetPath): SnapshotOutcome {
  const text = `no snapshot of ${formatDatasetPath(dataset)} was taken: there is no such dataset, or only half a received one; create it, or leave it out of "filesystems"`;
  return { dataset, version: null, notices: [], missing: [], error: new SnapferryError('DATASET_NOT_FOUND', text) };
}

function commonAncestor(datasets: readonly DatasetPath[]): DatasetPath {
  const [first = [], ...others] = datasets;
  const differs = first.findIndex((component, index) => others.some((other) => other[index] !== component));
  return differs < 0 ? first : first.slice(0, differs);
}

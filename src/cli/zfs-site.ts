import { formatDatasetPath } from '../dataset.ts';
import type { DatasetPath } from '../dataset.ts';
import { zfsTool } from '../handlers/zfs/commands-tool.ts';
import type { ZfsTool } from '../handlers/zfs/commands-tool.ts';
import type { ZfsRoot } from '../handlers/zfs/handler-roots.ts';
import { zfsHandler } from '../handlers/zfs/handler.ts';
import { listOurHolds, releaseOurHolds } from '../handlers/zfs/holds-ours.ts';
import type { OurTrace, TraceFilter } from '../handlers/zfs/holds-ours.ts';
import { datasetName, datasetPath } from '../handlers/zfs/names.ts';
import { zfsSink } from '../handlers/zfs/sink.ts';
import { takeZfsSnapshots } from '../handlers/zfs/snapshot.ts';
import { listPools as listPoolsBy, readZfsToken, rootsOf } from '../jobs/backend-zfs.ts';
import type { RPCHandler } from '../rpc/interfaces.ts';
import type { ReceiveChoices, SendChoices } from './choices.ts';
import { formatDatasetOf } from './location.ts';
import type { Site, SiteAccess, Trace, TraceRequest } from './site.ts';
import { snapshotName } from './snapshot-name.ts';
import { UsageError } from './usage-error.ts';

/** A site of ZFS. */
export interface ZfsSite extends Site {
  /** The dataset's name. */
  readonly root: string;
  readonly tool: ZfsTool;
}

/**
 * The site of a ZFS dataset, by its name.
 * @throws UsageError for what cannot be the name of one
 */
export function zfsSite(root: string, { logger, sudo }: SiteAccess): ZfsSite {
  const dataset = pathOf(root);
  const tool = zfsTool({ argv: sudo ? ['sudo', '-n', 'zfs'] : ['zfs'] });
  const offering = (
    roots: readonly ZfsRoot[],
    select: (filesystem: DatasetPath) => boolean,
    { raw, properties }: SendChoices,
  ): RPCHandler =>
    zfsHandler({
      roots,
      includes: (name) => select(name.split('/')),
      send: { ...(raw && { raw }), properties },
      tool,
      logger,
    });
  return {
    backend: 'zfs',
    dataset,
    root,
    tool,
    formatName: (filesystem) => formatDatasetOf('zfs', filesystem),
    checkDataset: (filesystem) => void datasetName(filesystem),
    readResumeToken: readZfsToken,
    source: ({ recursive, select, send }) => offering([{ dataset: root, recursive }], select, send),
    sourceOf: async (filter, send) => offering(await rootsOf(filter, tool), filter.matches, send),
    sink: ({ receive, takesProperties, jobId, identity }) =>
      zfsSink({
        locate: formatDatasetPath,
        properties: { ...receivedProperties(receive), fromSender: takesProperties },
        placeholder: receive.placeholderEncryption === null ? {} : { encryption: receive.placeholderEncryption },
        jobId: jobId ?? undefined,
        identity,
        tool,
        logger,
      }),
    checkTarget() {
      if (dataset.length > 1) return Promise.resolve();
      throw new UsageError(
        `the target zfs:${root} is a whole pool, which cannot be a copy; name a dataset in it that need not exist yet, e.g. zfs:${root}/web1`,
      );
    },
    async takeSnapshots({ choices, recursive, select, dryRun, force }, { signal }) {
      const results = await takeZfsSnapshots({
        root,
        recursive,
        includes: (name) => select(name.split('/')),
        name: snapshotName(choices, new Date()),
        dryRun,
        force,
        tool,
        signal,
      });
      return results.map(({ dataset: name, isTaken, version, writtenBytes }) => ({
        dataset: name.split('/'),
        isTaken,
        version,
        changes: { added: null, changed: null, removed: null, bytes: writtenBytes },
        notices: [],
        missing: [],
      }));
    },
    traces: async (request, signal) => (await listOurHolds(tool, traceFilter(root, request, signal))).map(toTrace),
    release: async (request, signal) => (await releaseOurHolds(tool, traceFilter(root, request, signal))).map(toTrace),
  };
}

/** The pools of this machine. @throws SnapferryError as `ZfsTool.run` does */
export function listPools({ sudo }: Pick<SiteAccess, 'sudo'>, signal?: AbortSignal): Promise<string[]> {
  return listPoolsBy(zfsTool({ argv: sudo ? ['sudo', '-n', 'zfs'] : ['zfs'] }), signal);
}

function traceFilter(root: string, { recursive, job, select }: TraceRequest, signal: AbortSignal): TraceFilter {
  const includes = (name: string): boolean => select(name.split('/'));
  return { root, recursive, includes, signal, ...(job !== null && { jobId: job }) };
}

function toTrace({ dataset, name, kind, owner }: OurTrace): Trace {
  // As `ownerText` writes it: an identity never has a "_" there.
  const [, identity = '', job = owner] = /^I_([^_]*)_J_(.*)$/.exec(owner) ?? [];
  return { dataset: dataset.split('/'), name, kind, identity, job };
}

function pathOf(root: string): DatasetPath {
  try {
    return datasetPath(root);
  } catch (error) {
    throw new UsageError((error as Error).message, { cause: error });
  }
}

/** `name=value` as the sink takes it. */
function receivedProperties({ options, exclude }: ReceiveChoices) {
  const override = Object.fromEntries(
    options.map((option) => [option.slice(0, option.indexOf('=')), option.slice(option.indexOf('=') + 1)]),
  );
  return { override, inherit: exclude };
}

import type { FilesystemVersion } from '../dataset.ts';
import type { Progress, RPCRequester } from '../rpc/interfaces.ts';
import { delegatingRequester } from '../jobs/delegating-requester.ts';
import type { ChangeCounts } from './format.ts';
import { plannedCounts } from './planned-version.ts';

/** A requester that passes on what the source tells while it prepares its versions, which may take a snapshot. */
export function withSourceProgress(client: RPCRequester, onProgress: (progress: Progress) => void): RPCRequester {
  return delegatingRequester(client, {
    filesystemVersions: (request, options) => client.filesystemVersions(request, { ...options, onProgress }),
  });
}

/** A requester for planning, and what it has learnt about snapshots that do not exist yet, by guid. */
export interface PlanningRequester {
  readonly client: RPCRequester;
  readonly planned: ReadonlyMap<bigint, ChangeCounts>;
}

/** The name that stands for that of a snapshot which a run would take. */
export const plannedName = '(new)';

/** Lets a version that `serve --snapshot-dry-run` announces take part in the plan as the snapshot it will be. */
export function planningRequester(client: RPCRequester): PlanningRequester {
  const planned = new Map<bigint, ChangeCounts>();
  const asSnapshot = (version: FilesystemVersion): FilesystemVersion => {
    const counts = plannedCounts(version);
    if (counts === null) return version;
    planned.set(version.guid, counts);
    return { ...version, type: 'snapshot', name: plannedName };
  };
  return {
    planned,
    client: delegatingRequester(client, {
      async filesystemVersions(request, options) {
        return (await client.filesystemVersions(request, options)).map(asSnapshot);
      },
      transferEstimate(request, options) {
        const counts = planned.get(request.to.guid);
        return counts === undefined ? client.transferEstimate(request, options) : Promise.resolve(counts.bytes);
      },
    }),
  };
}

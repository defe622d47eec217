import pLimit from 'p-limit';
import type { Snapshotting } from '../config/snapshotting.ts';
import type { DatasetPath } from '../dataset.ts';
import { toSnapferryError } from '../errors.ts';
import { parseTime } from '../retention/trusted-times.ts';
import type { Logger, RPCRequester } from '../rpc/interfaces.ts';
import { nextCronMs } from './next-cron.ts';

/** Datasets looked at at once. */
const lookupsMax = 4;

/** What there is to go by. */
export interface NextSnapshotRequest {
  readonly snapshotting: Snapshotting;
  readonly nowMs: number;
  /** When the newest round of this process began; null: there was none. */
  readonly roundMs: number | null;
  /** Finds the time of the newest snapshot there is. Only asked before the first round. */
  readonly newestMs: () => Promise<number | null>;
}

/**
 * When snapshots are due, in ms since 1970; null: never by themselves. A clock that was set back delays them by the interval at most.
 * @throws SnapferryError as `newestMs` does
 */
export async function nextSnapshotMs(request: NextSnapshotRequest): Promise<number | null> {
  const { snapshotting, nowMs, roundMs, newestMs } = request;
  if (snapshotting.type === 'manual') return null;
  if (snapshotting.type === 'cron') return nextCronMs(snapshotting.cron, nowMs);
  const latestMs = roundMs ?? (await newestMs());
  return latestMs === null ? nowMs : Math.min(latestMs, nowMs) + snapshotting.intervalMs;
}

/**
 * When the newest snapshot of that prefix was taken, of any of the datasets; null: there is none. A new dataset so waits for the
 * others.
 * @throws SnapferryError when not one of them could be looked at
 */
export async function newestSnapshotMs(
  client: RPCRequester,
  datasets: readonly DatasetPath[],
  options: { readonly prefix: string; readonly signal: AbortSignal; readonly logger: Logger },
): Promise<number | null> {
  const { prefix, signal, logger } = options;
  const limit = pLimit(lookupsMax);
  const lookUp = async (filesystem: DatasetPath): Promise<number | null> => {
    const versions = await client.filesystemVersions({ filesystem }, { signal });
    const times = versions.flatMap(({ type, name, creation }) =>
      type === 'snapshot' && name.startsWith(prefix) ? (parseTime(creation) ?? []) : [],
    );
    return times.length === 0 ? null : times.reduce((a, b) => Math.max(a, b));
  };
  const found = await Promise.allSettled(datasets.map((dataset) => limit(() => lookUp(dataset))));
  const failed = found.flatMap((one) => (one.status === 'rejected' ? [toSnapferryError(one.reason)] : []));
  for (const error of failed) logger.warn({ err: error }, 'the newest snapshot of a dataset is not known');
  const [first] = failed;
  if (first !== undefined && failed.length === found.length) throw first;
  return found.reduce<number | null>((newest, one) => {
    const ms = one.status === 'fulfilled' ? one.value : null;
    return newest === null || (ms !== null && ms > newest) ? ms : newest;
  }, null);
}

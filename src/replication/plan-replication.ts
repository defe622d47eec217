import pLimit from 'p-limit';
import { checkDatasetPath, checkVersionName, formatDatasetPath } from '../dataset.ts';
import type { DatasetPath } from '../dataset.ts';
import { SnapferryError } from '../errors.ts';
import { failureOf } from './failure.ts';
import { linkedSignal } from './linked-signal.ts';
import { planFilesystem } from './plan.ts';
import type { FilesystemPlan, Step } from './plan.ts';
import type { PlanReplicationOptions, PlannedFilesystem, ReplicationPlan } from './replication.ts';
import { retrying } from './retry.ts';

/** Estimates asked for in one plan; further steps stay without one, since each may cost the source real work. */
const estimatesMax = 1000;
/** Datasets of the sink looked at at once. */
const sinkLookupsMax = 8;

/** Told when something was busy and is about to be tried again. */
export type OnRetry = (filesystem: DatasetPath | null, error: SnapferryError) => void;

/**
 * Says what {@link replicate} would do now, and changes nothing on either side. The calls to the source are made ahead of
 * their answers: a thousand datasets cost a few round trips. A dataset that cannot be planned is `failed` and does not
 * stop the others; rejects with a SnapferryError only when the datasets cannot be listed.
 */
export async function planReplication(options: PlanReplicationOptions): Promise<ReplicationPlan> {
  const { signal, unlink } = linkedSignal(options.signal);
  try {
    return await planWith({ ...options, signal }, () => {});
  } finally {
    unlink();
  }
}

/** {@link planReplication} with news of retries: the part it shares with a run. `signal` must be a linked one. */
export async function planWith(options: PlanReplicationOptions, onRetry: OnRetry): Promise<ReplicationPlan> {
  const { client, signal } = options;
  const listing = await retrying(() => client.filesystems({ roots: options.roots ?? null }, callOptions(signal)), {
    policy: options.retry,
    signal,
    onRetry: (error) => onRetry(null, error),
  }).catch((error: unknown) => {
    throw failureOf(error, 'listing the datasets of the source', signal);
  });
  const lookup = pLimit(sinkLookupsMax);
  const planned = await Promise.all(
    assign(listing, options).map(async (assigned): Promise<PlannedFilesystem> => {
      if ('plan' in assigned) return assigned;
      try {
        return { ...assigned, plan: await planOne(options, assigned, lookup, onRetry) };
      } catch (error) {
        return { ...assigned, plan: { kind: 'failed', error: failureOf(error, 'planning', signal) } };
      }
    }),
  );
  const filesystems = await withEstimates(options, planned);
  return { filesystems, estimatedBytes: sumEstimates(filesystems) };
}

type Assigned = Pick<PlannedFilesystem, 'filesystem' | 'target'>;

/** The selected datasets with their places at the sink; those that have none, or one already taken, as failed plans. */
function assign(
  listing: readonly DatasetPath[],
  { select, target, signal }: PlanReplicationOptions,
): (Assigned | PlannedFilesystem)[] {
  const takenBy = new Map<string, string>();
  const assigned: (Assigned | PlannedFilesystem)[] = [];
  for (const filesystem of listing) {
    try {
      checkDatasetPath(filesystem);
      if (select?.(filesystem) === false) continue;
      const place = target?.(filesystem) ?? filesystem;
      checkDatasetPath(place);
      const name = formatDatasetPath(filesystem);
      const other = takenBy.get(formatDatasetPath(place));
      if (other !== undefined) {
        throw new SnapferryError(
          'INVALID_REQUEST',
          `${name} would go to ${formatDatasetPath(place)}, where ${other} goes already; give each a place of its own`,
        );
      }
      takenBy.set(formatDatasetPath(place), name);
      assigned.push({ filesystem, target: place });
    } catch (error) {
      const failure = failureOf(error, 'choosing what to replicate', signal);
      assigned.push({ filesystem, target: filesystem, plan: { kind: 'failed', error: failure } });
    }
  }
  return assigned;
}

async function planOne(
  options: PlanReplicationOptions,
  { filesystem, target }: Assigned,
  lookup: ReturnType<typeof pLimit>,
  onRetry: OnRetry,
): Promise<FilesystemPlan> {
  const { client, sink, signal } = options;
  const patiently = <T>(call: () => Promise<T>) =>
    retrying(call, { policy: options.retry, signal, onRetry: (error) => onRetry(filesystem, error) });
  const [source, present] = await Promise.all([
    patiently(() => client.filesystemVersions({ filesystem }, callOptions(signal))),
    lookup(async () => ({
      versions: await patiently(() => sink.filesystemVersions(target, signal)),
      resume: await patiently(() => sink.resumeState(target, signal)),
    })),
  ]);
  const plan = planFilesystem({
    filesystem,
    source,
    sink: present.versions,
    policy: options.policy ?? 'most_recent',
    resume: present.resume,
    canResume: client.protocolVersion !== 1,
    ...(options.isWanted !== undefined && { isWanted: options.isWanted }),
  });
  for (const version of versionsNamed(plan)) checkVersionName(version.name);
  return plan;
}

/** The versions a plan would hand to the sink or back to the source; their names came from the peer. */
function versionsNamed(plan: FilesystemPlan) {
  if (plan.kind === 'in_sync') return [plan.version];
  if (plan.kind !== 'steps') return [];
  return plan.steps.flatMap(({ from, to }) => (from === null ? [to] : [from, to]));
}

async function withEstimates(
  { client, signal, logger }: PlanReplicationOptions,
  planned: readonly PlannedFilesystem[],
): Promise<PlannedFilesystem[]> {
  let asked = 0;
  const estimated = async (filesystem: DatasetPath, step: Step): Promise<Step> => {
    if (client.protocolVersion === 1 || ++asked > estimatesMax) return step;
    const { from, to, resumeToken } = step;
    try {
      const estimatedBytes = await client.transferEstimate(
        { filesystem, from, to, ...(resumeToken === null ? {} : { resumeToken }) },
        callOptions(signal),
      );
      return { ...step, estimatedBytes };
    } catch (error) {
      logger?.debug({ err: error, filesystem: formatDatasetPath(filesystem) }, 'no estimate');
      return step;
    }
  };
  return Promise.all(
    planned.map(async (entry) => {
      const { filesystem, plan } = entry;
      if (plan.kind !== 'steps') return entry;
      const [first, ...rest] = plan.steps;
      const [head, tail] = await Promise.all([
        estimated(filesystem, first),
        Promise.all(rest.map((step) => estimated(filesystem, step))),
      ]);
      return { ...entry, plan: { ...plan, steps: [head, ...tail] as const } };
    }),
  );
}

function sumEstimates(filesystems: readonly PlannedFilesystem[]): number | null {
  let sum = 0;
  for (const { plan } of filesystems) {
    for (const step of plan.kind === 'steps' ? plan.steps : []) {
      if (step.estimatedBytes === null) return null;
      sum += step.estimatedBytes;
    }
  }
  return sum;
}

function callOptions(signal: AbortSignal | undefined) {
  return signal === undefined ? {} : { signal };
}

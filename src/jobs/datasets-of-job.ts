import type { DatasetSelection } from '../config/dataset-selection.ts';
import type { Job } from '../config/job.ts';
import { parsePattern } from '../dataset-filter.ts';
import { formatDatasetPath, sameDataset } from '../dataset.ts';
import type { DatasetPath } from '../dataset.ts';
import { SnapferryError } from '../errors.ts';
import { isWithin } from '../handlers/confine-dataset.ts';
import { LocalRPC } from '../rpc/local-rpc.ts';
import { backendOf } from './backend-of.ts';
import { connectPeer } from './connect-peer.ts';
import { plainSend } from './plain-send.ts';
import type { JobDependencies } from './runnable-job.ts';

/** A dataset that a job may mean, and why it does or does not. */
export interface ConsideredDataset {
  /** As its backend writes it. */
  readonly dataset: string;
  readonly isMeant: boolean;
  /** The pattern that decides, as written; null: none speaks of it. */
  readonly pattern: string | null;
}

/**
 * Goes through what there is at and below the datasets that a job names: on this machine, or for a `pull` what the other side offers.
 * @throws SnapferryError `INVALID_REQUEST` for a `sink`, which has no choice; when what there is cannot be listed
 */
export async function datasetsOfJob(
  job: Job,
  dependencies: JobDependencies,
  signal: AbortSignal,
): Promise<readonly ConsideredDataset[]> {
  if (job.type === 'sink') {
    throw new SnapferryError(
      'INVALID_REQUEST',
      `the job ${job.name} is a sink, which stores whatever its clients push`,
    );
  }
  const { global, logger, clock } = dependencies;
  const { formatName } = backendOf(job.backend, { tools: global.tools, logger, clock });
  const found =
    job.type === 'pull' ? await offered(job, dependencies, signal) : await present(job, dependencies, signal);
  return found.map((dataset) => ({
    dataset: formatName(dataset),
    isMeant: job.filesystems.filter.matches(dataset),
    pattern: decidingPattern(job.filesystems, dataset),
  }));
}

/** Which pattern decides whether a dataset is meant; null: none speaks of it. */
export function decidingPattern({ rules }: Pick<DatasetSelection, 'rules'>, dataset: DatasetPath): string | null {
  let deepest: { readonly pattern: string; readonly length: number } | null = null;
  for (const pattern of Object.keys(rules)) {
    const { path, isSubtree } = parsePattern(pattern);
    if (!isSubtree && sameDataset(path, dataset)) return pattern;
    const isDeeper = path.length > (deepest?.length ?? -1);
    if (isSubtree && isDeeper && isWithin(path, dataset)) deepest = { pattern, length: path.length };
  }
  return deepest?.pattern ?? null;
}

async function offered(
  { connect }: Extract<Job, { type: 'pull' }>,
  { localListeners, logger }: JobDependencies,
  signal: AbortSignal,
): Promise<readonly DatasetPath[]> {
  const client = await connectPeer(connect, { localListeners, logger, signal });
  try {
    return await client.filesystems({ roots: null }, { signal });
  } finally {
    await client.close().catch(() => undefined);
  }
}

/** Everything at and below what is named, also what another pattern leaves out. */
async function present(
  job: Exclude<Job, { type: 'pull' | 'sink' }>,
  { global, logger, clock }: JobDependencies,
  signal: AbortSignal,
): Promise<readonly DatasetPath[]> {
  const backend = backendOf(job.backend, { tools: global.tools, logger, clock });
  const selection = { ...job.filesystems, filter: { ...job.filesystems.filter, matches: () => true } };
  const source = await backend.source({
    selection,
    send: plainSend,
    protection: { initial: 'nothing', incremental: 'nothing' },
    snapshotFolder: job.snapshotFolder,
  });
  await using client = LocalRPC.connect(source, { logger });
  const found = await client.filesystems({ roots: null }, { signal });
  return found.toSorted((a, b) => formatDatasetPath(a).localeCompare(formatDatasetPath(b), 'en'));
}

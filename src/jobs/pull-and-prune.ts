import type { LocalJob, PullJob, PushJob } from '../config/job.ts';
import type { DatasetPath, FilesystemVersion } from '../dataset.ts';
import { SnapferryError } from '../errors.ts';
import type { JobBackend } from './job-backend.ts';
import { assertNotCancelled } from './prune-dataset.ts';
import { planDatasets, pullDatasets } from './pull-datasets.ts';
import type { Pulled, PullOptions } from './pull-datasets.ts';
import type { ReceivingSide } from './receiving-side.ts';
import type { JobDependencies } from './runnable-job.ts';
import type { RunContext } from './sending-side.ts';

/** What the settings of an active job are part of. */
export interface PullParts {
  readonly job: PullJob | LocalJob | PushJob;
  readonly backend: JobBackend;
  readonly dependencies: JobDependencies;
  readonly context: RunContext;
  readonly connect: PullOptions['connect'];
}

/** How an active job replicates, by its settings. */
export function pullOptions({ job, backend, dependencies, context, connect }: PullParts) {
  const { name, replication, initialReplication } = job;
  const { clock, logger } = dependencies;
  return {
    connect,
    jobId: name,
    initialReplication,
    concurrency: replication.concurrency,
    settings: replication,
    isWanted: wantedBy(replication.snapshotPrefix),
    formatName: backend.formatName,
    mayReconnect: true,
    ledger: context.ledger,
    clock,
    logger,
  };
}

/** Brings the copies up to date, and prunes them. */
export async function pullAndPrune(
  parts: PullParts & {
    readonly receiving: ReceivingSide;
    readonly isMeant: (dataset: DatasetPath) => boolean;
    /** Of a dry run: whether a real one would take a snapshot of each dataset first. */
    readonly willHaveSnapshot?: boolean;
  },
): Promise<Pick<Pulled, 'common'>> {
  const { receiving, isMeant, context, backend } = parts;
  const { signal, dryRun } = context;
  const options: PullOptions = {
    ...pullOptions(parts),
    sink: receiving.sink(''),
    select: isMeant,
    target: (dataset) => [...receiving.root, ...dataset],
    takeTurn: (copy) => receiving.takeTurn(copy),
  };
  let common: ReadonlyMap<string, bigint> = new Map();
  if (dryRun) {
    await planDatasets(options, signal, parts.willHaveSnapshot);
  } else {
    const pulled = await pullDatasets(options, signal);
    common = pulled.common;
    if (pulled.datasets.length === 0) {
      const text = 'the source offers no dataset that "filesystems" means; see its "filesystems", and those here';
      throw new SnapferryError('DATASET_NOT_FOUND', text);
    }
  }
  assertNotCancelled(signal, 'the run');
  await receiving.prune({ place: receiving.root, isMeant, nameOf: backend.formatName, common }, context);
  assertNotCancelled(signal, 'the run');
  return { common };
}

/** Which snapshots are sent. Null: all. */
export function wantedBy(prefix: string | null): (snapshot: FilesystemVersion) => boolean {
  return prefix === null ? () => true : ({ name }) => name.startsWith(prefix);
}

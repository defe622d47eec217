import type { Job } from '../config/job.ts';
import type { DatasetStatus, JobStatus, RunStatus } from './daemon-status.ts';
import { datasetKey } from './job-record.ts';
import type { DatasetRecord } from './job-record.ts';
import type { LiveDataset, LiveRun } from './live-job.ts';
import { problemsOf, staleness } from './problems-of.ts';
import type { ProblemSources } from './problems-of.ts';

/** What the status of a job is made of. */
export interface StatusSources extends ProblemSources {
  readonly state: JobStatus['state'];
  readonly nextRunMs: number | null;
}

/** The status of a job: its history, what it does now, and the clock. Pure. */
export function statusOf(sources: StatusSources): JobStatus {
  const { job, record, live, state, nextRunMs } = sources;
  const runs = [...live.runs.values()].map(runStatus);
  return {
    ...describe(job),
    state,
    run: runs[0] ?? null,
    runs,
    lastRun: record.lastRun,
    lastSuccessMs: record.lastSuccessMs,
    nextRunMs,
    staleAfterMs: job.staleAfterMs,
    datasets: datasetStatuses(sources),
    sessions: [...live.sessions.values()],
    problems: problemsOf(sources),
  };
}

function describe({ name, type, backend }: Job): Pick<JobStatus, 'name' | 'type' | 'backend'> {
  return { name, type, backend };
}

function runStatus(live: LiveRun): RunStatus {
  const { run, cause, identity, beganMs, total, datasetsTotal, retries, waiting, done } = live;
  return { run, cause, identity, beganMs, total, datasetsDone: done.size, datasetsTotal, retries, waiting };
}

function datasetStatuses(sources: StatusSources): DatasetStatus[] {
  const live = new Map<string, LiveDataset>();
  const statuses: DatasetStatus[] = [];
  for (const { datasets, identity } of sources.live.runs.values()) {
    for (const [key, dataset] of datasets) {
      live.set(key, dataset);
      if (!sources.record.datasets.has(key)) statuses.push(datasetStatus(unknown(dataset, identity), dataset, sources));
    }
  }
  for (const dataset of sources.record.datasets.values()) {
    const running = live.get(datasetKey(dataset.identity, dataset.dataset)) ?? null;
    statuses.push(datasetStatus(dataset, running, sources));
  }
  return statuses.sort((a, b) => compare(a.dataset, b.dataset) || compare(a.identity ?? '', b.identity ?? ''));
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

type KnownDataset = Pick<
  DatasetRecord,
  'dataset' | 'identity' | 'target' | 'newest' | 'newestAtMs' | 'lastSuccessMs' | 'trouble'
>;

/** A dataset that a run has come to for the first time. */
function unknown({ dataset }: LiveDataset, identity: string | null): KnownDataset {
  return { dataset, identity, target: null, newest: null, newestAtMs: null, lastSuccessMs: null, trouble: null };
}

function datasetStatus(known: KnownDataset, live: LiveDataset | null, sources: StatusSources): DatasetStatus {
  const { dataset, identity, target, newest, newestAtMs, lastSuccessMs, trouble } = known;
  return {
    dataset,
    identity,
    target,
    state: stateOf(known, live, sources),
    step: live === null || live.step === null ? null : { ...live.step, progress: live.progress },
    newest,
    newestAtMs,
    lastSuccessMs,
    error: trouble?.error ?? null,
  };
}

function stateOf(known: KnownDataset, live: LiveDataset | null, sources: StatusSources): DatasetStatus['state'] {
  if (live !== null) return live.waiting === null ? 'running' : 'waiting';
  if (known.trouble !== null) return 'failed';
  return staleness(known, sources) === null ? 'ok' : 'stale';
}

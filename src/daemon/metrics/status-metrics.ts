import { Gauge } from '@platformatic/prom-client';
import type { Registry } from '@platformatic/prom-client';
import type { DaemonStatus, DatasetStatus, JobStatus } from '../daemon-status.ts';
import { codeLabel, datasetLabels } from './bounded-labels.ts';

const datasetStates = [
  'ok',
  'failed',
  'running',
  'waiting',
  'stale',
] as const satisfies readonly DatasetStatus['state'][];

/** Registers what can be read off the daemon's status; what is returned brings it up to date. */
export function registerStatusMetrics(
  registry: Registry,
  options: { readonly datasetsPerJobMax: number },
): (status: DaemonStatus) => void {
  const gauges = createGauges(registry);
  return (status) => {
    // What is gone from the configuration must go from the metrics, too.
    for (const gauge of Object.values(gauges)) gauge.reset();
    gauges.build.set({ version: status.version, node: process.versions.node }, 1);
    gauges.started.set(status.beganMs / 1000);
    gauges.loaded.set(status.configuration.loadedMs / 1000);
    gauges.reloadFailed.set(status.configuration.reloadError === null ? 0 : 1);
    for (const job of status.jobs) {
      setJob(gauges, job);
      const shown = job.datasets.slice(0, options.datasetsPerJobMax);
      for (const dataset of shown) setDataset(gauges, job.name, dataset, status.nowMs);
      gauges.leftOut.set({ snapferry_job: job.name }, job.datasets.length - shown.length);
    }
  };
}

type Gauges = ReturnType<typeof createGauges>;

function createGauges(registry: Registry) {
  const registers = [registry];
  const gauge = <const Label extends string = never>(name: string, help: string, labelNames: readonly Label[] = []) =>
    new Gauge<Label>({ name: `snapferry_${name}`, help, labelNames, registers });
  return {
    build: gauge('build_info', 'Always 1; its labels say what is running.', ['version', 'node']),
    started: gauge('start_time_seconds', 'When the daemon began.'),
    loaded: gauge('configuration_loaded_timestamp_seconds', 'When the configuration at work was loaded.'),
    reloadFailed: gauge(
      'configuration_reload_failed',
      '1 if the last reload was refused, so that an older one is used.',
    ),
    jobs: gauge('job_info', 'Always 1; its labels say what kind of job it is.', ['snapferry_job', 'type', 'backend']),
    running: gauge('job_running', 'How many runs are going on; more than one only of a sink.', ['snapferry_job']),
    waiting: gauge('job_waiting_to_retry', 'How many of them wait before they try again.', ['snapferry_job']),
    began: gauge('job_run_began_timestamp_seconds', 'When the run that is going on began.', ['snapferry_job']),
    ended: gauge('job_last_run_timestamp_seconds', 'When the newest run ended.', ['snapferry_job']),
    duration: gauge('job_last_run_duration_seconds', 'How long the newest run took.', ['snapferry_job']),
    bytes: gauge('job_last_run_bytes', 'Payload bytes of the newest run.', ['snapferry_job']),
    failed: gauge('job_last_run_failed', '1 if the newest run failed.', ['snapferry_job']),
    success: gauge('job_last_success_timestamp_seconds', 'When a run last ended well.', ['snapferry_job']),
    next: gauge('job_next_run_timestamp_seconds', 'When the job runs by itself next.', ['snapferry_job']),
    staleAfter: gauge('job_stale_after_seconds', 'How old the newest snapshot of a dataset may be.', ['snapferry_job']),
    problems: gauge('job_problems', 'What a person should do something about, by code.', ['snapferry_job', 'code']),
    sessions: gauge('job_sessions', 'Clients that are connected.', ['snapferry_job']),
    datasets: gauge('job_datasets', 'Datasets, by state: ok, failed, running, waiting, stale.', [
      'snapferry_job',
      'state',
    ]),
    leftOut: gauge('job_datasets_left_out', 'Datasets without metrics of their own, for there are too many.', [
      'snapferry_job',
    ]),
    datasetSuccess: gauge(
      'dataset_last_success_timestamp_seconds',
      'When everything was last done for it.',
      datasetLabels,
    ),
    newest: gauge(
      'dataset_newest_snapshot_timestamp_seconds',
      'Creation of the newest snapshot that has arrived (of jobs that only take them: was taken).',
      datasetLabels,
    ),
    age: gauge('dataset_newest_snapshot_age_seconds', 'Its age, at the moment of asking.', datasetLabels),
    datasetFailed: gauge('dataset_failed', '1 if the newest run could not do everything for it.', datasetLabels),
  };
}

function setJob(gauges: Gauges, status: JobStatus): void {
  const job = status.name;
  const last = status.lastRun;
  gauges.jobs.set({ snapferry_job: job, type: status.type, backend: status.backend }, 1);
  gauges.running.set({ snapferry_job: job }, status.runs.length);
  gauges.waiting.set({ snapferry_job: job }, status.runs.filter(({ waiting }) => waiting !== null).length);
  gauges.sessions.set({ snapferry_job: job }, status.sessions.length);
  if (status.run !== null) gauges.began.set({ snapferry_job: job }, status.run.beganMs / 1000);
  if (last !== null) {
    gauges.ended.set({ snapferry_job: job }, last.endedMs / 1000);
    gauges.duration.set({ snapferry_job: job }, last.durationMs / 1000);
    gauges.bytes.set({ snapferry_job: job }, last.bytes);
    gauges.failed.set({ snapferry_job: job }, last.outcome === 'failed' ? 1 : 0);
  }
  if (status.lastSuccessMs !== null) gauges.success.set({ snapferry_job: job }, status.lastSuccessMs / 1000);
  if (status.nextRunMs !== null) gauges.next.set({ snapferry_job: job }, status.nextRunMs / 1000);
  if (status.staleAfterMs !== null) gauges.staleAfter.set({ snapferry_job: job }, status.staleAfterMs / 1000);
  for (const problem of status.problems) gauges.problems.inc({ snapferry_job: job, code: codeLabel(problem.code) });
  for (const state of datasetStates) gauges.datasets.set({ snapferry_job: job, state }, 0);
  for (const { state } of status.datasets) gauges.datasets.inc({ snapferry_job: job, state });
}

function setDataset(gauges: Gauges, job: string, status: DatasetStatus, nowMs: number): void {
  const labels = { snapferry_job: job, client: status.identity ?? '', dataset: status.dataset };
  gauges.datasetFailed.set(labels, status.error === null ? 0 : 1);
  if (status.lastSuccessMs !== null) gauges.datasetSuccess.set(labels, status.lastSuccessMs / 1000);
  const createdMs = creationMs(status);
  if (createdMs === null) return;
  gauges.newest.set(labels, createdMs / 1000);
  gauges.age.set(labels, Math.max(0, nowMs - createdMs) / 1000);
}

/** When the newest snapshot was made: what its machine claims, but not later than it was seen here. Null: there is none. */
function creationMs({ newest, newestAtMs }: DatasetStatus): number | null {
  if (newest === null) return null;
  const claimedMs = Date.parse(newest.creation);
  if (Number.isNaN(claimedMs)) return newestAtMs;
  return Math.min(claimedMs, newestAtMs ?? claimedMs);
}

import { Counter, Histogram } from '@platformatic/prom-client';
import type { Registry } from '@platformatic/prom-client';
import type { JobEvent } from '../../jobs/job-events.ts';
import type { RunResult } from '../../jobs/run-result.ts';
import { codeLabel, datasetLabels } from './bounded-labels.ts';
import type { BoundedDatasets } from './bounded-labels.ts';

/** Seconds: a run is over at once, or takes a night. */
const durationBuckets = [1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600];

const outcomes = ['ok', 'failed', 'cancelled'] as const satisfies readonly RunResult['outcome'][];

/** What happens, counted since the daemon began. */
export interface EventMetrics {
  /** Counts an event. */
  observe(event: JobEvent): void;
  /** Makes the series of a job appear at 0, without which the first failure would be no increase. */
  begin(job: string): void;
}

/** Registers the counters of runs and sessions. */
export function registerEventMetrics(registry: Registry, datasets: BoundedDatasets): EventMetrics {
  const counters = createCounters(registry);
  const durations = new Histogram({
    name: 'snapferry_run_duration_seconds',
    help: 'How long runs took.',
    labelNames: ['snapferry_job'],
    buckets: durationBuckets,
    registers: [registry],
  });
  /** Bytes already counted of runs that are going on. */
  const counted = new Map<string, number>();

  const countBytes = (job: string, run: string, bytes: number): void => {
    const before = counted.get(run) ?? 0;
    if (bytes <= before) return;
    counters.bytes.inc({ snapferry_job: job }, bytes - before);
    counted.set(run, bytes);
  };
  const endRun = (job: string, result: RunResult): void => {
    countBytes(job, result.run, result.bytes);
    counted.delete(result.run);
    counters.runs.inc({ snapferry_job: job, outcome: result.outcome });
    durations.observe({ snapferry_job: job }, result.durationMs / 1000);
    if (result.error !== null) counters.errors.inc({ snapferry_job: job, code: codeLabel(result.error.code) });
    for (const { dataset, error, bytes } of result.datasets) {
      if (error !== null) counters.errors.inc({ snapferry_job: job, code: codeLabel(error.code) });
      if (bytes > 0) counters.datasetBytes.inc(datasets.labels(job, result.identity, dataset), bytes);
    }
  };

  return {
    observe(event) {
      const { job } = event;
      switch (event.kind) {
        case 'bytes':
          countBytes(job, event.run, event.total.bytes);
          return;
        case 'snapshotTaken':
          counters.taken.inc({ snapferry_job: job });
          return;
        case 'stepDone':
          counters.replicated.inc({ snapferry_job: job });
          return;
        case 'retrying':
          counters.retries.inc({ snapferry_job: job, code: codeLabel(event.error.code) });
          return;
        case 'pruned':
          counters.pruned.inc({ snapferry_job: job, side: event.side }, event.destroyed);
          return;
        case 'runEnded':
          endRun(job, event.result);
          return;
        case 'sessionBegan':
          counters.sessions.inc({ snapferry_job: job });
          return;
        case 'sessionEnded':
          if (event.error !== null)
            counters.sessionErrors.inc({ snapferry_job: job, code: codeLabel(event.error.code) });
          return;
        case 'requestDone':
          counters.requests.inc({ snapferry_job: job, outcome: event.error === null ? 'ok' : 'failed' });
          counters.served.inc({ snapferry_job: job }, event.bytes);
          return;
        case 'listenFailed':
          counters.errors.inc({ snapferry_job: job, code: codeLabel(event.error.code) });
          return;
        case 'runBegan':
        case 'planned':
        case 'datasetBegan':
        case 'stepBegan':
        case 'datasetDone':
          return;
      }
    },
    begin(job) {
      for (const outcome of outcomes) counters.runs.inc({ snapferry_job: job, outcome }, 0);
      for (const counter of [counters.bytes, counters.replicated, counters.taken, counters.sessions]) {
        counter.inc({ snapferry_job: job }, 0);
      }
    },
  };
}

function createCounters(registry: Registry) {
  const registers = [registry];
  const counter = <const Label extends string>(name: string, help: string, labelNames: readonly Label[]) =>
    new Counter({ name: `snapferry_${name}`, help, labelNames, registers });
  return {
    runs: counter('runs_total', 'Runs that are over, by outcome: ok, failed, cancelled.', ['snapferry_job', 'outcome']),
    errors: counter(
      'errors_total',
      'What went wrong in runs, once for each dataset, and failures to listen, by code.',
      ['snapferry_job', 'code'],
    ),
    retries: counter('retries_total', 'How often something was tried again within a run, by code.', [
      'snapferry_job',
      'code',
    ]),
    bytes: counter('replicated_bytes_total', 'Payload bytes replicated, counted as they arrive.', ['snapferry_job']),
    datasetBytes: counter(
      'dataset_replicated_bytes_total',
      'Payload bytes replicated, counted when a run is over.',
      datasetLabels,
    ),
    replicated: counter('snapshots_replicated_total', 'Snapshots that arrived.', ['snapferry_job']),
    taken: counter('snapshots_taken_total', 'Snapshots that were taken.', ['snapferry_job']),
    pruned: counter('snapshots_pruned_total', 'Snapshots removed by retention, by side: sender, receiver.', [
      'snapferry_job',
      'side',
    ]),
    sessions: counter('sessions_total', 'Clients that connected.', ['snapferry_job']),
    sessionErrors: counter('session_errors_total', 'Sessions of clients that broke, by code.', [
      'snapferry_job',
      'code',
    ]),
    requests: counter('requests_total', 'Requests of clients, by outcome: ok, failed.', ['snapferry_job', 'outcome']),
    served: counter('served_bytes_total', 'Payload bytes exchanged with clients.', ['snapferry_job']),
  };
}

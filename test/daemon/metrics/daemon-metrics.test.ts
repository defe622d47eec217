import { expect, test } from 'vitest';
import { createDaemonMetrics } from '../../../src/daemon/metrics/daemon-metrics.ts';
import type { DaemonMetrics } from '../../../src/daemon/metrics/daemon-metrics.ts';
import type { DaemonStatus, JobStatus } from '../../../src/daemon/daemon-status.ts';
import type { RunEvent, SessionEvent } from '../../../src/jobs/job-events.ts';
import type { RunResult } from '../../../src/jobs/run-result.ts';
import {
  beganMs,
  daemonStatus,
  datasetResult,
  datasetStatus,
  failedRun,
  jobStatus,
  problem,
  runResult,
} from '../../support/daemon-fixture.ts';

const began = beganMs / 1000;

/** Every sample of an exposition, by name and labels as they are written. */
async function samples(metrics: DaemonMetrics, status: DaemonStatus): Promise<Map<string, string>> {
  const { body } = await metrics.expose(status);
  const found = new Map<string, string>();
  for (const line of body.split('\n').filter((text) => text !== '' && !text.startsWith('#'))) {
    const [, series = '', value = ''] = /^([a-z_]+(?:\{.*\})?) (\S+)$/.exec(line) ?? [];
    expect(series, line).not.toBe('');
    expect(found.has(series), `${series} is there twice`).toBe(false);
    found.set(series, value);
  }
  return found;
}

function statusOf(...jobs: readonly Partial<JobStatus>[]): DaemonStatus {
  return daemonStatus(jobs.map((job) => jobStatus(job)));
}

function observe(metrics: DaemonMetrics, ...events: readonly (RunEvent | SessionEvent)[]): void {
  for (const event of events) metrics.observe({ ...event, job: 'web1', atMs: beganMs });
}

function ended(result: RunResult): RunEvent {
  return { kind: 'runEnded', run: result.run, result };
}

test('a job that is well', async () => {
  const found = await samples(
    createDaemonMetrics(),
    statusOf({
      lastRun: runResult({ bytes: 77, durationMs: 2500 }),
      lastSuccessMs: beganMs,
      nextRunMs: beganMs + 60_000,
      staleAfterMs: 86_400_000,
      datasets: [datasetStatus()],
    }),
  );
  const dataset = 'snapferry_job="web1",client="",dataset="tank/data"';
  const expected = {
    [`snapferry_build_info{version="1.2.3",node="${process.versions.node}"}`]: '1',
    snapferry_start_time_seconds: `${began}`,
    snapferry_configuration_loaded_timestamp_seconds: `${began}`,
    snapferry_configuration_reload_failed: '0',
    'snapferry_job_info{snapferry_job="web1",type="pull",backend="zfs"}': '1',
    'snapferry_job_running{snapferry_job="web1"}': '0',
    'snapferry_job_last_run_timestamp_seconds{snapferry_job="web1"}': `${began + 1}`,
    'snapferry_job_last_run_duration_seconds{snapferry_job="web1"}': '2.5',
    'snapferry_job_last_run_bytes{snapferry_job="web1"}': '77',
    'snapferry_job_last_run_failed{snapferry_job="web1"}': '0',
    'snapferry_job_last_success_timestamp_seconds{snapferry_job="web1"}': `${began}`,
    'snapferry_job_next_run_timestamp_seconds{snapferry_job="web1"}': `${began + 60}`,
    'snapferry_job_stale_after_seconds{snapferry_job="web1"}': '86400',
    'snapferry_job_datasets{snapferry_job="web1",state="ok"}': '1',
    'snapferry_job_datasets{snapferry_job="web1",state="stale"}': '0',
    [`snapferry_dataset_last_success_timestamp_seconds{${dataset}}`]: `${began}`,
    [`snapferry_dataset_newest_snapshot_timestamp_seconds{${dataset}}`]: `${began - 60}`,
    [`snapferry_dataset_newest_snapshot_age_seconds{${dataset}}`]: '60',
    [`snapferry_dataset_failed{${dataset}}`]: '0',
    'snapferry_runs_total{snapferry_job="web1",outcome="failed"}': '0',
  };
  expect(Object.fromEntries(Object.keys(expected).map((series) => [series, found.get(series)]))).toEqual(expected);
});

test('what is unknown is left out, and never 0', async () => {
  const found = await samples(
    createDaemonMetrics(),
    statusOf({ datasets: [datasetStatus({ newest: null, lastSuccessMs: null })] }),
  );
  const unknown = /last_run|last_success|next_run|stale_after|newest_snapshot/;
  expect([...found.keys()].filter((series) => unknown.test(series))).toEqual([]);
});

test('trouble shows', async () => {
  const error = { code: 'CONFLICT', message: 'no' };
  const waiting = { error, untilMs: beganMs };
  const run = {
    ...({
      run: 'r',
      cause: 'schedule',
      identity: null,
      beganMs,
      total: null,
      datasetsDone: 0,
      datasetsTotal: 1,
    } as const),
    ...{ retries: 1, waiting },
  };
  const status = statusOf({
    ...{ state: 'running', run, runs: [run], lastRun: failedRun() },
    datasets: [datasetStatus({ state: 'failed', error })],
    problems: [problem(), problem({ dataset: 'b' }), problem({ code: 'NEVER_HEARD_OF' })],
  });
  const reloadError = 'line 3: no';
  const found = await samples(createDaemonMetrics(), {
    ...status,
    configuration: { ...status.configuration, reloadError },
  });
  expect(Object.fromEntries(found)).toMatchObject({
    snapferry_configuration_reload_failed: '1',
    'snapferry_job_running{snapferry_job="web1"}': '1',
    'snapferry_job_run_began_timestamp_seconds{snapferry_job="web1"}': `${began}`,
    'snapferry_job_waiting_to_retry{snapferry_job="web1"}': '1',
    'snapferry_job_last_run_failed{snapferry_job="web1"}': '1',
    'snapferry_job_problems{snapferry_job="web1",code="STALE"}': '2',
    'snapferry_job_problems{snapferry_job="web1",code="(other)"}': '1',
    'snapferry_dataset_failed{snapferry_job="web1",client="",dataset="tank/data"}': '1',
  });
});

test('what is gone from the status is gone from the metrics', async () => {
  const metrics = createDaemonMetrics();
  await samples(metrics, statusOf({ datasets: [datasetStatus()], problems: [problem()] }));
  const found = await samples(metrics, statusOf({ name: 'web2' }));
  expect([...found.keys()].filter((series) => /^snapferry_(job|dataset)_.*web1/.test(series))).toEqual([]);
});

test.each([
  ['as its machine claims', { creation: new Date(beganMs - 5000).toISOString(), at: beganMs }, '5'],
  ['but not later than it was seen', { creation: new Date(beganMs + 9e9).toISOString(), at: beganMs - 7000 }, '7'],
  ['when it was seen, if its machine does not say', { creation: '', at: beganMs - 3000 }, '3'],
  ['never below 0', { creation: new Date(beganMs + 5000).toISOString(), at: beganMs + 1000 }, '0'],
])('the newest snapshot is as old %s', async (_how, { creation, at }, age) => {
  const dataset = datasetStatus({ newest: { name: 'a', guid: '1', creation }, newestAtMs: at });
  const found = await samples(createDaemonMetrics(), statusOf({ datasets: [dataset] }));
  const labels = 'snapferry_job="web1",client="",dataset="tank/data"';
  expect(found.get(`snapferry_dataset_newest_snapshot_age_seconds{${labels}}`)).toBe(age);
});

test('datasets of one name of two clients are two, and any name can be written', async () => {
  const name = 'a"b\\c\nd{}';
  const of = (identity: string) => datasetStatus({ identity, dataset: name });
  const found = await samples(createDaemonMetrics(), statusOf({ type: 'sink', datasets: [of('web1'), of('web2')] }));
  const written = String.raw`a\"b\\c\nd{}`;
  for (const client of ['web1', 'web2']) {
    expect(found.get(`snapferry_dataset_failed{snapferry_job="web1",client="${client}",dataset="${written}"}`)).toBe(
      '0',
    );
  }
});

test('runs are counted, with their bytes as they come and once only', async () => {
  const metrics = createDaemonMetrics();
  const read = async (series: string) => (await samples(metrics, statusOf({}))).get(series);
  const bytes = (count: number): RunEvent => {
    const progress = { bytes: count, estimatedBytes: null, fraction: null, bytesPerSecond: null, remainingMs: null };
    return { kind: 'bytes', run: 'r1', dataset: 'tank/data', step: progress, total: progress };
  };
  observe(metrics, bytes(10), bytes(30));
  expect(await read('snapferry_replicated_bytes_total{snapferry_job="web1"}')).toBe('30');
  // After a reconnect the meter may begin anew.
  observe(
    metrics,
    bytes(5),
    bytes(40),
    ended(runResult({ run: 'r1', bytes: 100, datasets: [datasetResult({ bytes: 100 })] })),
  );
  expect(await read('snapferry_replicated_bytes_total{snapferry_job="web1"}')).toBe('100');
  observe(metrics, ended(runResult({ bytes: 7, datasets: [datasetResult({ bytes: 7 })] })));
  expect(await read('snapferry_replicated_bytes_total{snapferry_job="web1"}')).toBe('107');
  const dataset = 'snapferry_job="web1",client="",dataset="tank/data"';
  expect(await read(`snapferry_dataset_replicated_bytes_total{${dataset}}`)).toBe('107');
  expect(await read('snapferry_runs_total{snapferry_job="web1",outcome="ok"}')).toBe('2');
  expect(await read('snapferry_run_duration_seconds_count{snapferry_job="web1"}')).toBe('2');
  expect(await read('snapferry_run_duration_seconds_sum{snapferry_job="web1"}')).toBe('2');
});

test('errors are counted by code, once for each dataset', async () => {
  const metrics = createDaemonMetrics();
  const error = (code: string) => ({ code, message: 'no' });
  const datasets = ['CONFLICT', 'CONFLICT', 'made up by a peer'].map((code) => datasetResult({ error: error(code) }));
  observe(
    metrics,
    ended(failedRun('CONNECTION_LOST', 'no', { datasets })),
    { kind: 'retrying', run: 'r', dataset: null, error: error('CONNECT_FAILED'), waitMs: 1 },
    { kind: 'listenFailed', error: error('BUSY') },
  );
  const found = Object.fromEntries(await samples(metrics, statusOf({})));
  expect(found).toMatchObject({
    'snapferry_errors_total{snapferry_job="web1",code="CONNECTION_LOST"}': '1',
    'snapferry_errors_total{snapferry_job="web1",code="CONFLICT"}': '2',
    'snapferry_errors_total{snapferry_job="web1",code="(other)"}': '1',
    'snapferry_errors_total{snapferry_job="web1",code="BUSY"}': '1',
    'snapferry_retries_total{snapferry_job="web1",code="CONNECT_FAILED"}': '1',
    'snapferry_runs_total{snapferry_job="web1",outcome="failed"}': '1',
  });
});

test('snapshots and sessions are counted', async () => {
  const metrics = createDaemonMetrics();
  const to = { name: 'a', guid: '1', creation: '' };
  const session = { session: 's', identity: 'web9' };
  observe(
    metrics,
    { kind: 'snapshotTaken', run: 'r', dataset: 'd', snapshot: 'a' },
    { kind: 'stepDone', run: 'r', dataset: 'd', to, bytes: 1, notices: [] },
    { kind: 'pruned', run: 'r', dataset: 'd', side: 'receiver', destroyed: 3, kept: 4, errors: [] },
    { kind: 'sessionBegan', ...session, address: '192.0.2.1' },
    { kind: 'requestDone', ...session, request: 'x', bytes: 50, durationMs: 1, error: null },
    { kind: 'requestDone', ...session, request: 'y', bytes: 5, durationMs: 1, error: { code: 'BUSY', message: '' } },
    { kind: 'sessionEnded', ...session, durationMs: 1, error: { code: 'PEER_SILENT', message: '' } },
    { kind: 'sessionEnded', ...session, durationMs: 1, error: null },
  );
  expect(Object.fromEntries(await samples(metrics, statusOf({})))).toMatchObject({
    'snapferry_snapshots_taken_total{snapferry_job="web1"}': '1',
    'snapferry_snapshots_replicated_total{snapferry_job="web1"}': '1',
    'snapferry_snapshots_pruned_total{snapferry_job="web1",side="receiver"}': '3',
    'snapferry_sessions_total{snapferry_job="web1"}': '1',
    'snapferry_session_errors_total{snapferry_job="web1",code="PEER_SILENT"}': '1',
    'snapferry_requests_total{snapferry_job="web1",outcome="ok"}': '1',
    'snapferry_requests_total{snapferry_job="web1",outcome="failed"}': '1',
    'snapferry_served_bytes_total{snapferry_job="web1"}': '55',
  });
});

test('a client with ever new names makes no more series than are allowed', async () => {
  const metrics = createDaemonMetrics({ datasetsPerJobMax: 3 });
  const names = Array.from({ length: 100 }, (_, index) => `d${index}`);
  observe(
    metrics,
    ended(runResult({ identity: 'c', datasets: names.map((dataset) => datasetResult({ dataset, bytes: 1 })) })),
  );
  const status = statusOf({ datasets: names.map((dataset) => datasetStatus({ dataset, identity: 'c' })) });
  const found = await samples(metrics, status);
  expect(found.get('snapferry_job_datasets_left_out{snapferry_job="web1"}')).toBe('97');
  expect(found.get('snapferry_dataset_replicated_bytes_total{snapferry_job="web1",client="",dataset="(other)"}')).toBe(
    '97',
  );
  for (const name of ['snapferry_dataset_failed{', 'snapferry_dataset_newest_snapshot_age_seconds{']) {
    expect([...found.keys()].filter((series) => series.startsWith(name))).toHaveLength(3);
  }
  expect([...found.keys()].filter((series) => series.startsWith('snapferry_dataset_replicated_bytes'))).toHaveLength(4);
});

test('what is told of notifications, and what the process uses', async () => {
  const metrics = createDaemonMetrics();
  metrics.countNotification('mail', 'delivered');
  metrics.countNotification('mail', 'failed');
  const found = await samples(metrics, statusOf({}));
  expect(found.get('snapferry_notifications_total{type="mail",outcome="delivered"}')).toBe('1');
  expect(found.get('snapferry_notifications_total{type="mail",outcome="failed"}')).toBe('1');
  expect(found.get('snapferry_notifications_total{type="webhook",outcome="failed"}')).toBe('0');
  expect(Number(found.get('process_resident_memory_bytes'))).toBeGreaterThan(1_000_000);
  expect(Number(found.get('process_open_fds'))).toBeGreaterThan(2);
  expect(Number(found.get('process_cpu_seconds_total'))).toBeGreaterThan(0);
});

test('two daemons of one process have nothing in common', async () => {
  const [one, other] = [createDaemonMetrics(), createDaemonMetrics()];
  observe(one, ended(runResult()));
  const series = 'snapferry_runs_total{snapferry_job="web1",outcome="ok"}';
  expect((await samples(one, statusOf({}))).get(series)).toBe('1');
  expect((await samples(other, statusOf({}))).get(series)).toBe('0');
});

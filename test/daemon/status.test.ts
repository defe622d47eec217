import { describe, expect, test } from 'vitest';
import type { JobEvent } from '../../src/jobs/job-events.ts';
import type { Job } from '../../src/config/job.ts';
import { errorCodes } from '../../src/errors.ts';
import { adviceFor, problemCodes } from '../../src/daemon/advice.ts';
import { emptyHistoryFold, foldHistory } from '../../src/daemon/history-fold.ts';
import { JobBoard } from '../../src/daemon/job-board.ts';
import { forgetAfterMs } from '../../src/daemon/job-record.ts';
import { datasetResult, runResult, runVersion } from '../support/job-results.ts';
import { jobOf, pullJob, pullText, sinkText, snapText } from '../support/job-settings.ts';

const hour = 3_600_000;
const begin = Date.parse('2026-03-07T00:00:00Z');
const refused = { code: 'CONNECT_FAILED', message: 'web1 did not answer\nssh: no route' };

type Told<Kind extends JobEvent['kind']> = Omit<Extract<JobEvent, { kind: Kind }>, 'atMs' | 'job' | 'kind'>;

/** A board that is told events. */
function told(job: Job = pullJob('web1')) {
  const board = new JobBoard(emptyHistoryFold(), begin);
  let nowMs = begin;
  return {
    tell: <Kind extends JobEvent['kind']>(kind: Kind, event: Told<Kind>, atMs: number = nowMs): void => {
      nowMs = atMs;
      board.apply({ ...event, kind, job: job.name, atMs } as unknown as JobEvent);
    },
    status: (atMs: number = nowMs) => board.status(job, { state: 'running', nextRunMs: null }, atMs),
    board,
  };
}

const progress = (bytes: number) => ({
  bytes,
  estimatedBytes: 100,
  fraction: bytes / 100,
  bytesPerSecond: 5,
  remainingMs: 9,
});
const version = (name: string, atMs: number) => runVersion(name, new Date(atMs).toISOString());

describe('a run', () => {
  test('is shown with its steps, bytes, waits and what is done', () => {
    const { tell, status } = told();
    const run = 'r1';
    tell('runBegan', { run, cause: 'schedule', identity: null });
    expect(status().run).toMatchObject({ run, datasetsDone: 0, datasetsTotal: null, waiting: null });
    const planned = { target: null, steps: 1, estimatedBytes: 100, error: null };
    tell('planned', {
      run,
      datasets: [
        { dataset: 'a', ...planned },
        { dataset: 'b', ...planned },
      ],
      estimatedBytes: 200,
    });
    tell('datasetBegan', { run, dataset: 'a' });
    const step = { from: null, to: 's1', stepIndex: 0, stepCount: 1 };
    tell('stepBegan', { run, dataset: 'a', ...step, estimatedBytes: 100, resumed: false });
    tell('bytes', { run, dataset: 'a', step: progress(50), total: progress(50) });
    expect(status().run).toMatchObject({ datasetsTotal: 2, total: { bytes: 50 } });
    expect(status().datasets).toEqual([
      expect.objectContaining({
        dataset: 'a',
        state: 'running',
        step: { ...step, progress: progress(50) },
        newest: null,
      }),
    ]);
    tell('retrying', { run, dataset: 'a', error: refused, waitMs: 5000 });
    expect(status().datasets[0]).toMatchObject({ state: 'waiting', step: null });
    expect(status().run).toMatchObject({ retries: 1, waiting: null });
    tell('retrying', { run, dataset: null, error: refused, waitMs: 5000 });
    expect(status().run?.waiting).toEqual({ error: refused, untilMs: begin + 5000 });
    tell('stepBegan', { run, dataset: 'a', ...step, estimatedBytes: 100, resumed: true });
    expect(status().run?.waiting).toBeNull();
    const to = version('s1', begin);
    tell('stepDone', { run, dataset: 'a', to, bytes: 100, notices: [] });
    expect(status().datasets[0]).toMatchObject({ state: 'running', step: null, newest: to, lastSuccessMs: null });
    tell('datasetDone', { run, result: datasetResult('a', { newest: to }) });
    expect(status().datasets[0]).toMatchObject({ state: 'ok', lastSuccessMs: begin, target: 'backup/a' });
    // After a reconnect only the rest is planned.
    tell('planned', { run, datasets: [{ dataset: 'b', ...planned }], estimatedBytes: 100 });
    expect(status().run).toMatchObject({ datasetsDone: 1, datasetsTotal: 2 });
    const result = runResult(run, begin, { datasets: [datasetResult('a', { newest: to }), datasetResult('b')] });
    tell('runEnded', { run, result });
    expect(status()).toMatchObject({
      run: null,
      runs: [],
      lastRun: result,
      lastSuccessMs: result.endedMs,
      problems: [],
    });
  });

  test('events of a run that is over change nothing', () => {
    const { tell, status } = told();
    const before = status();
    tell('datasetBegan', { run: 'gone', dataset: 'a' });
    tell('retrying', { run: 'gone', dataset: null, error: refused, waitMs: 1 });
    expect(status()).toEqual(before);
  });

  test('of several clients are told apart, also when they have datasets of one name', () => {
    const { tell, status } = told(jobOf(sinkText('vault')));
    tell('runBegan', { run: 'r1', cause: 'peer', identity: 'b' });
    tell('runBegan', { run: 'r2', cause: 'peer', identity: 'a' });
    tell('datasetBegan', { run: 'r1', dataset: 'data' });
    tell('datasetBegan', { run: 'r2', dataset: 'data' });
    expect(status().runs.map(({ run, identity }) => [run, identity])).toEqual([
      ['r1', 'b'],
      ['r2', 'a'],
    ]);
    expect(status().datasets.map(({ dataset, identity }) => [dataset, identity])).toEqual([
      ['data', 'a'],
      ['data', 'b'],
    ]);
    const peer = { job: 'vault', cause: 'peer' } as const;
    tell('runEnded', {
      run: 'r1',
      result: runResult('r1', begin, { ...peer, identity: 'b', outcome: 'failed', error: refused }),
    });
    tell('runEnded', {
      run: 'r2',
      result: runResult('r2', begin, { ...peer, identity: 'a', datasets: [datasetResult('data')] }),
    });
    expect(status().problems).toMatchObject([{ code: 'CONNECT_FAILED', identity: 'b' }]);
    tell('runEnded', { run: 'r3', result: runResult('r3', begin, { ...peer, identity: 'b' }) });
    expect(status().problems).toEqual([]);
  });
});

describe('problems', () => {
  test('begin with the first failure and end with a success; a cancelled run says nothing', () => {
    const { tell, status } = told();
    const fail = (run: string, at: number, error = refused) =>
      tell('runEnded', { run, result: runResult(run, at, { outcome: 'failed', error }) }, at + 1000);
    fail('r1', begin);
    fail('r2', begin + hour);
    expect(status().problems).toEqual([
      {
        code: 'CONNECT_FAILED',
        dataset: null,
        identity: null,
        message: 'web1 did not answer',
        advice: expect.stringContaining('snapferry doctor web1') as string,
        sinceMs: begin + 1000,
      },
    ]);
    const cancelled = { code: 'CANCELLED', message: 'by hand' };
    tell('runEnded', { run: 'r3', result: runResult('r3', begin, { outcome: 'cancelled', error: cancelled }) });
    expect(status().problems).toMatchObject([{ code: 'CONNECT_FAILED' }]);
    fail('r4', begin + 2 * hour, { code: 'ACCESS_DENIED', message: 'no' });
    expect(status().problems).toMatchObject([{ code: 'ACCESS_DENIED', sinceMs: begin + 2 * hour + 1000 }]);
    tell('runEnded', { run: 'r5', result: runResult('r5', begin + 3 * hour) });
    expect(status().problems).toEqual([]);
  });

  test('of one dataset leave the others alone', () => {
    const { tell, status } = told();
    const conflict = { code: 'CONFLICT', message: 'both have changed' };
    const datasets = [datasetResult('a', { error: conflict }), datasetResult('b')];
    tell('runEnded', { run: 'r1', result: runResult('r1', begin, { outcome: 'failed', datasets }) });
    expect(status().datasets.map(({ state }) => state)).toEqual(['failed', 'ok']);
    expect(status().problems).toMatchObject([{ code: 'CONFLICT', dataset: 'a' }]);
  });

  test('the worst comes first', () => {
    const { tell, status } = told(jobOf(pullText('web1', 'interval: 1h', 'stale_after: 1h')));
    const error = (code: string) => ({ code, message: code });
    const datasets = ['BUSY', 'ACCESS_DENIED', 'DIGEST_MISMATCH', 'CONFLICT', 'FROM_THE_FUTURE'].map((code) =>
      datasetResult(code, { error: error(code), newest: version('s', begin) }),
    );
    tell('runEnded', { run: 'r1', result: runResult('r1', begin, { outcome: 'failed', datasets }) });
    tell('runEnded', {
      run: 'r2',
      result: runResult('r2', begin, { outcome: 'failed', error: error('CONNECT_FAILED') }),
    });
    const codes = status(begin + 3 * hour).problems.map(({ code }) => code);
    expect(new Set(codes.slice(0, 7))).toEqual(new Set(['DIGEST_MISMATCH', 'STALE', 'CONFLICT']));
    expect(codes[0]).toBe('DIGEST_MISMATCH');
    expect(codes.at(-1)).toBe('BUSY');
    expect(codes.indexOf('CONFLICT')).toBeLessThan(codes.indexOf('ACCESS_DENIED'));
    expect(codes.indexOf('ACCESS_DENIED')).toBeLessThan(codes.indexOf('CONNECT_FAILED'));
  });

  test('every code has advice that names what to do, in one line', () => {
    expect(problemCodes).toHaveLength(errorCodes.length + 2);
    for (const job of [pullJob('web1'), jobOf(sinkText('vault')), jobOf(snapText('home', '{ type: manual }'))]) {
      for (const code of [...problemCodes, 'FROM_THE_FUTURE']) {
        const advice = adviceFor(code, job);
        expect(advice, code).toMatch(/snapferry|journalctl|ssh|openssl/);
        expect(advice, code).not.toContain('\n');
      }
    }
  });

  test('how to reach the other machine is a command that can be copied', () => {
    const ssh = jobOf(`
  - name: web1
    type: pull
    backend: directory
    connect: { type: ssh+stdinserver, host: web1.example.com, user: backup, port: 2222, identity_file: "/etc/a key" }
    root_fs: /backup
    interval: 1h
    pruning: { keep_receiver: [{ type: last_n, count: 1 }] }
`);
    expect(adviceFor('CONNECT_FAILED', ssh)).toContain("ssh -p 2222 -i '/etc/a key' backup@web1.example.com");
  });

  test('a socket that cannot be listened on is one until it can', () => {
    const { tell, status, board } = told(jobOf(sinkText('vault')));
    tell('listenFailed', { error: { code: 'BUSY', message: 'in use' } }, begin);
    tell('listenFailed', { error: { code: 'BUSY', message: 'in use' } }, begin + 60_000);
    expect(status().problems).toMatchObject([{ code: 'BUSY', sinceMs: begin }]);
    // It says so each time it tries.
    expect(status(begin + 60_000 + 150_001).problems).toEqual([]);
    tell('listenFailed', { error: { code: 'BUSY', message: 'in use' } }, begin + hour);
    expect(status().problems).toMatchObject([{ sinceMs: begin + hour }]);
    board.listens('vault');
    expect(status().problems).toEqual([]);
  });
});

describe('staleness', () => {
  const watched = jobOf(pullText('web1', 'interval: 1h', 'stale_after: 2h'));
  const arrived = (creationMs: number, endedMs: number) =>
    runResult('r', endedMs - 1000, { endedMs, datasets: [datasetResult('a', { newest: version('s', creationMs) })] });

  test('is the age of the newest snapshot, to the millisecond', () => {
    const { tell, status } = told(watched);
    tell('runEnded', { run: 'r', result: arrived(begin, begin + 60_000) });
    expect(status(begin + 2 * hour).problems).toEqual([]);
    expect(status(begin + 2 * hour).datasets[0]?.state).toBe('ok');
    const { problems, datasets } = status(begin + 2 * hour + 1);
    expect(problems).toMatchObject([{ code: 'STALE', dataset: 'a', sinceMs: begin + 2 * hour }]);
    expect(problems[0]?.message).toBe('the newest snapshot, s, is 2h old, and may be 2h old');
    expect(datasets[0]?.state).toBe('stale');
  });

  test('a time in the future, claimed by the other machine, does not postpone it', () => {
    const { tell, status } = told(watched);
    tell('runEnded', { run: 'r', result: arrived(begin + 365 * 24 * hour, begin) });
    expect(status(begin + 2 * hour + 1).problems).toMatchObject([{ code: 'STALE' }]);
  });

  test('runs that go well and bring nothing new do not hide it', () => {
    const { tell, status } = told(watched);
    for (let count = 1; count < 5; count++)
      tell('runEnded', { run: 'r', result: arrived(begin, begin + count * hour) });
    expect(status(begin + 4 * hour).problems).toMatchObject([{ code: 'STALE', sinceMs: begin + 2 * hour }]);
  });

  test('a job that has never brought anything is stale after its time, and a job that is not watched never', () => {
    expect(told(watched).status(begin + 2 * hour).problems).toEqual([]);
    expect(told(watched).status(begin + 2 * hour + 1).problems).toMatchObject([{ code: 'STALE', dataset: null }]);
    expect(told(pullJob('web1')).status(begin + 9999 * hour).problems).toEqual([]);
  });

  test('of a job that only takes snapshots it is about those', () => {
    const { tell, status } = told(
      jobOf(snapText('home', '{ type: periodic, interval: 1h, prefix: a_ }') + '    stale_after: 2h\n'),
    );
    const datasets = [datasetResult('home', { target: null, snapshot: 'a_1' })];
    tell('runEnded', { run: 'r', result: runResult('r', begin - 1000, { endedMs: begin, datasets }) });
    expect(status(begin + 2 * hour).problems).toEqual([]);
    expect(status(begin + 2 * hour + 1).problems[0]?.message).toContain('a_1');
  });
});

describe('the history', () => {
  test('gives the same status as the events it is of', () => {
    const { tell, status } = told();
    const fold = emptyHistoryFold();
    for (let index = 0; index < 20; index++) {
      const error = index % 3 === 0 ? refused : null;
      const datasets = [
        datasetResult('a', { error: index % 4 === 0 ? refused : null, newest: version(`s${index}`, begin + index) }),
      ];
      const outcome = index % 7 === 0 ? 'cancelled' : error === null ? 'ok' : 'failed';
      const result = runResult(`r${index}`, begin + index * hour, { outcome, error, datasets });
      tell('runBegan', { run: result.run, cause: 'schedule', identity: null }, result.beganMs);
      tell('runEnded', { run: result.run, result }, result.endedMs);
      foldHistory(fold, { ended: result });
    }
    const later = new JobBoard(fold, begin).status(
      pullJob('web1'),
      { state: 'running', nextRunMs: null },
      begin + 99 * hour,
    );
    expect(later).toEqual(status(begin + 99 * hour));
  });

  test('a dataset is forgotten once runs that worked have not spoken of it for long', () => {
    const { tell, status } = told();
    const run = (name: string, atMs: number, names: readonly string[], error: typeof refused | null = null) =>
      tell('runEnded', {
        run: name,
        result: runResult(name, atMs, {
          error,
          outcome: error === null ? 'ok' : 'failed',
          datasets: names.map((of) => datasetResult(of)),
        }),
      });
    run('r1', begin, ['a', 'b']);
    run('r2', begin + forgetAfterMs + hour, [], refused);
    expect(status().datasets.map(({ dataset }) => dataset)).toEqual(['a', 'b']);
    run('r3', begin + forgetAfterMs + hour, ['b']);
    expect(status().datasets.map(({ dataset }) => dataset)).toEqual(['b']);
  });
});

test('sessions are listed with what they ask', () => {
  const { tell, status } = told(jobOf(sinkText('vault')));
  tell('sessionBegan', { session: '1', identity: 'web1', address: '10.0.0.1' });
  const request = { session: '1', identity: 'web1', request: 'PullMe', durationMs: 5, error: null };
  tell('requestDone', { ...request, bytes: 10 });
  tell('requestDone', { ...request, bytes: 5 });
  expect(status().sessions).toEqual([
    { session: '1', identity: 'web1', address: '10.0.0.1', sinceMs: begin, request: 'PullMe', bytes: 15 },
  ]);
  tell('sessionEnded', { session: '1', identity: 'web1', durationMs: 9, error: null });
  expect(status().sessions).toEqual([]);
});

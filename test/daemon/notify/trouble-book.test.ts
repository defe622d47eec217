import { expect, test } from 'vitest';
import { TroubleBook } from '../../../src/daemon/notify/trouble-book.ts';
import { subjectKey, tellable } from '../../../src/daemon/notify/trouble.ts';
import type { Trouble } from '../../../src/daemon/notify/trouble.ts';
import type { RunResult } from '../../../src/jobs/run-result.ts';
import { beganMs, datasetResult, failedRun, runResult } from '../../support/daemon-fixture.ts';

const noAdvice = () => null;

function bookAfter(...results: readonly RunResult[]): TroubleBook {
  const book = new TroubleBook();
  for (const result of results) book.applyRun(result, noAdvice);
  return book;
}

function named(book: TroubleBook): string[] {
  return [...book.troubles.values()].map(({ dataset, identity, code }) => [identity, dataset, code].join(' ').trim());
}

const failed = (dataset: string, code = 'CONFLICT') =>
  datasetResult({ dataset, error: { code, message: `${dataset} failed` } });

test('a run that fails as a whole is one trouble, of its job', () => {
  expect(named(bookAfter(failedRun()))).toEqual(['CONNECT_FAILED']);
});

test('of a run that fails in part, each dataset that failed is a trouble', () => {
  const result = runResult({
    outcome: 'failed',
    datasets: [failed('a'), datasetResult({ dataset: 'b' }), failed('c')],
  });
  expect(named(bookAfter(result))).toEqual(['a CONFLICT', 'c CONFLICT']);
});

test('a run that goes well ends everything', () => {
  const inPart = runResult({ outcome: 'failed', datasets: [failed('a'), failed('gone')] });
  expect(named(bookAfter(failedRun(), inPart, runResult({ datasets: [datasetResult({ dataset: 'a' })] })))).toEqual([]);
});

test('a run that fails as a whole says nothing of the datasets it did not come to', () => {
  const inPart = runResult({ outcome: 'failed', datasets: [failed('a'), failed('b')] });
  const whole = failedRun('CONNECTION_LOST', 'lost', { datasets: [datasetResult({ dataset: 'b' })] });
  expect(named(bookAfter(inPart, whole))).toEqual(['a CONFLICT', 'CONNECTION_LOST']);
});

test('a connection that works again ends the trouble of the job, also if a dataset fails', () => {
  const inPart = runResult({ outcome: 'failed', datasets: [failed('a')] });
  expect(named(bookAfter(failedRun(), inPart))).toEqual(['a CONFLICT']);
});

test('a cancelled run is no trouble, and ends only that of datasets it had done', () => {
  const inPart = runResult({ outcome: 'failed', datasets: [failed('a'), failed('b')] });
  const cancelled = runResult({
    outcome: 'cancelled',
    error: { code: 'CANCELLED', message: 'stopped' },
    datasets: [datasetResult({ dataset: 'a' }), failed('b', 'CANCELLED')],
  });
  expect(named(bookAfter(failedRun(), inPart, failedRun(), cancelled))).toEqual(['b CONFLICT', 'CONNECT_FAILED']);
});

test('a run that was killed has failed, although its code is CANCELLED', () => {
  expect(named(bookAfter(failedRun('CANCELLED', 'snapferry was killed')))).toEqual(['CANCELLED']);
});

test('clients of a sink do not answer for each other', () => {
  const of = (identity: string, error: boolean) =>
    runResult({
      identity,
      cause: 'peer',
      outcome: error ? 'failed' : 'ok',
      datasets: [error ? failed('tank') : datasetResult({ dataset: 'tank' })],
    });
  expect(named(bookAfter(of('web1', true), of('web2', true), of('web1', false)))).toEqual(['web2 tank CONFLICT']);
});

test('a trouble that becomes another one lasts since it began', () => {
  const book = new TroubleBook();
  const at = (endedMs: number, code: string) => book.applyRun(failedRun(code, 'no', { endedMs }), noAdvice);
  expect([at(1, 'CONNECT_FAILED'), at(2, 'CONNECT_FAILED'), at(3, 'TIMEOUT')]).toEqual([1, 0, 1]);
  expect([...book.troubles.values()]).toMatchObject([{ code: 'TIMEOUT', sinceMs: 1 }]);
});

test('advice is asked for by what the trouble is about', () => {
  const book = new TroubleBook();
  book.applyRun(runResult({ outcome: 'failed', datasets: [failed('a')] }), ({ job, dataset }, code) =>
    [job, dataset, code].join('/'),
  );
  expect([...book.troubles.values()][0]!.advice).toBe('web1/a/CONFLICT');
});

test('a listener that fails is a trouble of its own, which no run ends', () => {
  const book = new TroubleBook();
  book.applyListenFailure('web1', { code: 'BUSY', message: 'taken' }, beganMs, noAdvice);
  book.applyRun(runResult(), noAdvice);
  expect(named(book)).toEqual(['BUSY']);
  book.endListenFailure('web1');
  expect(named(book)).toEqual([]);
});

test('what is stale is what is said to be, and nothing else', () => {
  const stale = (dataset: string): Trouble => ({
    ...{ kind: 'stale', job: 'web1', identity: null, dataset, code: 'STALE', message: 'old', advice: null },
    sinceMs: beganMs,
  });
  const book = bookAfter(failedRun());
  book.applyStale(new Set(['web1']), [stale('a'), stale('b')]);
  book.applyStale(new Set(['web1']), [stale('b')]);
  book.applyStale(new Set(['web2']), []);
  expect(named(book)).toEqual(['CONNECT_FAILED', 'b STALE']);
});

test('a client with ever new names cannot fill the memory', () => {
  const datasets = Array.from({ length: 1500 }, (_, index) => failed(`d${index}`));
  const book = bookAfter(runResult({ outcome: 'failed', datasets }));
  expect(book.troubles.size).toBe(1000);
  book.applyRun(runResult({ job: 'other', outcome: 'failed', datasets: [failed('a')] }), noAdvice);
  expect(book.troubles.size).toBe(1001);
  book.keepJobs(new Set(['other']));
  expect(named(book)).toEqual(['a CONFLICT']);
});

test('it is the same after it was stored', () => {
  const book = bookAfter(failedRun(), runResult({ outcome: 'failed', datasets: [failed('a\nb')] }));
  const stored = JSON.parse(JSON.stringify([...book.troubles.values()])) as Trouble[];
  expect([...new TroubleBook(stored).troubles]).toEqual([...book.troubles]);
});

test('subjects differ when anything about them does', () => {
  const subject = { kind: 'run', job: 'a', identity: 'b', dataset: 'c' } as const;
  const others = [
    { ...subject, kind: 'stale' as const },
    { ...subject, job: 'ab', identity: null },
    { ...subject, identity: null },
    { ...subject, dataset: null },
    { ...subject, identity: 'bc', dataset: '' },
  ];
  expect(new Set([subject, ...others].map(subjectKey)).size).toBe(6);
  expect(subjectKey({ ...subject })).toBe(subjectKey(subject));
});

test('what came from elsewhere becomes one bounded line', () => {
  expect(tellable('zfs:\n\tbad\r\nBcc: all@example.com\u0000\u001b[31m\u202e \ud800')).toBe(
    'zfs: bad Bcc: all@example.com [31m',
  );
  expect(tellable('x'.repeat(5000))).toHaveLength(1000);
  expect(tellable('abcdef', 4)).toBe('abc…');
});

import { describe, expect, test } from 'vitest';
import { lineOf } from '../../src/daemon/event-log.ts';
import type { JobEvent } from '../../src/jobs/job-events.ts';
import { datasetResult, runResult, runVersion } from '../support/job-results.ts';

const at = { atMs: 0, job: 'web1' };
const run = { ...at, run: 'r1' };
const error = { code: 'CONNECTION_LOST', message: 'the connection broke' };
const progress = { bytes: 5, estimatedBytes: null, fraction: null, bytesPerSecond: null, remainingMs: null };
const session = { ...at, session: 's1', identity: 'backup' };
const step = { from: 'a', to: 'b', stepIndex: 1, stepCount: 3, estimatedBytes: 7, resumed: true };
const done = { ...run, kind: 'stepDone', dataset: 'd', to: runVersion('b', ''), bytes: 9 } as const;
const pruned = { ...run, kind: 'pruned', dataset: 'd', side: 'sender', destroyed: 2, kept: 3 } as const;
const ended = (other: Parameters<typeof runResult>[2]): JobEvent => ({
  ...run,
  kind: 'runEnded',
  result: runResult('r1', 0, other),
});

/** Each event, how important it is, and what the line must say. */
const lines: readonly (readonly [JobEvent, string, string | RegExp, object])[] = [
  [
    { ...run, kind: 'runBegan', cause: 'peer', identity: 'x' },
    'info',
    'run began: peer x',
    { cause: 'peer', identity: 'x' },
  ],
  [{ ...run, kind: 'snapshotTaken', dataset: 'd', snapshot: 's' }, 'info', 'took s', { dataset: 'd', snapshot: 's' }],
  [{ ...run, kind: 'planned', datasets: [], estimatedBytes: 5 }, 'info', /0 steps/, { estimatedBytes: 5 }],
  [{ ...run, kind: 'datasetBegan', dataset: 'd' }, 'debug', 'dataset began', { dataset: 'd' }],
  [
    { ...run, kind: 'stepBegan', dataset: 'd', ...step },
    'info',
    'going on with step 2 of 3: a to b',
    { step: 'a to b' },
  ],
  [{ ...run, kind: 'bytes', dataset: 'd', step: progress, total: progress }, 'trace', 'bytes', { bytes: 5 }],
  [{ ...done, notices: [] }, 'info', 'b arrived, 9 bytes', { dataset: 'd', step: 'b' }],
  [{ ...done, notices: ['x was left out'] }, 'warn', /x was left out/, {}],
  [
    { ...run, kind: 'retrying', dataset: null, error, waitMs: 61_000 },
    'warn',
    'trying again in 1m1s: the connection broke',
    { code: error.code },
  ],
  [{ ...run, kind: 'retrying', dataset: 'd', error, waitMs: 500 }, 'warn', /500ms/, { dataset: 'd' }],
  [{ ...pruned, errors: [] }, 'info', 'removed 2 snapshots, 3 are left', { side: 'sender' }],
  [{ ...pruned, errors: [error] }, 'error', /the connection broke/, {}],
  [
    { ...run, kind: 'datasetDone', result: datasetResult('d') },
    'debug',
    'dataset done: 1 steps',
    { dataset: 'd', target: 'backup/d' },
  ],
  [
    { ...run, kind: 'datasetDone', result: datasetResult('d', { error }) },
    'error',
    error.message,
    { code: error.code },
  ],
  [
    { ...run, kind: 'datasetDone', result: datasetResult('d', { error: { ...error, code: 'CANCELLED' } }) },
    'warn',
    error.message,
    {},
  ],
  [{ ...run, kind: 'datasetDone', result: datasetResult('d', { notices: ['odd'] }) }, 'warn', /odd/, {}],
  [ended({}), 'info', /run ended: ok/, { outcome: 'ok', durationMs: 1000 }],
  [ended({ outcome: 'failed', error }), 'error', /the connection broke/, { code: error.code }],
  [ended({ outcome: 'failed', datasets: [datasetResult('d', { error })] }), 'error', /0 of 1 datasets/, { failed: 1 }],
  [ended({ outcome: 'cancelled', error }), 'warn', /cancelled/, {}],
  [
    { ...session, kind: 'sessionBegan', address: '10.0.0.1' },
    'info',
    'backup connected from 10.0.0.1',
    { session: 's1' },
  ],
  [{ ...session, kind: 'sessionEnded', durationMs: 1, error: null }, 'info', 'backup left', { session: 's1' }],
  [{ ...session, kind: 'sessionEnded', durationMs: 1, error }, 'warn', /the connection broke/, { code: error.code }],
  [
    { ...session, kind: 'requestDone', request: 'PullMe', bytes: 1, durationMs: 1, error: null },
    'debug',
    'answered PullMe',
    { session: 's1' },
  ],
  [
    { ...session, kind: 'requestDone', request: 'PullMe', bytes: 1, durationMs: 1, error },
    'warn',
    error.message,
    { code: error.code },
  ],
  [{ ...at, kind: 'listenFailed', error }, 'error', 'cannot be reached: the connection broke', { code: error.code }],
];

describe('an event', () => {
  test.each(lines)('%# is one line with what it is about', (event, level, text, fields) => {
    const line = lineOf(event);
    expect(line.level).toBe(level);
    expect(line.text).toMatch(text);
    expect(line.fields).toMatchObject({
      job: 'web1',
      event: event.kind,
      ...('run' in event && { run: 'r1' }),
      ...fields,
    });
  });

  test('of every kind there is has a line here', () => {
    expect(new Set(lines.map(([{ kind }]) => kind)).size).toBe(15);
  });
});

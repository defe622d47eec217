import { describe, expect, test } from 'vitest';
import type { SeenStatus } from '../../src/cli/status-source.ts';
import { judgeStatus, pluginLine } from '../../src/cli/status-verdict.ts';
import type { JudgeOptions } from '../../src/cli/status-verdict.ts';
import type { JobStatus } from '../../src/daemon/daemon-status.ts';
import { beganMs, daemonStatus, jobStatus, problem, runResult } from '../support/daemon-fixture.ts';

const hour = 3_600_000;
const options: JudgeOptions = { criticalAfterMs: 24 * hour, wantsDaemon: true };
const gone = { isRunning: false, reason: 'there is no such socket' };

function seen(jobs: readonly JobStatus[], more: Partial<SeenStatus> = {}): SeenStatus {
  const daemon = { isRunning: true, reason: null };
  return { ...daemonStatus(jobs), nowMs: beganMs + hour, daemon, notices: [], ...more };
}

const well = jobStatus({ lastSuccessMs: beganMs, staleAfterMs: 24 * hour, lastRun: runResult() });

describe('the verdict', () => {
  test('all is well', () => {
    const verdict = judgeStatus(seen([well]), options);
    expect(verdict).toMatchObject({ level: 'ok', troubles: [] });
    expect(pluginLine(verdict)).toBe("SNAPFERRY OK - 1 job, its last success 1 h 0 min ago | 'web1'=3600s;;86400;0");
  });

  test('nothing has run yet, which a daemon will see to', () => {
    const verdict = judgeStatus(seen([jobStatus()]), options);
    expect(pluginLine(verdict)).toBe('SNAPFERRY OK - 1 job, none has run yet');
  });

  test.each([
    ['STALE', 'critical'],
    ['CONFLICT', 'critical'],
    ['DIGEST_MISMATCH', 'critical'],
    ['ACCESS_DENIED', 'critical'],
    ['something new', 'critical'],
    ['CONNECT_FAILED', 'warning'],
    ['BUSY', 'warning'],
    ['GOODBYE', 'warning'],
  ])('%s is %s', (code, level) => {
    const verdict = judgeStatus(seen([{ ...well, problems: [problem({ code })] }]), options);
    expect(verdict.level).toBe(level);
    expect(verdict.summary).toBe(
      `web1: tank/data: the newest snapshot, auto_1, is 2d old, and may be 1d old (${code})`,
    );
  });

  test('what may pass and does not, is critical', () => {
    const problems = [problem({ code: 'CONNECT_FAILED', sinceMs: beganMs - 23 * hour })];
    expect(judgeStatus(seen([{ ...well, problems }]), options).level).toBe('critical');
    const patient = { ...options, criticalAfterMs: 24 * hour + 1 };
    expect(judgeStatus(seen([{ ...well, problems }]), patient).level).toBe('warning');
  });

  test('the worst comes first, and the others are counted', () => {
    const jobs = [
      { ...well, problems: [problem({ code: 'BUSY' })] },
      jobStatus({ name: 'web2', problems: [problem({ code: 'CONFLICT', dataset: null, message: 'a|b\nc' })] }),
    ];
    const verdict = judgeStatus(seen(jobs), options);
    expect(verdict.level).toBe('critical');
    const line = pluginLine(verdict);
    // One line, and one bar: what follows it is drawn.
    expect(line).toBe("SNAPFERRY CRITICAL - web2: a/b\\nc (CONFLICT), and 1 more | 'web1'=3600s;;86400;0");
  });

  test('no daemon is critical, unless none is meant to run', () => {
    const offline = seen([well], { daemon: gone });
    expect(judgeStatus(offline, options)).toMatchObject({
      level: 'critical',
      summary: 'no daemon runs: there is no such socket',
    });
    expect(judgeStatus(offline, { ...options, wantsDaemon: false })).toMatchObject({ level: 'ok' });
    const never = judgeStatus(seen([jobStatus()], { daemon: gone }), { ...options, wantsDaemon: false });
    expect(never).toMatchObject({ level: 'warning', summary: 'web1: has never run' });
  });

  test('what is not quite right is a warning', () => {
    const configuration = { file: 'x', loadedMs: 0, reloadError: 'unknown key' };
    expect(judgeStatus(seen([well], { configuration }), options).level).toBe('warning');
    expect(judgeStatus(seen([well], { notices: ['line 3 is torn'] }), options)).toMatchObject({
      level: 'warning',
      summary: 'line 3 is torn',
    });
  });

  test('a clock that went back draws nothing below zero', () => {
    const verdict = judgeStatus(seen([{ ...well, lastSuccessMs: beganMs + 9 * hour }]), options);
    expect(verdict.ages).toEqual([{ job: 'web1', seconds: 0, limitSeconds: 86400 }]);
  });
});

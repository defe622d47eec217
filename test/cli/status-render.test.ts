import pc from 'picocolors';
import { describe, expect, test } from 'vitest';
import type { JobStatus, RunStatus } from '../../src/daemon/daemon-status.ts';
import { paintLine } from '../../src/cli/status-lines.ts';
import type { StatusLine } from '../../src/cli/status-lines.ts';
import { renderStatus } from '../../src/cli/status-render.ts';
import { StatusScreen } from '../../src/cli/status-screen.ts';
import { statusOfJob } from '../../src/cli/status-source.ts';
import type { SeenStatus } from '../../src/cli/status-source.ts';
import { beganMs, daemonStatus, datasetStatus, jobStatus, problem } from '../support/daemon-fixture.ts';

const minute = 60_000;
const plain = pc.createColors(false);

function seen(jobs: readonly JobStatus[], more: Partial<SeenStatus> = {}): SeenStatus {
  const status = daemonStatus(jobs);
  const nowMs = beganMs + 60 * minute;
  return { ...status, nowMs, daemon: { isRunning: true, reason: null }, notices: [], ...more };
}

function textOf(status: SeenStatus, isDetailed = false): string {
  return renderStatus(status, { isDetailed })
    .map((line) => paintLine(line, plain))
    .join('\n');
}

const running: RunStatus = {
  run: 'r1',
  cause: 'schedule',
  identity: null,
  beganMs: beganMs + 58 * minute,
  total: { bytes: 3e9, estimatedBytes: 6e9, fraction: 0.5, bytesPerSecond: 1e8, remainingMs: 30_000 },
  datasetsDone: 1,
  datasetsTotal: 3,
  retries: 2,
  waiting: null,
};

const atWork = datasetStatus({
  dataset: 'tank/home',
  state: 'running',
  step: {
    from: 'auto_1',
    to: 'auto_2',
    stepIndex: 1,
    stepCount: 4,
    progress: { bytes: 1e9, estimatedBytes: null, fraction: null, bytesPerSecond: null, remainingMs: null },
  },
});

describe('the status for people', () => {
  test('all is well', () => {
    const job = jobStatus({
      datasets: [datasetStatus()],
      lastSuccessMs: beganMs,
      nextRunMs: beganMs + 90 * minute,
    });
    expect(textOf(seen([job]))).toBe(
      `snapferry 1.2.3, process 4711, up 1 h 0 min  /etc/snapferry/snapferry.yml

web1  pull zfs  ok  1 dataset, last success 1 h 0 min ago, next run in 30 min 0 s

1 job, all is well`,
    );
  });

  test('what is at work: steps, bytes, rate, time left', () => {
    const job = jobStatus({ state: 'running', runs: [running], run: running, datasets: [atWork, datasetStatus()] });
    const text = textOf(seen([job]));
    expect(text).toContain('web1  pull zfs  running  2 datasets, no success yet');
    expect(text).toContain('  run for 2 min 0 s, 1 of 3 datasets done, 2 retries');
    expect(text).toContain('  in all 2.8 GiB of 5.6 GiB (50 %), 95.4 MiB/s, 30 s left');
    expect(text).toContain('  tank/home  running  newest auto_1, 1 h 0 min ago  -> backup/tank/data');
    expect(text).toContain('    step 2 of 4, auto_1 to auto_2: 953.7 MiB of an unknown amount');
    // Of a dataset that is well there is nothing to say, unless somebody asks for the job.
    expect(text).not.toContain('tank/data  ok');
    expect(textOf(seen([job]), true)).toContain('tank/data  ok');
  });

  test('what is wrong, and the next thing to do', () => {
    const job = jobStatus({ name: 'vault', type: 'sink', state: 'serving', problems: [problem({ identity: 'web1' })] });
    const text = textOf(seen([job, jobStatus()]));
    expect(text).toContain('vault  sink zfs  serving 0 clients');
    expect(text).toContain(
      '  STALE web1: tank/data: the newest snapshot, auto_1, is 2d old, and may be 1d old  for 1 h 0 min',
    );
    expect(text).toContain('    what to do: see what keeps it from arriving: snapferry doctor web1');
    expect(text).toMatch(/1 of 2 jobs in trouble: vault$/);
  });

  test('clients, and what is waited for', () => {
    const session = {
      session: 's',
      identity: 'web1',
      address: '10.0.0.1:5',
      sinceMs: beganMs,
      request: 'filesystems',
      bytes: 2048,
    };
    const error = { code: 'CONNECT_FAILED', message: 'cannot connect\nhint' };
    const run = { ...running, identity: 'web1', total: null, waiting: { error, untilMs: beganMs + 61 * minute } };
    const text = textOf(seen([jobStatus({ state: 'serving', sessions: [session], runs: [run], run })]));
    expect(text).toContain('serving 1 client');
    expect(text).toContain('  client web1 from 10.0.0.1:5 for 1 h 0 min, 2.0 KiB, last: filesystems');
    expect(text).toContain('  run of web1 for 2 min 0 s');
    expect(text).toContain('  waiting to try again in 1 min 0 s: cannot connect (CONNECT_FAILED)');
  });

  test('no daemon, an old configuration, notices', () => {
    const daemon = { isRunning: false, reason: 'no daemon answers on /run/x' };
    const offline = textOf(seen([jobStatus()], { daemon, pid: null, beganMs: null, notices: ['line 3 is torn'] }));
    expect(offline).toContain('no daemon answers: what follows is what the history remembers');
    expect(offline).toContain('start it: systemctl start snapferry');
    expect(offline).toContain('web1  pull zfs  not running');
    expect(offline).toContain('note: line 3 is torn');
    expect(offline).toMatch(/1 job, none of which runs: no daemon answers$/);
    const configuration = { file: '/etc/s.yml', loadedMs: beganMs, reloadError: 's.yml:3: unknown key\n more' };
    const reloaded = textOf(seen([jobStatus()], { configuration }));
    expect(reloaded).toContain(
      'an older configuration is at work: the last reload was refused: s.yml:3: unknown key\n',
    );
    expect(reloaded).toContain('snapferry configcheck');
  });

  test('nothing a peer says can move the cursor', () => {
    const evil = '\u001b[2J\u202eevil\n\r';
    const job = jobStatus({
      datasets: [{ ...atWork, dataset: evil, target: evil, identity: evil }],
      sessions: [{ session: 's', identity: evil, address: evil, sinceMs: 0, request: evil, bytes: 1 }],
      problems: [problem({ dataset: evil, message: evil, identity: evil, advice: evil, code: evil })],
    });
    const lines = renderStatus(seen([job], { notices: [evil] }), { isDetailed: true });
    for (const line of lines) expect(paintLine(line, plain)).not.toMatch(/[\u0000-\u001f\u202e]/);
  });

  test('one job of several; none of that name', () => {
    const status = seen([jobStatus(), jobStatus({ name: 'web2' })]);
    expect(statusOfJob(status, 'web2').jobs.map(({ name }) => name)).toEqual(['web2']);
    expect(statusOfJob(status, null)).toBe(status);
    expect(() => statusOfJob(status, 'web3')).toThrow('has no job web3; it has: web1, web2');
  });
});

describe('a line', () => {
  const line: StatusLine = [['name', 'bold'], '  and ', ['trouble', 'bad']];

  test('is cut where the terminal ends, and never in the middle of a character', () => {
    expect(paintLine(line, plain)).toBe('name  and trouble');
    expect(paintLine(line, plain, 17)).toBe('name  and trouble');
    expect(paintLine(line, plain, 12)).toBe('name  and t…');
    expect(paintLine(line, plain, 4)).toBe('name');
    expect(paintLine(['😀😀😀'], plain, 2)).toBe('😀…');
  });

  test('has its colours, however it is cut', () => {
    const painted = paintLine(line, pc.createColors(true), 12);
    expect(painted.replaceAll(/\u001b\[\d+m/g, '')).toBe('name  and t…');
    expect(painted).toContain('\u001b[31mt…\u001b[39m');
  });
});

describe('the screen', () => {
  function screen(rows: number) {
    const written: string[] = [];
    const output = { columns: 60, rows, write: (text: string) => written.push(text) };
    return { written, screen: new StatusScreen(output, plain) };
  }

  test('shows every row, and gives the terminal back', () => {
    const { written, screen: shown } = screen(5);
    shown.draw([['one'], ['two']], ['bottom']);
    expect(written[0]).toBe('\u001b[?1049h\u001b[?25l');
    const rows = written[1]!.split('\r\n');
    expect(rows).toHaveLength(5);
    expect(rows[0]).toBe('\u001b[Hone\u001b[K');
    expect(rows[4]).toBe('bottom\u001b[K\u001b[J');
    const before = process.listenerCount('exit');
    shown.close();
    shown.close();
    expect(written.slice(2)).toEqual(['\u001b[?25h\u001b[?1049l']);
    expect(process.listenerCount('exit')).toBe(before - 1);
  });

  test('counts what does not fit', () => {
    const { written, screen: shown } = screen(4);
    shown.draw([['one'], ['two'], ['three'], ['four'], ['five']], ['bottom']);
    const rows = written[1]!.split('\r\n');
    expect(rows).toHaveLength(4);
    expect(rows[1]).toContain('two');
    expect(rows[2]).toContain('… 3 more lines');
    shown.close();
  });
});

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { SeenStatus } from '../../src/cli/status-source.ts';
import { controlCommand, ok } from '../../src/daemon/control/control-command.ts';
import { controlServer } from '../../src/daemon/control/control-server.ts';
import type { ControlServer } from '../../src/daemon/control/control-server.ts';
import { writeHistoryLine } from '../../src/daemon/history-record.ts';
import { daemonStatus, datasetResult, failedRun, jobStatus, problem, runResult } from '../support/daemon-fixture.ts';
import { programVersion } from '../../src/cli/program-version.ts';
import type { ByteStream } from '../../src/transport/byte-stream.ts';
import { missingPrograms } from '../support/platform.ts';
import { builtProgram, runProgram } from '../support/run-program.ts';

let work: string;
let config: string;
let socket: string;
beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), 'snapferry-status-'));
  config = join(work, 'snapferry.yml');
  socket = join(work, 'control');
  await mkdir(join(work, 'state'));
  await writeFile(
    config,
    `global: { state_dir: ${work}/state, control: { sockpath: ${socket} } }
jobs:
  - type: snap
    name: web1
    backend: directory
    filesystems: { "${work}": true }
    stale_after: 1d
    snapshotting: { type: manual }
`,
  );
});
afterAll(() => rm(work, { recursive: true, force: true }));

const version = programVersion();
const status = (...args: string[]) => runProgram(['status', '--config', config, ...args]);
const check = (...args: string[]) => runProgram(['check', '--config', config, ...args]);
const document = ({ stdout }: { stdout: string }) => JSON.parse(stdout) as SeenStatus;
const remember = (...runs: ReturnType<typeof runResult>[]) =>
  writeFile(join(work, 'state/history.ndjson'), runs.map((ended) => writeHistoryLine({ ended })).join(''));

/** A daemon that answers `status` with these, and ends a `follow` after the last of them. */
function daemon(answers: readonly unknown[], as = version): Promise<ControlServer> {
  const command = controlCommand({
    schema: z.strictObject({ follow: z.boolean().default(false) }),
    short: () => '',
    async run({ follow }, { takeOver }) {
      if (!follow) return ok(answers[0]);
      const stream = await takeOver();
      for (const answer of answers) await stream.write(Buffer.from(`${JSON.stringify(answer)}\n`));
      return ok();
    },
  });
  return controlServer({ path: socket, version: as, commands: new Map([['status', command]]) });
}

/** A daemon whose followers are told what the test says. */
async function liveDaemon(first: unknown) {
  let newest = first;
  const streams = new Set<ByteStream>();
  const write = (stream: ByteStream) => stream.write(Buffer.from(`${JSON.stringify(newest)}\n`));
  const command = controlCommand({
    schema: z.strictObject({ follow: z.boolean().default(false) }),
    short: () => '',
    async run({ follow }, { takeOver, signal }) {
      if (!follow) return ok(newest);
      const stream = await takeOver();
      streams.add(stream);
      await write(stream);
      if (!signal.aborted) await once(signal, 'abort');
      return ok();
    },
  });
  const server = await controlServer({ path: socket, version, commands: new Map([['status', command]]) });
  return {
    tell(status: unknown): void {
      newest = status;
      for (const stream of streams) void write(stream).catch(() => undefined);
    },
    [Symbol.asyncDispose]: () => server.close(),
  };
}

describe('without a daemon', () => {
  test('status shows what the history has, and says so', async () => {
    const hourAgo = Date.now() - 3_600_000;
    const snapshot = datasetResult({ dataset: work, target: null, snapshot: 'auto_1' });
    await remember(runResult({ beganMs: hourAgo, endedMs: hourAgo, datasets: [snapshot] }));
    const { code, stdout, stderr } = await status('web1');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('no daemon answers: what follows is what the history remembers');
    expect(stdout).toContain('web1  snap directory  not running  1 dataset, last success 1 h 0 min ago');
    expect(stdout).toContain(`  ${work}  ok  newest auto_1`);
  });

  test('so does --json, for programs', async () => {
    const failed = failedRun('SOURCE_FAILED', 'disk on fire', { endedMs: Date.now() });
    await remember(failed);
    const seen = document(await status('--json'));
    expect(seen).toMatchObject({ pid: null, daemon: { isRunning: false }, notices: [] });
    expect(seen.daemon.reason).toContain('no such socket');
    expect(seen.jobs[0]).toMatchObject({ name: 'web1', lastRun: { outcome: 'failed' } });
    expect(seen.jobs[0]!.problems[0]).toMatchObject({ code: 'SOURCE_FAILED', message: 'disk on fire' });
  });

  test('a torn line and a run without an end are told', async () => {
    const began = { run: 'r9', job: 'web1', cause: 'once' as const, identity: null, beganMs: 0 };
    await writeFile(join(work, 'state/history.ndjson'), `${writeHistoryLine({ began })}{"ended":\n`);
    const { notices } = document(await status('--json'));
    expect(notices).toEqual([
      expect.stringContaining('history.ndjson cannot be read'),
      'a run of web1 began 1970-01-01T00:00:00.000Z and has no end: it was killed, or is going on',
    ]);
  });

  test('check is critical, or goes by the history', async () => {
    await remember(runResult({ endedMs: Date.now() }));
    const critical = await check();
    expect(critical).toMatchObject({ code: 2, stderr: '' });
    expect(critical.stdout).toMatch(/^SNAPFERRY CRITICAL - no daemon runs: no daemon answers on .*\n$/);
    const alone = await check('--no-daemon');
    expect(alone.code).toBe(0);
    expect(alone.stdout).toMatch(/^SNAPFERRY OK - 1 job, its last success \d.\d s ago \| 'web1'=\ds;;86400;0\n$/);
    expect(await check('--no-daemon', '--quiet')).toEqual({ code: 0, stdout: '', stderr: '' });
  });

  test('a job that there is not', async () => {
    const { code, stderr } = await status('web9');
    expect(code).toBe(1);
    expect(stderr).toContain('has no job web9; it has: web1');
    const checked = await check('web9');
    expect(checked).toMatchObject({ code: 2, stderr: '' });
    expect(checked.stdout).toMatch(/^SNAPFERRY CRITICAL - .* has no job web9; it has: web1 \(INVALID_REQUEST\)\n$/);
  });

  test('no configuration: nothing to look at, and check says that, too', async () => {
    const missing = join(work, 'none.yml');
    expect(await runProgram(['status', '--config', missing])).toMatchObject({ code: 2, stdout: '' });
    const { code, stdout } = await runProgram(['check', '--config', missing]);
    expect(code).toBe(2);
    expect(stdout).toMatch(/^SNAPFERRY CRITICAL - .*none\.yml.* \(CONFIGURATION\)\n$/);
  });
});

describe('with a daemon', () => {
  const told = { ...daemonStatus([jobStatus({ problems: [problem()] })]), version };

  test('status shows what it tells', async () => {
    await using running = await daemon([told]);
    expect(running.clients()).toEqual([]);
    const { code, stdout, stderr } = await status();
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain(`snapferry ${version}, process 4711`);
    expect(stdout).toContain('STALE tank/data');
    expect(document(await status('--json'))).toEqual({
      ...told,
      daemon: { isRunning: true, reason: null },
      notices: [],
    });
  });

  test('--json --follow: a document a line, until the daemon ends', async () => {
    await using running = await daemon([told, { ...told, nowMs: told.nowMs + 1 }]);
    expect(running.clients()).toEqual([]);
    const { code, stdout } = await status('--json', '--follow', 'web1');
    const lines = stdout.trimEnd().split('\n').slice(0, 2);
    expect(lines.map((line) => (JSON.parse(line) as SeenStatus).nowMs)).toEqual([told.nowMs, told.nowMs + 1]);
    expect(code).toBe(75);
  });

  test('check: the worst, in one line', async () => {
    await using running = await daemon([told]);
    expect(running.clients()).toEqual([]);
    const { code, stdout } = await check();
    expect(code).toBe(2);
    expect(stdout).toMatch(/^SNAPFERRY CRITICAL - web1: tank\/data: the newest snapshot, .* \(STALE\)\n$/);
    const json = await check('--json');
    expect(JSON.parse(json.stdout)).toMatchObject({ level: 'critical', troubles: [{ job: 'web1' }] });
  });

  test('of another version is told apart', async () => {
    await using running = await daemon([told], '0.0.1');
    expect(running.clients()).toEqual([]);
    const { stdout, code } = await check('--critical-after', '2d');
    expect(code).toBe(2);
    expect(stdout).toContain('and 1 more');
    expect((await status()).stdout).toContain(`note: the daemon has version 0.0.1, this program ${version}`);
  });

  test('that tells what nobody understands is left for the history', async () => {
    await remember(runResult());
    await using running = await daemon([{ jobs: 'many' }]);
    expect(running.clients()).toEqual([]);
    const { code, stdout } = await status();
    expect(code).toBe(0);
    expect(stdout).toContain('tells its status in another way than this program');
  });
});

describe.skipIf(missingPrograms(['script'], 'bsdutils') !== null)('on a terminal', () => {
  const enter = '\u001b[?1049h';
  const leave = '\u001b[?1049l';

  /** A terminal of 100 columns and 20 rows in which status runs. */
  async function terminal() {
    const program = `stty rows 20 cols 100; exec ${process.execPath} ${await builtProgram()} status --config ${config}`;
    const child = spawn('script', ['-qec', program, '/dev/null'], {
      env: { ...process.env, TERM: 'xterm' },
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    let shown = '';
    const listeners = new Set<() => void>();
    child.stdout.setEncoding('utf8').on('data', (piece: string) => {
      shown += piece;
      for (const listener of listeners) listener();
    });
    const ended = once(child, 'close').then(([code]) => ({ code: code as number, shown }));
    const shows = (text: string): Promise<void> =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (shown.includes(text)) resolve();
        };
        listeners.add(look);
        look();
        void ended.then(() => reject(new Error(`it ended without showing ${text}: ${shown}`)));
      });
    return { shows, ended, press: (key: string) => child.stdin.write(key) };
  }

  test.each([
    ['q', 'q'],
    ['Ctrl-C', '\u0003'],
  ])('it is live until %s, and gives the terminal back', async (_name, key) => {
    const told = { ...daemonStatus([jobStatus({ problems: [problem()] })]), version };
    await using running = await liveDaemon(told);
    const shown = await terminal();
    await shown.shows('1 of 1 job in trouble');
    running.tell({ ...told, jobs: [jobStatus({ name: 'web7' })] });
    await shown.shows('1 job, all is well');
    shown.press(key);
    const { code, shown: all } = await shown.ended;
    expect(code).toBe(0);
    expect(all.startsWith(enter)).toBe(true);
    expect(all.trimEnd().endsWith(leave)).toBe(true);
    expect(all).toContain('web7');
  });

  test('a daemon that goes is waited for', async () => {
    await remember(runResult({ endedMs: Date.now() }));
    const running = await liveDaemon({ ...daemonStatus([jobStatus()]), version });
    const shown = await terminal();
    await shown.shows('all is well');
    await running[Symbol.asyncDispose]();
    await shown.shows('waiting for the daemon');
    await using again = await liveDaemon({ ...daemonStatus([jobStatus({ name: 'web8' })]), version });
    await shown.shows('web8');
    again.tell({ ...daemonStatus([jobStatus({ name: 'web9' })]), version });
    await shown.shows('web9');
    shown.press('q');
    expect(await shown.ended).toMatchObject({ code: 0 });
  });
});

describe('options', () => {
  test('that make no sense are refused', async () => {
    expect(await status('--once', '--follow')).toMatchObject({ code: 2 });
    const { code, stderr } = await status('--follow');
    expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringContaining('needs a terminal') as string });
    expect(await check('--critical-after', 'soon')).toMatchObject({ code: 2 });
  });
});

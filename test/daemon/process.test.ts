import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readHistory } from '../../src/daemon/read-history.ts';
import { runProgram, startProgram } from '../support/run-program.ts';
import type { StartedProgram } from '../support/run-program.ts';

let work: string;
let config: string;
let daemon: StartedProgram | null = null;

beforeEach(() => {
  work = mkdtempSync(join(tmpdir(), 'snapferry-process-'));
  config = join(work, 'snapferry.yml');
  mkdirSync(join(work, 'data'));
  writeFileSync(join(work, 'data', 'file'), 'content\n');
  configure(job('copy'));
});
afterEach(async () => {
  daemon?.kill('SIGKILL');
  await daemon?.ended;
  daemon = null;
  rmSync(work, { recursive: true, force: true });
});

function configure(jobs: string, logging = '{ type: stderr, format: json }'): void {
  const run = join(work, 'run');
  writeFileSync(
    config,
    `
global:
  state_dir: ${join(work, 'state')}
  control: { sockpath: ${run}/control }
  serve: { stdinserver: { sockdir: ${run}/stdinserver } }
  logging: [${logging}]
jobs:${jobs}`,
  );
}

function job(name: string, hook = ''): string {
  return `
  - name: ${name}
    type: local
    backend: directory
    filesystems: { ${join(work, 'data')}: true }
    root_fs: ${join(work, name)}
    interval: manual
    snapshotting: { type: periodic, interval: 1d, prefix: ${name}_${hook} }
    pruning:
      keep_sender: [{ type: last_n, count: 4 }]
      keep_receiver: [{ type: last_n, count: 4 }]
`;
}

/** A hook that says when it has begun, and then takes its time. */
function slowHook(): string {
  const path = join(work, 'hook');
  writeFileSync(path, `#!/bin/sh\ntouch ${work}/began\nexec sleep 600\n`, { mode: 0o755 });
  return `, hooks: [{ type: command, path: ${path}, timeout: 1h, err_is_fatal: true, filesystems: { '${join(work, 'data')}': true } }]`;
}

async function start(env: Record<string, string> = {}): Promise<StartedProgram> {
  daemon = await startProgram(['daemon', '--config', config], { env });
  await daemon.saidOnStderr(' runs ');
  return daemon;
}

async function snapferry(...args: string[]) {
  return runProgram([...args, '--config', config]);
}

async function until(what: string, look: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    if (await look()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`still waiting: ${what}`);
}

const lastRun = async (name = 'copy') => (await readHistory(join(work, 'state'))).fold.jobs.get(name)?.lastRun ?? null;

describe('the daemon as a process', () => {
  test('runs, is told things, and leaves with 0', async () => {
    const own = await start();
    await until('the first run', async () => (await lastRun())?.outcome === 'ok');
    const woken = await snapferry('signal', 'copy', 'wakeup');
    expect(woken.stdout, woken.stderr).toBe('copy: a run has begun\n');
    await until('the second run', async () => (await lastRun())?.cause === 'wakeup');
    const cancelled = await snapferry('signal', 'copy', 'cancel', '--json');
    expect(JSON.parse(cancelled.stdout)).toEqual({ job: 'copy', signal: 'cancel', result: 'idle' });
    expect(await snapferry('signal', 'other', 'wakeup')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('there is no job "other"; there are: copy') as string,
    });
    const second = await runProgram(['daemon', '--config', config]);
    expect(second).toMatchObject({ code: 75, stdout: '' });
    expect(second.stderr).toContain(`in use by process ${own.pid}`);
    own.kill('SIGTERM');
    const { code, stdout, stderr } = await own.ended;
    expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: '' });
    for (const line of stderr.trim().split('\n')) expect(() => JSON.parse(line) as unknown, line).not.toThrow();
  });

  test('takes another configuration at a signal or when told to, and keeps the old one when it is bad', async () => {
    const own = await start();
    configure(`${job('copy')}${job('other')}`, '{ type: stderr, format: human }');
    expect(await snapferry('reload')).toMatchObject({ code: 0, stdout: 'added: other\nunchanged: copy\n' });
    await until('the new job to run', async () => (await lastRun('other'))?.outcome === 'ok');
    configure(job('copy').replace('root_fs', 'rootfs'));
    const refused = await snapferry('reload');
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain('rootfs');
    expect(refused.stderr).toContain('the daemon goes on with the configuration it has');
    own.kill('SIGHUP');
    await until('the refusal in the log', async () => (await snapferry('signal', 'other', 'wakeup')).code === 0);
    configure(job('copy'));
    own.kill('SIGHUP');
    await own.saidOnStderr('was reloaded');
    await until('the job to be gone', async () => (await snapferry('signal', 'other', 'wakeup')).code === 1);
    own.kill('SIGINT');
    const { code, stderr } = await own.ended;
    expect(code, stderr).toBe(0);
    expect(stderr).toContain('the old one is still at work');
  });

  test('waits for a run at the first signal and cancels it at the second', async () => {
    configure(job('copy', slowHook()));
    const own = await start();
    await until('the hook to run', () => readable(join(work, 'began')));
    own.kill('SIGTERM');
    await own.saidOnStderr('stopping');
    expect((await lastRun())?.outcome).toBeUndefined();
    own.kill('SIGTERM');
    const { code, stderr } = await own.ended;
    expect(code, stderr).toBe(0);
    expect(await lastRun()).toMatchObject({ outcome: 'cancelled' });
  });

  test('that is not there is said, and how to start it', async () => {
    const { code, stderr } = await snapferry('signal', 'copy', 'wakeup');
    expect(code).toBe(1);
    expect(stderr).toContain(`no daemon answers on ${join(work, 'run', 'control')}`);
    expect(stderr).toContain(`snapferry daemon --config ${config}`);
  });

  test('without its control socket does not begin anything', async () => {
    mkdirSync(join(work, 'run'), { mode: 0o700 });
    writeFileSync(join(work, 'run', 'control'), 'in the way');
    const { code, stdout, stderr } = await runProgram(['daemon', '--config', config]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toContain(`${join(work, 'run', 'control')} is in the way`);
    expect(await lastRun()).toBeNull();
    expect((await readHistory(join(work, 'state'))).fold.begun.size).toBe(0);
  });

  test('is not started with a configuration that has mistakes', async () => {
    configure(job('copy').replace('root_fs', 'rootfs'));
    const { code, stdout, stderr } = await runProgram(['daemon', '--config', config]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain('rootfs');
  });
});

function readable(path: string): boolean {
  try {
    readFileSync(path);
    return true;
  } catch {
    return false;
  }
}

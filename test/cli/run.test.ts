import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { DaemonStatus } from '../../src/daemon/daemon-status.ts';
import { removeTree } from '../../src/handlers/directory/tree.ts';
import { JobLock } from '../../src/jobs/job-lock.ts';
import type { RunResult } from '../../src/jobs/run-result.ts';
import { JobFixture } from '../jobs/job-fixture.ts';
import { builtProgram, runProgram, startProgram } from '../support/run-program.ts';

let root: string;
let config: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'snapferry-run-'));
  config = join(root, 'snapferry.yml');
  for (const name of ['one', 'two']) {
    mkdirSync(join(root, name));
    writeFileSync(join(root, name, 'file'), `content of ${name}`);
  }
  writeFileSync(config, configuration.replaceAll('ROOT', root));
});
afterEach(() => removeTree(root));

const configuration = `
global: { state_dir: ROOT/state, control: { sockpath: ROOT/control/socket } }
jobs:
  - name: home
    type: local
    backend: directory
    filesystems: { ROOT/one: true, ROOT/two: true }
    root_fs: ROOT/disk
    snapshotting: { type: periodic, prefix: p_, interval: 1h }
    interval: manual
    pruning: { keep_sender: [{ type: last_n, count: 2 }], keep_receiver: [{ type: last_n, count: 3 }] }
  - name: vault
    type: sink
    backend: directory
    serve: { type: local, listener_name: vault }
    root_fs: ROOT/vault
    pruning: { keep: [{ type: last_n, count: 1 }] }
  - name: send
    type: push
    backend: directory
    connect: { type: local, listener_name: vault, client_identity: web1 }
    filesystems: { ROOT/one: true }
    snapshotting: { type: periodic, prefix: s_, interval: 1h }
    pruning: { keep_sender: [{ type: regex, regex: '.*' }] }
`;

const run = (...args: string[]) => runProgram(args);
const stored = (place: string): string[] => readdirSync(join(root, place, root, 'one/snapshots'));

describe('snapferry run', () => {
  test('runs a job once', async () => {
    const { code, stdout, stderr } = await run('run', '--config', config, 'home');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^home: took 2 snapshots; transferred 2 snapshots, .* in [\d.]+ s\n$/);
    expect(stderr).toMatch(/took snapshot .*\/one@p_/);
    expect(stderr).toMatch(/transferring .*\/one@p_\d+_\d+_\d+ \(all of it, about/);
    expect(stored('disk')).toHaveLength(1);
  });

  test('is in the history, and so in status and check', async () => {
    await run('run', '-c', config, 'home');
    const { code, stdout } = await run('status', '--once', '--json', '-c', config);
    expect(code).toBe(0);
    const { jobs } = JSON.parse(stdout) as DaemonStatus;
    const home = jobs.find(({ name }) => name === 'home');
    expect(home?.lastRun).toMatchObject({ cause: 'once', outcome: 'ok' });
    expect(home?.lastSuccessMs).toBe(home?.lastRun?.endedMs);
    expect(home?.datasets).toHaveLength(2);
  });

  test('tells its result as JSON', async () => {
    const { code, stdout } = await run('run', '--json', '-c', config, 'home');
    const document = JSON.parse(stdout) as RunResult & { ok: boolean; command: string; dryRun: boolean };
    expect(code).toBe(0);
    expect(document).toMatchObject({
      command: 'run',
      ok: true,
      dryRun: false,
      job: 'home',
      cause: 'once',
      outcome: 'ok',
    });
    expect(document.datasets.map(({ dataset, error }) => [dataset, error])).toEqual([
      [join(root, 'one'), null],
      [join(root, 'two'), null],
    ]);
  });

  test('changes nothing in a dry run', async () => {
    const { code, stdout, stderr } = await run('run', '--dry-run', '-c', config, 'home');
    expect([code, stdout]).toEqual([0, 'home: a dry run; nothing was changed\n']);
    expect(stderr).toMatch(/would be taken/);
    expect(existsSync(join(root, 'disk'))).toBe(false);
    expect(existsSync(join(root, 'state'))).toBe(false);
    expect(existsSync(join(root, 'one/.snapferry'))).toBe(false);
  });

  test('reaches another job of the configuration without the daemon', async () => {
    const { code, stderr } = await run('run', '-c', config, 'send');
    expect([code, stderr]).toEqual([0, stderr]);
    expect(readdirSync(join(root, 'vault/web1', root, 'one/snapshots'))).toHaveLength(1);
  });

  test('says what failed, and that the rest was done', async () => {
    rmSync(join(root, 'two'), { recursive: true });
    const { code, stdout, stderr } = await run('run', '-c', config, 'home');
    expect(code).toBe(3);
    expect(stdout).toContain('1 of 2 datasets failed');
    expect(stderr).toMatch(/snapferry: run home: .*two.*\(DATASET_NOT_FOUND\)/);
  });

  test('that another process has is to be tried later', async () => {
    const release = await new JobLock(join(root, 'state'), 'home').acquire(() => Promise.resolve());
    const { code, stderr } = await run('run', '-c', config, 'home');
    expect(code).toBe(75);
    expect(stderr).toContain(`process ${process.pid}`);
    const waiting = run('run', '--wait', '-c', config, 'home');
    await release();
    expect((await waiting).code).toBe(0);
  });

  test('that is killed leaves no lock, and the next one goes on', async () => {
    for (let index = 0; index < 20; index++) writeFileSync(join(root, `one/large${index}`), randomBytes(1_000_000));
    const killed = await startProgram(['run', '-c', config, 'home']);
    await killed.saidOnStderr('transferring');
    killed.kill('SIGKILL');
    expect((await killed.ended).code).toBeNull();
    const { code, stderr } = await run('run', '-c', config, 'home');
    expect(code, stderr).toBe(0);
  });

  test('that is interrupted says so, and the next one goes on', async () => {
    for (let index = 0; index < 20; index++) writeFileSync(join(root, `one/large${index}`), randomBytes(1_000_000));
    const stopped = await startProgram(['run', '-c', config, 'home']);
    await stopped.saidOnStderr('transferring');
    stopped.kill('SIGINT');
    const { code, stderr } = await stopped.ended;
    expect([code, stderr]).toEqual([130, expect.stringContaining('the next run goes on from there')]);
    expect((await run('run', '-c', config, 'home')).code).toBe(0);
  });

  test('of a job that is not there, or of no configuration, is a wrong command', async () => {
    expect(await run('run', '-c', config, 'hone')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('did you mean "home"?') as string,
    });
    expect((await run('run', '-c', join(root, 'none.yml'), 'home')).code).toBe(2);
  });
});

describe('snapferry test', () => {
  test('filesystems: which are meant, and why', async () => {
    const { code, stdout } = await run('test', 'filesystems', '-c', config, 'home');
    expect(code).toBe(0);
    expect(stdout).toContain(`+ ${join(root, 'one')}  by "${join(root, 'one').slice(1)}"`);
    expect(stdout).toMatch(/\n2 datasets of 2\n$/);
    expect((await run('test', 'filesystems', '-c', config, 'vault')).code).toBe(1);
  });

  test('retention: what would be destroyed, and by which rule', async () => {
    for (let round = 0; round < 3; round++) await run('run', '-c', config, 'send');
    const { code, stdout } = await run(
      'test',
      'retention',
      '--side',
      'sender',
      '--dataset',
      join(root, 'one'),
      '-c',
      config,
      'home',
    );
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /one: 3 to be kept, 1 to be destroyed\n- destroy {2}@s_.* rule 1, last_n: not among the newest 2/,
    );
    const both = await run('test', 'retention', '-c', config, 'home');
    expect(both).toMatchObject({ code: 2, stderr: expect.stringContaining('say which') as string });
  });

  test('retention: of a list of names and dates', async () => {
    const list = join(root, 'list');
    writeFileSync(list, 'a 2026-01-01\nb 2026-01-02\nc 2026-01-03\n');
    const args = ['test', 'retention', '--side', 'sender', '--versions', list, '-c', config, 'home'];
    const { code, stdout } = await run(...args, '--json');
    expect(code).toBe(0);
    const { datasets } = JSON.parse(stdout) as { datasets: { versions: { name: string; verdict: string }[] }[] };
    expect(datasets[0]!.versions.map(({ name, verdict }) => `${name} ${verdict}`)).toEqual([
      'a destroy',
      'b keep',
      'c keep',
    ]);
  });
});

describe('snapferry stdinserver', () => {
  test('brings a client to the job that serves it', async () => {
    const fixture = new JobFixture(
      `
  - name: web1
    type: source
    backend: directory
    serve: { type: stdinserver, client_identities: [vault] }
    filesystems: { ROOT/one: true }
    snapshotting: { type: periodic, prefix: p_, interval: 1h }
    pruning: { keep: [{ type: regex, regex: ".*" }] }
  - name: fetch
    type: pull
    backend: directory
    connect: { type: command, command: ['${process.execPath}', PROGRAM, stdinserver, --sockdir, ROOT/sockets, vault] }
    root_fs: ROOT/copies
    interval: 1h
    pruning: { keep_receiver: [{ type: regex, regex: ".*" }] }
`.replace('PROGRAM', await builtProgram()),
    );
    try {
      fixture.write('one/file', 'x');
      await fixture.run('web1');
      await fixture.serve('web1');
      expect(await fixture.run('fetch')).toMatchObject({ outcome: 'ok', datasets: [{ steps: 1 }] });
      expect(fixture.eventsOf('sessionBegan')).toMatchObject([{ identity: 'vault' }]);
    } finally {
      await fixture.cleanup();
    }
  });
});

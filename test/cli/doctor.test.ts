import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Examination } from '../../src/cli/doctor/examine.ts';
import type { Finding } from '../../src/cli/doctor/finding.ts';
import { splitWords } from '../../src/cli/split-words.ts';
import { writeHistoryLine } from '../../src/daemon/history-record.ts';
import { acquireLock } from '../../src/handlers/lock.ts';
import { removeTree } from '../../src/handlers/directory/tree.ts';
import { datasetResult, runResult } from '../support/daemon-fixture.ts';
import { runProgram } from '../support/run-program.ts';
import type { ProgramResult } from '../support/run-program.ts';
import type { TransferBytes } from '../../src/sink.ts';
import { DirectoryFixture } from '../support/directory-fixture.ts';
import { zfsMachine } from '../support/zfs-machine.ts';
import type { ZfsMachine } from '../support/zfs-machine.ts';

/** What was found about the jobs, without what is so of every machine in a test: no daemon runs. */
function findingsOf({ stdout }: ProgramResult): Finding[] {
  const { examinations } = JSON.parse(stdout) as { readonly examinations: Examination[] };
  return examinations.filter(({ name }) => name !== 'this machine').flatMap(({ findings }) => findings);
}

function ofCheck(result: ProgramResult, check: string): Finding[] {
  return findingsOf(result).filter((finding) => finding.check === check);
}

function commandFor(finding: Finding | undefined, what: string): string {
  const command = finding?.cures.find((cure) => cure.what.includes(what))?.command;
  if (command === null || command === undefined) throw new Error(`no cure "${what}" in ${JSON.stringify(finding)}`);
  return command;
}

describe('directories', () => {
  let work: string;
  let config: string;
  const run = (...args: string[]) => runProgram(args, { cwd: work });
  const doctor = (...args: string[]) => run('doctor', '--config', config, '--json', ...args);
  const replicate = () => run('run', '--config', config, 'home');
  /** Does what the doctor says, word for word. */
  const shell = (command: string) => promisify(execFile)('sh', ['-c', command], { cwd: work });
  const copy = () => join(work, 'disk', work, 'home');

  beforeEach(async () => {
    work = await mkdtemp(join(tmpdir(), 'snapferry-doctor-'));
    config = join(work, 'snapferry.yml');
    await mkdir(join(work, 'home'));
    await writeFile(join(work, 'home/file'), 'one');
    await writeFile(
      config,
      `global: { state_dir: ${work}/state, control: { sockpath: ${work}/control } }
jobs:
  - name: home
    type: local
    backend: directory
    filesystems: { "${work}/home": true }
    root_fs: ${work}/disk
    snapshotting: { type: manual }
    interval: manual
  - name: away
    type: pull
    backend: directory
    connect: { type: unix, path: ${work}/nobody }
    root_fs: ${work}/disk2
    interval: 1h
    replication: { retry: { attempts: 1 } }
`,
    );
    await run('snapshot', './home');
  });
  afterEach(() => removeTree(work));

  test('nothing is wrong with a job that works, and nothing was changed by looking', async () => {
    expect(await replicate()).toMatchObject({ code: 0 });
    const before = (await readdir(work, { recursive: true })).sort();
    const result = await doctor('home');
    expect(findingsOf(result)).toEqual([]);
    expect((await readdir(work, { recursive: true })).sort()).toEqual(before);
    const shown = await run('doctor', '--config', config, 'home');
    expect(shown.stdout).toContain('home  local directory  nothing is wrong');
    expect(shown.stdout).toContain('no daemon runs: no daemon answers on');
    expect(shown).toMatchObject({ code: 1, stderr: '' });
  });

  test('a copy that has gone its own way: kept aside, and begun anew', async () => {
    await replicate();
    // A source that was set up anew has nothing in common with its copy.
    await removeTree(join(work, 'home/.snapferry'));
    await writeFile(join(work, 'home/file'), 'two');
    await run('snapshot', './home');
    expect(await replicate()).toMatchObject({ code: 1 });
    const [finding] = ofCheck(await doctor('home'), 'divergence');
    expect(finding).toMatchObject({ severity: 'problem', subject: join(work, 'home') });
    await shell(commandFor(finding, 'keep the copy'));
    expect(await replicate()).toMatchObject({ code: 0 });
    expect(findingsOf(await doctor('home'))).toEqual([]);
    // What was there is still there.
    const aside = (await readdir(join(copy(), '..'))).find((name) => name.startsWith('home-before-'))!;
    expect((await run('list', join(copy(), '..', aside))).stdout).toContain('snapferry_');
  });

  test('nobody at the other end', async () => {
    const [finding] = ofCheck(await doctor('away'), 'peer');
    expect(finding!.message).toContain('cannot be reached now');
    expect(commandFor(finding, 'who listens')).toBe(`ss -lxp src ${work}/nobody`);
    expect(ofCheck(await doctor('away', '--no-rehearsal'), 'peer')).toEqual([]);
  });

  test('a store that is damaged', async () => {
    await replicate();
    const manifests = join(copy(), 'manifests');
    const header = (await readdir(manifests)).find((name) => name.endsWith('.json'))!;
    await chmod(join(manifests, header), 0o600);
    await writeFile(join(manifests, header), '{"format":');
    for (const subject of ['home', copy()]) {
      const [finding] = ofCheck(await doctor(subject), 'store');
      expect(finding).toMatchObject({ severity: 'problem', subject: copy() });
      expect(finding!.message).toContain('it is damaged');
      expect(commandFor(finding, 'whole')).toBe(`snapferry verify ${copy()}`);
    }
  });

  test('a disk that is not mounted', async () => {
    await replicate();
    const ended = runResult({ job: 'home', endedMs: Date.now() });
    await mkdir(join(work, 'state'), { recursive: true });
    await writeFile(join(work, 'state/history.ndjson'), writeHistoryLine({ ended }));
    await rename(join(work, 'disk'), join(work, 'elsewhere'));
    const [finding] = ofCheck(await doctor('home'), 'store');
    expect(finding!.message).toContain('is its disk mounted?');
    await rename(join(work, 'elsewhere'), join(work, 'disk'));
    expect(ofCheck(await doctor('home'), 'store')).toEqual([]);
  });

  test('an interrupted receive will be continued, or is forgotten', async () => {
    const fixture = new DirectoryFixture();
    try {
      await writeFile(join(fixture.source, 'file'), 'one');
      const one = await fixture.snapshot();
      await fixture.transfer(null, one);
      for (let index = 0; index < 40; index++) {
        await writeFile(join(fixture.source, `file${index}`), Buffer.alloc(20_000, `content ${index} `));
      }
      const two = await fixture.snapshot();
      const stream = await fixture.stream(one, two);
      async function* cutHalfWay(): TransferBytes {
        yield await Promise.resolve(stream.subarray(0, stream.length / 2));
        throw new Error('cut');
      }
      await expect(fixture.receive(one, two, cutHalfWay())).rejects.toThrow('cut');
      const look = async () => ofCheck(await doctor(fixture.copy), 'token');
      expect(await look()).toMatchObject([{ severity: 'notice', subject: fixture.copy }]);
      await removeTree(join(fixture.copy, 'snapshots', one.name));
      // What cannot be continued is none of its state any more: nothing is stuck.
      expect(await look()).toEqual([]);
    } finally {
      await fixture.cleanup();
    }
  });

  test.skipIf(process.geteuid?.() !== 0)('a directory that may not be read or written', async () => {
    await replicate();
    await chmod(work, 0o755);
    await chmod(join(work, 'home'), 0o700);
    const looked = await runProgram(['doctor', '--config', config, '--json', '--no-rehearsal', 'home'], {
      cwd: work,
      uid: 65534,
    });
    const findings = ofCheck(looked, 'permission');
    expect(findings.map(({ subject }) => subject).sort()).toEqual([join(work, 'disk'), join(work, 'home')]);
    const target = findings.find(({ subject }) => subject === join(work, 'disk'));
    expect(commandFor(target, 'allow')).toMatch(/^chown \S+ \/.*\/disk$/);
  });

  test('a lock held by another process, or by what one has left behind', async () => {
    const file = join(work, 'state/locks/home.lock');
    await mkdir(join(work, 'state/locks'), { recursive: true });
    const lock = await acquireLock(file, { what: 'the job' });
    const [held] = ofCheck(await doctor('home'), 'lock');
    expect(held).toMatchObject({ severity: 'notice', subject: file });
    expect(held!.message).toContain(`process ${process.pid} holds it since`);
    await lock.release();
    expect(ofCheck(await doctor('home'), 'lock')).toEqual([]);

    const orphan = spawn('flock', [file, 'cat'], { stdio: ['pipe', 'pipe', 'ignore'] });
    orphan.stdin.write('x');
    await once(orphan.stdout, 'data');
    await writeFile(file, '{"pid":2147483646,"since":"2026-01-01T00:00:00Z"}\n');
    const [left] = ofCheck(await doctor('home'), 'lock');
    expect(left).toMatchObject({ severity: 'problem', subject: file });
    expect(left!.message).toContain('says it is of process 2147483646, which is gone');
    expect(commandFor(left, 'end it')).toBe(`kill ${orphan.pid}`);
    await shell(commandFor(left, 'end it'));
    if (orphan.exitCode === null && orphan.signalCode === null) await once(orphan, 'exit');
    orphan.stdin.end();
  });

  test('what is no job and no place is told', async () => {
    const unknown = await run('doctor', '--config', config, 'hoem');
    expect(unknown).toMatchObject({ code: 2 });
    expect(unknown.stderr).toContain('there is no job "hoem"; there are: home, away');
    expect(await run('doctor', '--config', config, 'web1:/srv')).toMatchObject({ code: 2 });
    await writeFile(config, 'jobs: [');
    const broken = await run('doctor', '--config', config);
    expect(broken.code).toBe(1);
    expect(broken.stdout).toContain(`snapferry configcheck --config ${config}`);
  });
});

describe('ZFS', () => {
  let machine: ZfsMachine;
  let config: string;
  const doctor = (...args: string[]) => machine.run('doctor', '--config', config, '--json', '--no-rehearsal', ...args);
  const pool = () => machine.fake.pool;

  /** Does what the doctor says, word for word. */
  async function obey(command: string): Promise<void> {
    const words = splitWords(command, 'a cure');
    if (words[0] === 'snapferry') expect(await machine.run(...words.slice(1))).toMatchObject({ code: 0 });
    else await promisify(execFile)('sh', ['-c', command], { env: { ...machine.env } });
  }

  beforeEach(async () => {
    machine = await zfsMachine(['tank/home', 'backup/tank', 'backup/tank/home']);
    config = join(machine.work, 'snapferry.yml');
    await writeFile(
      config,
      `global: { state_dir: ${machine.work}/state, control: { sockpath: ${machine.work}/control } }
jobs:
  - name: home
    type: local
    backend: zfs
    filesystems: { "tank/home<": true }
    root_fs: backup
    snapshotting: { type: manual }
    interval: manual
`,
    );
    pool().snapshot('tank/home', 'one', Buffer.from('one'));
    pool().snapshot('backup/tank/home', 'one', Buffer.from('one'));
    const datasets = [datasetResult({ dataset: 'tank/home', target: 'backup/tank/home' })];
    await mkdir(join(machine.work, 'state'));
    const ended = runResult({ job: 'home', endedMs: Date.now(), datasets });
    await writeFile(join(machine.work, 'state/history.ndjson'), writeHistoryLine({ ended }));
  });
  afterEach(() => machine.close());

  test('nothing is wrong', async () => {
    expect(findingsOf(await doctor('home'))).toEqual([]);
    expect(findingsOf(await doctor('zfs:backup'))).toEqual([]);
  });

  test('a hold of a job that is no more is leaked', async () => {
    const { holds } = pool().get('tank/home').snapshots[0]!;
    holds.add('snapferry_STEP_I__J_old').add('somebody-elses');
    const findings = ofCheck(await doctor('home'), 'hold');
    expect(findings).toMatchObject([{ severity: 'problem', subject: 'tank/home' }]);
    expect(findings[0]!.message).toContain('tank/home@one is kept for the job old, which is not in the configuration');
    await obey(commandFor(findings[0], 'release'));
    expect([...holds]).toEqual(['somebody-elses']);
    expect(ofCheck(await doctor('home'), 'hold')).toEqual([]);
  });

  test('a hold that an idle job left behind is leaked; its cursors are needed', async () => {
    const { holds } = pool().get('tank/home').snapshots[0]!;
    holds.add('snapferry_STEP_I__J_home');
    const [finding] = ofCheck(await doctor('home'), 'hold');
    expect(finding!.message).toContain('whose last run went well');
    expect(commandFor(finding, 'release')).toBe('zfs release snapferry_STEP_I__J_home tank/home@one');
    await obey(commandFor(finding, 'release'));
    expect(holds.size).toBe(0);
    expect(ofCheck(await doctor('home'), 'hold')).toEqual([]);
  });

  test('of clients only what is very old is spoken of', async () => {
    const snapshot = pool().get('tank/home').snapshots[0]!;
    snapshot.holds.add('snapferry_STEP_I_vault_J_pull');
    const young = ofCheck(await doctor('home'), 'hold');
    const isOld = Date.now() - snapshot.creation * 1000 > 30 * 24 * 3_600_000;
    expect(young).toHaveLength(isOld ? 1 : 0);
    Object.assign(snapshot, { creation: snapshot.creation - 90 * 24 * 3600 });
    const [finding] = ofCheck(await doctor('home'), 'hold');
    expect(finding).toMatchObject({ severity: 'notice' });
    expect(finding!.message).toContain('the client vault (job pull)');
  });

  test('a receive that was interrupted: to be continued, or stale', async () => {
    const target = pool().get('backup/tank/home');
    const base = target.snapshots[0]!;
    const partial = {
      toGuid: 99n,
      fromGuid: base.guid,
      toName: 'tank/home@two',
      creation: base.creation + 60,
      isRaw: false,
      content: Buffer.from('half'),
    };
    target.partial = partial;
    const [notice] = ofCheck(await doctor('home'), 'token');
    expect(notice).toMatchObject({ severity: 'notice', subject: 'backup/tank/home' });
    target.partial = { ...partial, fromGuid: 12345n };
    const [stale] = ofCheck(await doctor('home'), 'token');
    expect(stale).toMatchObject({ severity: 'problem' });
    expect(stale!.message).toContain('the snapshot it builds on is gone from the copy');
    target.partial = { ...partial, toGuid: base.guid, fromGuid: 0n };
    const [arrived] = ofCheck(await doctor('zfs:backup'), 'token');
    expect(arrived!.message).toContain('what it was to bring is here already, as one');
    await obey(commandFor(arrived, 'throw away'));
    expect(target.partial).toBeNull();
    expect(ofCheck(await doctor('home'), 'token')).toEqual([]);
  });

  test('a dataset that is not there, or a pool that is not imported', async () => {
    pool().datasets.delete('tank/home');
    const [missing] = ofCheck(await doctor('home'), 'store');
    expect(missing).toMatchObject({ subject: 'tank/home', message: 'there is no such dataset' });
    for (const name of ['backup', 'backup/tank', 'backup/tank/home']) pool().datasets.delete(name);
    const findings = ofCheck(await doctor('home'), 'store');
    const unimported = findings.find(({ subject }) => subject === 'backup');
    expect(commandFor(unimported, 'import')).toBe('zpool import backup');
  });

  test('without a zfs to ask, it says so', async () => {
    await rm(machine.fake.program);
    const result = await runProgram(['doctor', '--config', config, '--json', '--no-rehearsal', 'home'], {
      env: { PATH: machine.work },
    });
    const findings = findingsOf(result);
    expect(findings.length).toBeGreaterThan(0);
    for (const { message } of findings) expect(message).toContain('zfs');
    expect((await stat(machine.work)).isDirectory()).toBe(true);
  });
});

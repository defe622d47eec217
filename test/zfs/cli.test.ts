import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { gatedSSH } from '../support/gated-ssh.ts';
import type { GatedSSH } from '../support/gated-ssh.ts';
import { builtProgram, runProgram } from '../support/run-program.ts';
import type { ProgramResult, RunProgramOptions } from '../support/run-program.ts';
import { sshdMissing, startSshd } from '../support/sshd.ts';
import type { Sshd } from '../support/sshd.ts';
import { describeZfs, isThere, run, shell, snapshotsOf, TestPool, valueOf } from './pools.ts';
import { snapshotContent } from './snapshot-content.ts';

const megabyte = 1024 * 1024;

/** Runs the program; an emulated machine may take longer to start it at the other end than it is waited for: then again. */
async function patiently(args: readonly string[], options: RunProgramOptions = {}): Promise<ProgramResult> {
  for (let attempt = 1; ; attempt++) {
    const result = await runProgram(args, options);
    if (attempt === 5 || !result.stderr.includes('no hello within')) return result;
  }
}

describeZfs('the program', () => {
  let source: TestPool;
  let target: TestPool;
  let program: string;
  let work: string;
  beforeAll(async () => {
    source = new TestPool('source');
    target = new TestPool('target');
    program = await builtProgram();
    work = mkdtempSync(join(tmpdir(), 'snapferry-zfs-cli-'));
  });
  afterAll(() => {
    source.destroy();
    target.destroy();
    rmSync(work, { recursive: true, force: true });
  });

  let made = 0;
  /** A dataset at the source with some content, and the place of its copy. */
  function newPair(): { from: string; to: string; write: (file: string, bytes: number) => void } {
    const name = `c${++made}`;
    const from = `${source.name}/${name}`;
    run('zfs', 'create', from);
    const write = (file: string, bytes: number) => writeFileSync(join(source.pathOf(from), file), randomBytes(bytes));
    write('first', 200_000);
    return { from, to: `${target.name}/${name}/copy`, write };
  }

  /** What the source has, the copy has too, and with the same content. */
  function expectSame(from: string, to: string, count: number): void {
    const names = (dataset: string) => snapshotsOf(dataset).map((snapshot) => snapshot.slice(dataset.length));
    expect(names(to)).toHaveLength(count);
    expect(names(from).slice(-count)).toEqual(names(to));
    const newest = names(to).at(-1)!;
    expect(snapshotContent(to + newest)).toEqual(snapshotContent(from + newest));
  }

  if (sshdMissing === null) {
    let sshd: Sshd;
    beforeAll(async () => {
      sshd = await startSshd();
    });
    afterAll(() => sshd.stop());
    /** Arguments that reach the test's own sshd. */
    const far = () => [
      ...['--ssh-port', String(sshd.port), '-i', sshd.identityFile, '--ssh-config', sshd.configFile],
      ...Object.entries(sshd.options).flatMap(([name, value]) => ['--ssh-option', `${name}=${value}`]),
      ...['--remote-program', `'${process.execPath}' '${program}'`],
    ];
    const at = (dataset: string) => `${sshd.user}@${sshd.host}:zfs:${dataset}`;

    test('pulls over ssh: whole at first, then the change, then nothing', async () => {
      const { from, to, write } = newPair();
      const pull = () => patiently(['pull', ...far(), at(from), `zfs:${to}`]);
      const first = await pull();
      expect(first, first.stderr).toMatchObject({ code: 0 });
      expectSame(from, to, 1);
      write('second', 100_000);
      const second = await pull();
      expect(second, second.stderr).toMatchObject({ code: 0 });
      expect(second.stderr).toContain('incremental');
      expectSame(from, to, 2);
      expect((await pull()).stdout).toMatch(/^nothing to pull/);
    });

    test('pushes over ssh', async () => {
      const { from, to, write } = newPair();
      const push = () => patiently(['push', ...far(), `zfs:${from}`, at(to)]);
      const first = await push();
      expect(first, first.stderr).toMatchObject({ code: 0 });
      write('second', 100_000);
      const second = await push();
      expect(second, second.stderr).toMatchObject({ code: 0 });
      expectSame(from, to, 2);
    });
  }

  test('a tree with parts left out, a volume among it', async () => {
    const { from, to } = newPair();
    for (const below of ['home', 'home/ann', 'tmp', 'tmp/deep']) run('zfs', 'create', `${from}/${below}`);
    run('zfs', 'create', '-s', '-V', '4M', `${from}/disk`);
    const result = await runProgram(['pull', '-r', '--exclude', 'tmp<', `zfs:${from}`, `zfs:${to}`]);
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(result.stdout).toContain('of 4 datasets');
    for (const below of ['', '/home', '/home/ann', '/disk']) expect(snapshotsOf(to + below)).toHaveLength(1);
    expect(isThere(`${to}/tmp`)).toBe(false);
    expect(valueOf('type', `${to}/disk`)).toBe('volume');
  });

  test('cut at 40 %, the next run goes on from there', async () => {
    const { from, to, write } = newPair();
    write('big', 8 * megabyte);
    run('zfs', 'snapshot', `${from}@one`);
    const ssh: GatedSSH = await gatedSSH(mkdtempSync(join(work, 'gate-')));
    const env = { PATH: `${ssh.bin}:${process.env['PATH'] ?? ''}` };
    const pull = () => patiently(['pull', '--no-snapshot', `host:zfs:${from}`, `zfs:${to}`], { env });
    await ssh.letThrough('from remote', 3 * megabyte);
    const cut = await pull();
    expect(cut.code).not.toBe(0);
    expect(isThere(to), cut.stderr).toBe(true);
    expect(snapshotsOf(to)).toEqual([]);
    expect(valueOf('receive_resume_token', to)).not.toBe('-');
    await ssh.open();
    const rest = await pull();
    expect(rest, rest.stderr).toMatchObject({ code: 0 });
    expect(rest.stderr).toContain('going on where it was interrupted');
    expectSame(from, to, 1);
  });

  test('a target that has gone its own way is reported, and nothing is changed', async () => {
    const { from, to, write } = newPair();
    const pull = () => runProgram(['pull', `zfs:${from}`, `zfs:${to}`]);
    expect((await pull()).code).toBe(0);
    run('zfs', 'set', 'readonly=off', 'mountpoint=legacy', to);
    shell(`d=$(mktemp -d); mount -t zfs ${to} $d; echo mine > $d/mine; umount $d; rmdir $d`);
    run('zfs', 'snapshot', `${to}@mine`);
    const before = snapshotsOf(to);
    write('second', 1000);
    const result = await pull();
    expect(result.code).not.toBe(0);
    expect(result.stderr + result.stdout).toContain('@mine');
    expect(snapshotsOf(to)).toEqual(before);
  });

  test('holds and release: ours are listed and let go, nobody else’s are', async () => {
    const { from, to } = newPair();
    expect((await runProgram(['pull', `zfs:${from}`, `zfs:${to}`])).code).toBe(0);
    const [newest] = snapshotsOf(to);
    run('zfs', 'hold', 'mine', newest!);
    const listed = await runProgram(['holds', `zfs:${to}`]);
    expect(listed.stdout).toContain(newest!.split('@')[1]);
    expect(listed.stdout).not.toContain('mine');
    const released = await runProgram(['release', '--all-jobs', `zfs:${to}`]);
    expect(released, released.stderr).toMatchObject({ code: 0 });
    expect(run('zfs', 'holds', '-H', newest!).split('\t')[1]).toBe('mine');
    run('zfs', 'release', 'mine', newest!);
  });
});

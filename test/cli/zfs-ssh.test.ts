import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { describePlatform } from '../support/platform.ts';
import { builtProgram, runProgram } from '../support/run-program.ts';
import { sshdMissing, startSshd } from '../support/sshd.ts';
import type { Sshd } from '../support/sshd.ts';
import { zfsMachine } from '../support/zfs-machine.ts';
import type { ZfsMachine } from '../support/zfs-machine.ts';

describePlatform('ZFS between two machines, over a real sshd', sshdMissing, () => {
  let sshd: Sshd;
  let program: string;
  /** Where the tests run, and where ssh leads to. */
  let here: ZfsMachine;
  let there: ZfsMachine;

  beforeAll(async () => {
    [sshd, program] = await Promise.all([startSshd(), builtProgram()]);
  });
  afterAll(() => sshd.stop());
  beforeEach(async () => {
    const datasets = ['tank/home', 'tank/home/ann', 'tank/home/tmp'];
    [here, there] = await Promise.all([zfsMachine(datasets), zfsMachine(datasets)]);
    for (const [machine, name] of [
      [here, 'here'],
      [there, 'there'],
    ] as const) {
      for (const dataset of datasets) machine.write(dataset, `${dataset} ${name}`);
    }
  });
  afterEach(() => Promise.all([here.close(), there.close()]));

  const remote = (dataset: string) => `${sshd.user}@${sshd.host}:zfs:${dataset}`;
  const run = (command: string, ...args: string[]) => {
    const options = Object.entries(sshd.options).flatMap(([name, value]) => ['--ssh-option', `${name}=${value}`]);
    const far = `/usr/bin/env 'PATH=${there.env['PATH']!}' '${process.execPath}' '${program}'`;
    return runProgram(
      [
        command,
        ...['--ssh-port', String(sshd.port), '-i', sshd.identityFile, '--ssh-config', sshd.configFile, ...options],
        ...['--remote-program', far, ...args],
      ],
      { cwd: here.work, env: here.env },
    );
  };

  test('pull: what is chosen for the source reaches it, and the rest stays here', async () => {
    const chosen = ['-r', '--exclude', 'tmp<', '--snapshot-name', 'one', '--raw', '--send-properties', '--remote-sudo'];
    const result = await run('pull', ...chosen, '--recv-option', 'atime=off', remote('tank/home'), 'zfs:backup/web1');
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(result.stdout).toMatch(/^pulled 2 snapshots of 2 datasets, /);
    expect(there.fake.callsOf('snapshot')).toEqual(['tank/home@one tank/home/ann@one']);
    expect(there.fake.callsOf('send').at(-1)).toMatch(/^-\w*w\w*p\w* tank\/home\/ann@one/);
    expect(await readFile(join(there.work, 'sudo.log'), 'utf8')).toContain('-n zfs send ');
    expect(here.history('backup/web1/ann')).toBe('one=tank/home/ann there');
    expect(here.fake.callsOf('recv').at(-1)).toMatch(/-o atime=off/);
    await expect(readFile(join(here.work, 'sudo.log'))).rejects.toThrow(/ENOENT/);
    const cursors = there.fake.pool.get('tank/home').bookmarks.map(({ name }) => name);
    expect(cursors).toEqual([expect.stringMatching(/^snapferry_CURSOR_G_[0-9a-f]{16}_I_ssh/)]);
  });

  test('push: the plan shows what a run does, and what is chosen for the target reaches it', async () => {
    for (const name of ['daily-1', 'hourly-1', 'daily-2']) here.fake.pool.snapshot('tank/home/ann', name);
    const args = ['-r', '--exclude', 'tmp', '--from-snapshots', 'daily-', '--initial', 'all'];
    const rest = ['--recv-option', 'atime=off', 'zfs:tank/home', remote('backup/web1')];
    const planned = await run('plan', ...args, ...rest);
    // The root has no snapshot at all, which is one that is not backed up.
    expect(planned.code).toBe(3);
    expect(planned.stdout).toMatch(
      /zfs:tank\/home\/ann -> zfs:backup\/web1\/ann\n\+ @daily-1 \(all.*\n\+ @daily-2 \(incr/,
    );
    expect(there.fake.pool.datasets.has('backup/web1')).toBe(false);
    const result = await run('push', ...args, ...rest);
    expect(result.code).toBe(3);
    expect(result.stderr).toContain('zfs:tank/home: the source has no snapshot of it; none begins with "daily-"');
    expect(there.history('backup/web1/ann')).toBe('daily-1=tank/home/ann here daily-2=tank/home/ann here');
    expect(there.fake.pool.get('backup/web1').properties.get('snapferry:placeholder')).toBe('on');
    expect(there.fake.callsOf('recv').at(-1)).toMatch(/-o atime=off/);
    here.fake.pool.snapshot('tank/home', 'daily-3');
    expect(await run('push', ...args, ...rest)).toMatchObject({ code: 0 });
    // The placeholder has made way for the dataset itself, and the child is as it was.
    expect(there.history('backup/web1')).toBe('daily-3=tank/home here');
    expect(there.history('backup/web1/ann')).toMatch(/^daily-1=.* daily-2=/);
  });

  test('list, snapshot, holds, release and restore work on the other machine', async () => {
    expect((await run('snapshot', '-r', '--snapshot-name', 'one', remote('tank/home'))).stdout).toMatch(
      /^tank\/home@one: \d+ B\n/,
    );
    expect((await run('list', '-r', remote('tank/home'))).stdout).toMatch(/^tank\/home\/ann@one /m);
    expect(await run('pull', '--no-snapshot', remote('tank/home'), 'zfs:backup/web1')).toMatchObject({ code: 0 });
    expect((await run('holds', '-r', remote('tank'))).stdout).toMatch(/^CURSOR +cli_[0-9a-f]{16} +ssh/m);
    expect((await run('release', '--all-jobs', '-r', remote('tank'))).stdout).toContain('released 1 hold or cursor');
    expect(there.fake.pool.get('tank/home').bookmarks).toEqual([]);
    const restored = await run('restore', `${remote('tank/home/ann')}@one`, '--to', 'zfs:tank/restored');
    expect(restored, restored.stderr).toMatchObject({ code: 0 });
    expect(here.history('tank/restored')).toBe('one=tank/home/ann there');
    const absent = await run('list', remote('tank/nothing'));
    expect(absent).toMatchObject({ code: 1 });
    expect(absent.stderr).toContain('(DATASET_NOT_FOUND)');
  });
});

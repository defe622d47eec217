import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ProgramResult } from '../support/run-program.ts';
import { zfsMachine } from '../support/zfs-machine.ts';
import type { ZfsMachine } from '../support/zfs-machine.ts';

let machine: ZfsMachine;
let run: ZfsMachine['run'];

beforeEach(async () => {
  machine = await zfsMachine(['tank/home', 'tank/home/ann', 'tank/home/ben', 'tank/home/tmp']);
  ({ run } = machine);
  for (const name of ['tank/home', 'tank/home/ann', 'tank/home/ben', 'tank/home/tmp']) machine.write(name, `${name} 1`);
});
afterEach(() => machine.close());

const document = (result: ProgramResult) => JSON.parse(result.stdout) as Record<string, unknown>;
const pool = () => machine.fake.pool;
const callsOf = (command: string) => machine.fake.callsOf(command);
const snapshotName = /snapferry_\d{8}_\d{6}_\d{3}/g;
/** With every name that has a time in it replaced. */
const timeless = (text: string) => text.replaceAll(snapshotName, 'S');

describe.each(['pull', 'push'])('%s of a dataset', (command) => {
  test('is whole at first, then incremental, then nothing', async () => {
    const first = await run(command, 'zfs:tank/home', 'zfs:backup/web1/home');
    expect(first).toMatchObject({ code: 0 });
    expect(first.stdout).toMatch(new RegExp(`^${command}ed 1 snapshot, [\\d.]+ K?i?B sent in [\\d.]+ s\\n$`));
    expect(first.stderr).toMatch(/took snapshot @snapferry_\d+_\d+_\d+ of zfs:tank\/home: \d+ B/);
    expect(timeless(machine.history('backup/web1/home'))).toBe('S=tank/home 1');
    // Only the dataset itself.
    expect(pool().datasets.has('backup/web1/home/ann')).toBe(false);

    const nothing = await run(command, 'zfs:tank/home', 'zfs:backup/web1/home');
    expect(nothing).toMatchObject({ code: 0, stdout: `nothing to ${command}: zfs:backup/web1/home is up to date\n` });

    machine.write('tank/home', 'tank/home 2');
    const second = await run(command, 'zfs:tank/home', 'zfs:backup/web1/home');
    expect(second.stderr).toContain('(incremental from @');
    expect(timeless(machine.history('backup/web1/home'))).toBe('S=tank/home 1 S=tank/home 2');
    expect(await readFile(join(machine.work, 'zpool.log'), 'utf8')).toMatch(/^(sync tank\n)+$/);
  });

  test('--recursive maps what is below, but for what is excluded, snapshotted at the same moment', async () => {
    const result = await run(command, '-r', '--exclude', 'tmp<', 'zfs:tank/home', 'zfs:backup/web1');
    expect(result).toMatchObject({ code: 0 });
    expect(result.stdout).toMatch(new RegExp(`^${command}ed 3 snapshots of 3 datasets, `));
    expect(timeless(machine.history('backup/web1'))).toBe('S=tank/home 1');
    expect(timeless(machine.history('backup/web1/ann'))).toBe('S=tank/home/ann 1');
    expect(timeless(machine.history('backup/web1/ben'))).toBe('S=tank/home/ben 1');
    expect(pool().datasets.has('backup/web1/tmp')).toBe(false);
    expect(machine.history('tank/home/tmp')).toBe('');
    expect(callsOf('snapshot').map(timeless)).toEqual(['tank/home@S tank/home/ann@S tank/home/ben@S']);

    machine.write('tank/home/ann', 'tank/home/ann 2');
    expect((await run(command, '-r', '--exclude', 'tmp<', 'zfs:tank/home', 'zfs:backup/web1')).stdout).toMatch(
      new RegExp(`^${command}ed 1 snapshot of 1 dataset, `),
    );
    expect(callsOf('snapshot').map(timeless)[1]).toBe('tank/home/ann@S');
  });

  test('one dataset that fails does not stop the others: exit 3, and it is named', async () => {
    for (const name of ['tank/home', 'tank/home/ann', 'tank/home/ben', 'tank/home/tmp']) pool().snapshot(name, 's');
    pool().unreceivable.add(pool().get('tank/home/ann').snapshots[0]!.guid);
    const result = await run(command, '-r', '--no-snapshot', 'zfs:tank/home', 'zfs:backup/web1');
    expect(result.code).toBe(3);
    expect(result.stdout).toContain('1 dataset failed');
    expect(result.stderr).toMatch(/zfs:tank\/home\/ann: .*out of space/s);
    expect(machine.history('backup/web1/ann')).toBe('');
    expect(machine.history('backup/web1/ben')).toBe('s=tank/home/ben 1');
    expect(machine.history('backup/web1/tmp')).toBe('s=tank/home/tmp 1');
    const { filesystems } = document(
      await run(command, '-r', '--json', '--no-snapshot', 'zfs:tank/home', 'zfs:backup/web1'),
    );
    expect(filesystems).toMatchObject([
      { filesystem: 'tank/home', ok: true },
      { filesystem: 'tank/home/ann', ok: false },
      { filesystem: 'tank/home/ben', ok: true },
      { filesystem: 'tank/home/tmp', ok: true },
    ]);
  });

  test('--from-snapshots takes none and sends only those whose names begin so', async () => {
    for (const name of ['daily-1', 'hourly-1', 'daily-2', 'hourly-2']) pool().snapshot('tank/home', name);
    const args = [command, '--from-snapshots', 'daily-', '--initial', 'all', 'zfs:tank/home', 'zfs:backup/web1'];
    expect(await run(...args)).toMatchObject({ code: 0 });
    expect(machine.history('backup/web1')).toBe('daily-1=tank/home 1 daily-2=tank/home 1');
    pool().snapshot('tank/home', 'daily-3');
    expect(await run(...args)).toMatchObject({ code: 0 });
    expect(machine.history('backup/web1')).toMatch(/ daily-3=/);
    expect(callsOf('snapshot')).toEqual([]);
    const none = await run(command, '--from-snapshots', 'weekly-', 'zfs:tank/home', 'zfs:backup/web2');
    expect(none).toMatchObject({ code: 1 });
    expect(none.stderr).toContain('none begins with "weekly-" (VERSION_NOT_FOUND)');
  });

  test('how ZFS sends and receives reaches ZFS', async () => {
    const flags = ['--raw', '--send-properties', '--recv-option', 'compression=zstd', '--recv-exclude', 'atime'];
    expect(await run(command, ...flags, 'zfs:tank/home', 'zfs:backup/web1')).toMatchObject({ code: 0 });
    expect(callsOf('send').at(-1)).toMatch(/^-\w*w\w*p\w* tank\/home@/);
    expect(callsOf('recv').at(-1)).toMatch(/-o compression=zstd/);
    // The fake sends no properties, so none has to be left out but the one that was named.
    expect(callsOf('recv').at(-1)).toMatch(/-x atime/);
    expect(pool().get('backup/web1').properties.get('readonly')).toBe('on');
  });

  test('an interrupted transfer goes on where it was', async () => {
    machine.write('tank/home', 'x'.repeat(200_000));
    machine.fake.sendFaults.push({ afterBytes: 100_000, outcome: { status: 1, stderr: 'the disk is gone\n' } });
    const failed = await run(command, 'zfs:tank/home', 'zfs:backup/web1');
    expect(failed.code).not.toBe(0);
    expect(failed.stderr).toContain('the disk is gone');
    const partial = pool().get('backup/web1').partial?.content.length ?? 0;
    expect(partial).toBeGreaterThan(50_000);
    const again = await run(command, '--json', '--no-snapshot', 'zfs:tank/home', 'zfs:backup/web1');
    expect(again).toMatchObject({ code: 0 });
    const [{ bytes }] = document(again)['filesystems'] as [{ bytes: number }];
    expect(bytes).toBeLessThan(200_000 - partial + 20_000);
    expect(pool().get('backup/web1').snapshots[0]?.content.length).toBe(200_000);
  });

  test('sides that have gone separate ways are shown, and nothing is changed', async () => {
    await run(command, 'zfs:tank/home', 'zfs:backup/web1');
    pool().snapshot('backup/web1', 'mine', Buffer.from('changed here'));
    machine.write('tank/home', 'tank/home 2');
    const before = machine.fake.calls.length;
    const result = await run(command, 'zfs:tank/home', 'zfs:backup/web1');
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/zfs:tank\/home: source and target have gone separate ways.*@mine/s);
    const later = machine.fake.calls.slice(before).map(([name = '']) => name);
    expect(later).not.toContain('recv');
    expect(later).not.toContain('destroy');
  });

  test('two runs to two targets keep a cursor each, and it is enough for an incremental', async () => {
    await run(command, 'zfs:tank/home', 'zfs:backup/web1');
    await run(command, '--no-snapshot', 'zfs:tank/home', 'zfs:backup/web2');
    const cursors = pool()
      .get('tank/home')
      .bookmarks.map(({ name }) => name);
    expect(cursors.filter((name) => name.startsWith('snapferry_CURSOR_'))).toHaveLength(2);
    for (const { name } of pool().get('tank/home').snapshots) pool().destroy('tank/home', `@${name}`);
    machine.write('tank/home', 'tank/home 2');
    const result = await run(command, 'zfs:tank/home', 'zfs:backup/web1');
    expect(result).toMatchObject({ code: 0 });
    expect(result.stderr).toContain('(incremental from #snapferry_CURSOR_');
  });
});

describe('plan', () => {
  const reading = ['list', 'get', 'holds'];

  test('of a tree equals what a run then does, and changes nothing', async () => {
    await run('pull', 'zfs:tank/home/ann', 'zfs:backup/web1/ann');
    machine.fake.calls.length = 0;
    const planned = await run('plan', '-r', '--exclude', 'tmp', 'zfs:tank/home', 'zfs:backup/web1');
    expect(planned).toMatchObject({ code: 0 });
    expect(planned.stdout).toMatch(/^zfs:tank\/home -> zfs:backup\/web1\n\+ new snapshot \(\d+ B\)$/m);
    expect(timeless(planned.stdout)).toMatch(
      /^zfs:tank\/home\/ann -> zfs:backup\/web1\/ann\n {2}@S\nnothing to do: the target is up to date$/m,
    );
    expect(planned.stdout).toMatch(/^zfs:tank\/home\/ben -> zfs:backup\/web1\/ben\n\+ new snapshot/m);
    expect(planned.stdout).not.toContain('tank/home/tmp');
    const changing = machine.fake.calls.filter(([name = '', flag]) => !reading.includes(name) && flag !== '-nvP');
    expect(changing).toEqual([]);
    const done = document(await run('pull', '-r', '--json', '--exclude', 'tmp', 'zfs:tank/home', 'zfs:backup/web1'));
    expect(done['filesystems']).toMatchObject([
      { filesystem: 'tank/home', steps: 1 },
      { filesystem: 'tank/home/ann', steps: 0 },
      { filesystem: 'tank/home/ben', steps: 1 },
    ]);
  });

  test('for programs has an entry for each dataset', async () => {
    pool().snapshot('tank/home', 's');
    const result = document(await run('plan', '--json', '--no-snapshot', 'zfs:tank/home', 'zfs:backup/web1'));
    const fields = { kind: 'steps', steps: [{ from: null, to: { name: 's' }, resumes: false }] };
    expect(result).toMatchObject({
      ...fields,
      filesystems: [{ filesystem: 'tank/home', to: 'backup/web1', ...fields }],
    });
  });
});

test('--sudo runs zfs through sudo, and nothing else does', async () => {
  expect(await run('pull', '--sudo', 'zfs:tank/home', 'zfs:backup/web1')).toMatchObject({ code: 0 });
  const calls = (await readFile(join(machine.work, 'sudo.log'), 'utf8')).trim().split('\n');
  expect(calls.length).toBe(machine.fake.calls.length);
  expect(calls.every((line) => line.startsWith('-n zfs '))).toBe(true);
});

test('a copy of a copy is made of what the copy has, and no snapshot is taken of it', async () => {
  await run('pull', 'zfs:tank/home', 'zfs:backup/web1');
  const result = await run('pull', 'zfs:backup/web1', 'zfs:tank/second');
  expect(result).toMatchObject({ code: 0 });
  expect(machine.history('tank/second')).toBe(machine.history('backup/web1'));
  expect(callsOf('snapshot')).toHaveLength(1);
});

describe('snapshot', () => {
  test('takes one only if something was written, of everything at the same moment', async () => {
    const first = await run('snapshot', '-r', '--exclude', 'tmp<', '--snapshot-name', 'one', 'zfs:tank/home');
    expect(first).toMatchObject({ code: 0 });
    expect(first.stdout).toMatch(/^tank\/home@one: \d+ B\ntank\/home\/ann@one: \d+ B\ntank\/home\/ben@one: \d+ B\n$/);
    expect(callsOf('snapshot')).toEqual(['tank/home@one tank/home/ann@one tank/home/ben@one']);
    expect((await run('snapshot', 'zfs:tank/home')).stdout).toBe('nothing has changed since the newest snapshot\n');
    machine.write('tank/home', 'more');
    expect((await run('snapshot', '--dry-run', 'zfs:tank/home')).stdout).toMatch(
      /^a snapshot would be taken: \d+ B\n$/,
    );
    expect(callsOf('snapshot')).toHaveLength(1);
    const forced = document(await run('snapshot', '--json', '--force', '--snapshot-name', 'two', 'zfs:tank/home/ann'));
    expect(forced).toMatchObject({ taken: true, snapshot: { name: 'two' }, added: null, bytes: 0, datasets: null });
    const taken = await run('snapshot', '--force', '--snapshot-name', 'two', 'zfs:tank/home/ann');
    expect(taken.code).toBe(1);
    expect(taken.stderr).toContain('dataset already exists');
  });

  test('takes one if it cannot be told whether something was written', async () => {
    await run('snapshot', '--snapshot-name', 'one', 'zfs:tank/home');
    await writeFile(join(machine.fake.directory, 'zpool'), '#!/bin/sh\nexit 1\n');
    const result = await run('snapshot', '--snapshot-name', 'two', 'zfs:tank/home');
    expect(result.stdout).toBe('@two: changes unknown\n');
  });
});

describe('list', () => {
  test('shows snapshots and bookmarks, with --recursive of the whole tree', async () => {
    pool().snapshot('tank/home', 'one');
    pool().bookmark('tank/home', pool().get('tank/home').snapshots[0]!, 'mark');
    pool().snapshot('tank/home/ann', 'two');
    const own = await run('list', 'zfs:tank/home');
    expect(own.stdout).toMatch(/^NAME +CREATED +GUID\n@one +\d{4}-.*\n#mark +\d{4}-.*\n$/);
    const all = await run('list', '-r', 'zfs:tank/home');
    expect(all.stdout).toMatch(/^tank\/home@one .*\ntank\/home#mark .*\ntank\/home\/ann@two /m);
    expect(document(await run('list', '--json', '-r', 'zfs:tank/home'))).toMatchObject({
      kind: null,
      versions: [{ name: 'one' }, { name: 'mark' }],
      datasets: [
        { dataset: 'tank/home' },
        { dataset: 'tank/home/ann', versions: [{ name: 'two' }] },
        { dataset: 'tank/home/ben', versions: [] },
        { dataset: 'tank/home/tmp' },
      ],
    });
    expect(await run('list', 'zfs:tank/nothing')).toMatchObject({ code: 1 });
  });
});

describe('restore', () => {
  test('makes a snapshot a dataset of its own, which the backup keeps nothing for', async () => {
    await run('pull', 'zfs:tank/home', 'zfs:backup/web1');
    machine.write('tank/home', 'tank/home 2');
    await run('pull', 'zfs:tank/home', 'zfs:backup/web1');
    const [oldest = ''] = pool()
      .get('backup/web1')
      .snapshots.map(({ name }) => name);
    const holdsBefore = pool().holds();
    const result = await run('restore', `zfs:backup/web1@${oldest}`, '--to', 'zfs:tank/restored');
    expect(result).toMatchObject({ code: 0 });
    expect(result.stdout).toContain(
      `restored @${oldest} to zfs:tank/restored; it is not mounted yet: zfs mount tank/restored`,
    );
    expect(machine.history('tank/restored')).toBe(`${oldest}=tank/home 1`);
    expect(pool().get('tank/restored').properties.has('readonly')).toBe(false);
    expect(pool().holds()).toEqual(holdsBefore);
    expect(pool().get('backup/web1').bookmarks).toEqual([]);
    // The newest by default; what is there is left alone.
    expect((await run('restore', 'zfs:backup/web1', '--to', 'zfs:tank/newest')).code).toBe(0);
    expect(machine.history('tank/newest')).toContain('tank/home 2');
    expect((await run('restore', 'zfs:backup/web1', '--to', 'zfs:tank/home/ben')).code).toBe(1);
    expect(machine.history('tank/home/ben')).toBe('');
    expect((await run('restore', 'zfs:backup/web1@none', '--to', 'zfs:tank/x')).stderr).toContain('no snapshot @none');
  });

  test('--dry-run makes nothing', async () => {
    pool().snapshot('tank/home', 'one');
    const result = await run('restore', '--dry-run', 'zfs:tank/home', '--to', 'zfs:backup/x');
    expect(result.stdout).toMatch(/^would restore @one to zfs:backup\/x, about \d/);
    expect(pool().datasets.has('backup/x')).toBe(false);
  });
});

describe('holds and release', () => {
  test('show and remove what is ours, and nothing of anybody else', async () => {
    await run('pull', 'zfs:tank/home', 'zfs:backup/web1');
    await run('pull', '--no-snapshot', 'zfs:tank/home', 'zfs:backup/web2');
    const snapshot = pool().get('tank/home').snapshots[0]!;
    snapshot.holds.add('keep');
    snapshot.holds.add('zrepl_STEP_J_push');
    pool().bookmark('tank/home', snapshot, 'snapferry_CURSOR_of_somebody');
    const { traces } = document(await run('holds', '--json')) as { traces: Record<string, string>[] };
    expect(traces.map(({ kind, dataset }) => `${kind} ${dataset}`).sort()).toEqual([
      'CURSOR tank/home',
      'CURSOR tank/home',
      'LAST backup/web1',
      'LAST backup/web2',
    ]);
    const { job } = traces.find(({ dataset }) => dataset === 'backup/web1')!;
    const shown = await run('holds', '--job', job!);
    expect(shown.stdout).toMatch(/^KIND +JOB +FOR +NAME$/m);
    expect(shown.stdout.split('\n')).toHaveLength(4);

    const dry = await run('release', '-n', '--job', job!, 'zfs:tank/home');
    expect(dry.stdout).toMatch(/^would release 1 hold or cursor$/m);
    expect(await run('release', '--job', job!, 'zfs:tank/home')).toMatchObject({ code: 0 });
    expect(pool().get('tank/home').bookmarks).toHaveLength(2);
    expect(await run('release', '--all-jobs', '-r', 'zfs:tank')).toMatchObject({ code: 0 });
    expect(
      pool()
        .get('tank/home')
        .bookmarks.map(({ name }) => name),
    ).toEqual(['snapferry_CURSOR_of_somebody']);
    expect([...snapshot.holds].sort()).toEqual(['keep', 'zrepl_STEP_J_push']);
    // Without --recursive nothing below is touched.
    expect((await run('release', '--all-jobs', 'zfs:backup')).stdout).toContain('released 0 holds and cursors');
    expect(
      pool()
        .holds()
        .filter((hold) => hold.includes('snapferry_LAST')),
    ).toHaveLength(2);
  });
});

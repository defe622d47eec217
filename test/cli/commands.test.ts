import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { commandTable } from '../../src/cli/command-table.ts';
import { describePlatform, missingPrograms } from '../support/platform.ts';
import { runProgram } from '../support/run-program.ts';
import type { ProgramResult } from '../support/run-program.ts';

let work: string;

beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), 'snapferry-cli-'));
  await mkdir(join(work, 'source/sub'), { recursive: true });
  await writeFile(join(work, 'source/a.txt'), 'hello\n');
  await writeFile(join(work, 'source/sub/b.txt'), 'world\n');
  expect(await run('snapshot', '--snapshot-name', 'one', 'source')).toMatchObject({ code: 0 });
  await writeFile(join(work, 'source/a.txt'), 'hello again\n');
  await writeFile(join(work, 'source/c\u001b[31m.txt'), 'coloured\n');
  expect(await run('pull', '--snapshot-name', 'two', '--initial', 'all', 'source', 'copy')).toMatchObject({ code: 0 });
});
afterAll(() => rm(work, { recursive: true, force: true }));

const run = (...args: string[]): Promise<ProgramResult> => runProgram(args, { cwd: work });
const document = (result: ProgramResult) => JSON.parse(result.stdout) as Record<string, unknown>;

describe('help', () => {
  test('the overview names every command, and --version the version', async () => {
    const result = await run('--help');
    expect(result).toMatchObject({ code: 0, stderr: '' });
    for (const { name } of commandTable) expect(result.stdout).toMatch(new RegExp(`^ +${name} `, 'm'));
    const { version } = JSON.parse(await readFile('package.json', 'utf8')) as { version: string };
    expect(await run('--version')).toMatchObject({ code: 0, stdout: `${version}\n` });
  });

  test.each(commandTable.map(({ name }) => name))('%s --help has its options and an example', async (name) => {
    const result = await run(name, '--help');
    expect(result).toMatchObject({ code: 0, stderr: '' });
    expect(result.stdout).toContain(`Usage: snapferry ${name} `);
    expect(result.stdout).toMatch(new RegExp(`Examples:\\n  # .*\\n  snapferry ${name}[ \\n]`));
    expect(await run('help', name)).toEqual(result);
  });
});

describe('wrong usage', () => {
  test.each([
    [[], /Usage: snapferry/],
    [['pul', 'a', 'b'], /unknown command 'pul'\n\(Did you mean pull\?\)/],
    [['pull', '--jsn', 'a', 'b'], /unknown option '--jsn'\n\(Did you mean --json\?\)/],
    [['pull', 'source'], /missing required argument 'target'/],
    [['pull', 'a', 'b', 'c'], /too many arguments/],
    [['pull', 'zfs:/tank', 'zfs:b/c'], /is a path, not the name of a ZFS dataset.* \(USAGE\)/],
    [['pull', '--raw', 'source', 'b'], /--raw makes no sense for a directory/],
    [['pull', '--recursive', 'source', 'b'], /--recursive makes no sense for a directory: its snapshot has everything/],
    [['pull', '--sudo', 'source', 'b'], /--sudo makes no sense for a directory/],
    [['pull', '--recv-option', 'x', 'zfs:tank/a', 'zfs:b/c'], /must read name=value/],
    [['pull', '--recv-exclude=-r', 'zfs:tank/a', 'zfs:b/c'], /not the name of a property/],
    [['pull', '--from-snapshots', 'daily', '--snapshot-name', 'a', 'source', 'b'], /takes no snapshot/],
    [['pull', 'zfs:tank/a', 'zfs:backup'], /a whole pool, which cannot be a copy/],
    [['pull', 'zfs:tank/a', 'zfs:tank/a'], /source and target are the same dataset/],
    [['pull', '-r', 'zfs:tank/a', 'zfs:tank/a/b/c'], /lies below the source.*--exclude 'b\/c<'/s],
    [['pull', '-r', '--exclude', 'tank/a/tmp<', 'zfs:tank/a', 'zfs:b/c'], /relative to tank\/a; write tmp</],
    [['pull', '-r', '--exclude', 'tmp<x', 'zfs:tank/a', 'zfs:b/c'], /"tmp<x" has a "<" that is not at its end/],
    [['verify', 'zfs:tank/a@b'], /zpool scrub tank/],
    [['verify', 'btrfs:/data/@home'], /btrfs scrub start -B \/data\/@home/],
    [['restore', 'zfs:tank/a', 'etc/hosts', '--to', 'zfs:tank/b'], /knows no parts of a snapshot/],
    [['release', 'source'], /say of which job/],
    [['release', '--job', 'a', '--all-jobs', 'source'], /say of which job/],
    [['pull', 'a:b', 'c:d'], /run snapferry on one of them/],
    [['pull', 'source', 'host:x'], /run snapferry push source host:\.\/x/],
    [['push', 'host:x', 'copy'], /run snapferry pull host:\.\/x copy/],
    [['pull', '--ssh-port', '0', 'a', 'b'], /must be a number from 1 to 65535/],
    [['pull', '--ssh-option', 'x', 'a', 'b'], /Name=value/],
    [['pull', '--remote-program', 'a;b', 'a', 'b'], /";" outside quotes/],
    [['pull', '--snapshot-name', 'a/b', 'a', 'b'], /has a "\/", "@" or "#"/],
    [['pull', '--snapshot-name', 'a', '--snapshot-prefix', 'b', 'a', 'b'], /cannot be used with/],
    [['pull', '--initial', 'some', 'a', 'b'], /Allowed choices are most_recent, all/],
    [['pull', '--minimum-version', '3', 'a', 'b'], /Allowed choices are 1, 2/],
    [['pull', '/', 'b'], /\/ is no dataset/],
    [['snapshot', 'copy/snapshots/two'], /lies inside the snapshots of/],
    [['restore', 'copy'], /required option '--to <location>'/],
    [['serve', 'source'], /serve needs --stdio/],
    [['stdinserver', 'web1', '--config', '/nonexistent.yml'], /cannot read the configuration \/nonexistent.yml/],
  ])('%j', async (args, message) => {
    const result = await run(...args);
    expect(result).toMatchObject({ code: 2, stdout: '' });
    expect(result.stderr).toMatch(message);
    expect(result.stderr).not.toMatch(/^ +at /m);
  });

  test('in JSON mode the error is a document on stdout, too', async () => {
    expect(document(await run('pull', '--json', 'zfs:/tank', 'b'))).toMatchObject({ error: { code: 'USAGE' } });
    expect(document(await run('pull', '--json'))).toMatchObject({ error: { code: 'USAGE' } });
    expect(document(await run('list', '--json', 'nowhere'))).toMatchObject({ error: { code: 'DATASET_NOT_FOUND' } });
  });
});

describe('locations of different backends', () => {
  test.each([
    [['pull', 'zfs:tank/a', 'b'], /zfs:tank\/a is ZFS and b is a directory.*zfs:backup\/web1/],
    [['plan', 'source', 'zfs:tank/a'], /source is a directory and zfs:tank\/a is ZFS/],
    [['push', 'btrfs:/data/a', 'host:zfs:tank/a'], /btrfs:\/data\/a is btrfs and host:zfs:tank\/a is ZFS/],
    [['restore', 'copy', '--to', 'zfs:tank/a'], /copy is a copy of a directory, and zfs:tank\/a is not/],
    [['restore', 'zfs:tank/a@b', '--to', 'restored'], /zfs clone/],
  ])('%j is refused before anything is done', async (args, message) => {
    const result = await run(...args);
    expect(result).toMatchObject({ code: 1, stdout: '' });
    expect(result.stderr).toMatch(message);
    expect(result.stderr).toContain('(STREAM_FORMAT_MISMATCH)');
    expect(await readdir(work)).not.toContain('b');
  });
});

describePlatform('the ssh client', missingPrograms(['ssh'], 'openssh-client'), () => {
  test('an unknown host is told by ssh’s own words, and may be tried again', async () => {
    const result = await run('pull', '--ssh-config', 'none', 'no-such-host.invalid:/x', 'target');
    expect(result.code).toBe(75);
    expect(result.stderr).toMatch(/no-such-host\.invalid.*\(CONNECT_FAILED\)/s);
    expect(result.stderr).toContain('what to do: ');
    expect(await readdir(work)).not.toContain('target');
  });
});

test('-vv adds the stack of an error', async () => {
  expect((await run('list', 'nowhere')).stderr).not.toMatch(/^ +at /m);
  expect((await run('list', '-vv', 'nowhere')).stderr).toMatch(/^ +at /m);
});

describe('snapshot', () => {
  test('takes one only if something changed, or it is forced; a dry run takes none', async () => {
    await mkdir(join(work, 'snap'));
    await writeFile(join(work, 'snap/x'), '12345');
    const dry = await run('snapshot', '--dry-run', 'snap');
    expect(dry).toMatchObject({ code: 0, stdout: 'a snapshot would be taken: 2 added, 0 changed, 0 removed, 5 B\n' });
    expect(await readdir(join(work, 'snap'))).toEqual(['x']);
    const first = await run('snapshot', '--json', 'snap');
    expect(document(first)).toMatchObject({ taken: true, added: 2, bytes: 5, snapshot: { type: 'snapshot' } });
    expect((await run('snapshot', 'snap')).stdout).toBe('nothing has changed since the newest snapshot\n');
    expect((await run('snapshot', '--force', '--snapshot-name', 'f', 'snap')).stdout).toBe(
      '@f: 0 added, 0 changed, 0 removed, 0 B\n',
    );
    const taken = await run('snapshot', '--force', '--snapshot-name', 'f', 'snap');
    expect(taken.code).not.toBe(0);
  });
});

describe('list', () => {
  test('is a table for people and a document for programs', async () => {
    const table = await run('list', 'copy');
    expect(table.code).toBe(0);
    expect(table.stdout.split('\n')[0]).toMatch(/^NAME +CREATED +SIZE +ENTRIES +GUID$/);
    expect(table.stdout).toMatch(/^@one +\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ +12 B +4 +\d+$/m);
    const { versions } = document(await run('list', '--json', 'copy')) as { versions: Record<string, unknown>[] };
    expect(versions).toMatchObject([
      { type: 'snapshot', name: 'one', bytes: 12, entries: 4 },
      { type: 'snapshot', name: 'two', bytes: 27, entries: 5 },
    ]);
    // The cursor of the pull is a bookmark at the source.
    expect((await run('list', 'source')).stdout).toMatch(/^#snapferry_cursor_cli_[0-9a-f]{16} /m);
  });

  test('says what a directory without snapshots is', async () => {
    await mkdir(join(work, 'plain'));
    expect(await run('list', 'plain')).toMatchObject({ code: 1, stdout: '' });
  });
});

describe('restore', () => {
  const restored = (path: string) => readFile(join(work, path), 'utf8');

  test('everything, from the newest snapshot or a named one', async () => {
    const newest = await run('restore', 'copy', '--to', 'r1');
    expect(newest).toMatchObject({ code: 0 });
    expect(newest.stdout).toBe(`restored 3 files (27 B) from @two to ${join(work, 'r1')}\n`);
    expect(await restored('r1/a.txt')).toBe('hello again\n');
    expect(await run('restore', 'copy@one', '--to', 'r2')).toMatchObject({ code: 0 });
    expect(await restored('r2/a.txt')).toBe('hello\n');
    expect(await run('restore', 'source@one', '--to', 'r3')).toMatchObject({ code: 0 });
    expect(await restored('r3/a.txt')).toBe('hello\n');
  });

  test('parts of it', async () => {
    expect(await run('restore', 'copy', 'sub/b.txt', '--to', 'part')).toMatchObject({ code: 0 });
    expect((await readdir(join(work, 'part'), { recursive: true })).sort()).toEqual(['sub', 'sub/b.txt']);
    const missing = await run('restore', 'copy', 'no/such', '--to', 'none');
    expect(missing.code).toBe(1);
    expect(missing.stderr).toContain('no/such');
    expect(await readdir(work)).not.toContain('none');
  });

  test('overwrites only when told, and a dry run writes nothing', async () => {
    await mkdir(join(work, 'over'));
    await writeFile(join(work, 'over/a.txt'), 'mine\n');
    const refused = await run('restore', 'copy', '--to', 'over');
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('a.txt');
    expect(await restored('over/a.txt')).toBe('mine\n');
    const dry = await run('restore', '--dry-run', '--overwrite', 'copy', '--to', 'over');
    expect(dry.stdout).toMatch(/^would restore 3 files/);
    expect(await restored('over/a.txt')).toBe('mine\n');
    expect(await run('restore', '--overwrite', 'copy', '--to', 'over')).toMatchObject({ code: 0 });
    expect(await restored('over/a.txt')).toBe('hello again\n');
  });

  test('refuses a snapshot that is not there, naming those that are, and a copy as the place to restore to', async () => {
    const absent = await run('restore', 'copy@three', '--to', 'x');
    expect(absent.code).toBe(1);
    expect(absent.stderr).toContain('no snapshot @three; it has @one, @two (VERSION_NOT_FOUND)');
    expect(await run('restore', '--overwrite', 'copy', '--to', 'copy')).toMatchObject({ code: 2 });
    expect(await run('restore', '--overwrite', 'copy', '--to', 'copy/snapshots/one')).toMatchObject({ code: 2 });
  });

  test('a directory with an @ in its name is itself if it exists', async () => {
    await mkdir(join(work, 'odd@one'));
    await writeFile(join(work, 'odd@one/x'), 'x');
    await run('snapshot', '--snapshot-name', 's', 'odd@one');
    expect(await run('restore', 'odd@one', '--to', 'odd-restored')).toMatchObject({ code: 0 });
    expect(await run('restore', 'odd@one@s', '--to', 'odd-restored-2')).toMatchObject({ code: 0 });
  });
});

describe('verify', () => {
  test('is content with a whole snapshot and names each damaged file', async () => {
    expect(await run('verify', 'copy')).toMatchObject({
      code: 0,
      stdout: '@two: 5 entries, 27 B read; all as recorded\n',
    });
    await run('pull', 'source', 'damaged');
    await writeFile(join(work, 'damaged/snapshots/two/sub/b.txt'), 'w0rld\n');
    await rm(join(work, 'damaged/snapshots/two/c\u001b[31m.txt'));
    const result = await run('verify', 'damaged@two');
    expect(result.code).toBe(1);
    expect(result.stdout).toMatch(/^sub\/b\.txt: /m);
    expect(result.stdout).toMatch(/^c.*001b.*\.txt: is missing$/m);
    expect(result.stdout).not.toContain('\u001b');
    expect(result.stdout).toContain('damaged\n');
    const json = await run('verify', '--json', 'damaged');
    expect(json.code).toBe(1);
    expect(document(json)).toMatchObject({ ok: false, snapshot: { name: 'two' } });
  });
});

describe('holds and release', () => {
  test('list and remove the cursors of jobs, and nothing else', async () => {
    await mkdir(join(work, 'held'));
    await writeFile(join(work, 'held/x'), 'x');
    for (const target of ['held-a', 'held-b']) expect(await run('pull', 'held', target)).toMatchObject({ code: 0 });
    const { traces } = document(await run('holds', '--json', 'held')) as { traces: { job: string; kind: string }[] };
    expect(traces.map(({ kind }) => kind)).toEqual(['CURSOR', 'CURSOR']);
    const [job = '', other = ''] = traces.map((trace) => trace.job);
    expect((await run('holds', '--job', job, 'held')).stdout).toMatch(new RegExp(`^CURSOR +${job} `, 'm'));
    expect((await run('release', '--dry-run', '--job', job, 'held')).stdout).toMatch(
      /^would release 1 hold or cursor$/m,
    );
    expect((await run('release', '--job', job, 'held')).stdout).toMatch(/^released 1 hold or cursor$/m);
    expect((await run('holds', 'held')).stdout).toContain(other);
    expect((await run('release', '--all-jobs', 'held')).stdout).toMatch(/^released 1 hold or cursor$/m);
    expect((await run('holds', 'held')).stdout).toBe('nothing of ours is there\n');
    // The snapshots are still there, and so the next pull is incremental.
    await writeFile(join(work, 'held/y'), 'y');
    expect((await run('pull', 'held', 'held-a')).stderr).toContain('(incremental from @');
  });
});

test('serve refuses a peer that does not speak the protocol', async () => {
  const result = await runProgram(['serve', '--stdio', 'source'], { cwd: work, stdin: 'GET / HTTP/1.1\r\n\r\n' });
  expect(result.code).toBe(1);
});

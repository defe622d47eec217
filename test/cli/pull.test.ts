import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { runProgram } from '../support/run-program.ts';
import type { ProgramResult } from '../support/run-program.ts';

let work: string;
let source: string;
let target: string;

beforeEach(async () => {
  work = await mkdtemp(join(tmpdir(), 'snapferry-cli-'));
  source = join(work, 'source');
  target = join(work, 'target');
  await mkdir(join(source, 'sub'), { recursive: true });
  await writeFile(join(source, 'a.txt'), 'hello\n');
  await writeFile(join(source, 'sub/b.txt'), 'world\n');
});
afterEach(() => rm(work, { recursive: true, force: true }));

const run = (...args: string[]): Promise<ProgramResult> => runProgram(args, { cwd: work });
const document = (result: ProgramResult) => JSON.parse(result.stdout) as Record<string, never>;

/** Everything below a directory with size and time of change: equal before and after means nothing was touched. */
async function state(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const lines = entries.map(async (entry) => {
    const path = join(entry.parentPath, entry.name);
    const { size, ctimeMs, mode } = await stat(path);
    return `${path} ${size} ${ctimeMs} ${mode}`;
  });
  return (await Promise.all(lines)).sort();
}

async function newestTree(store: string): Promise<string> {
  const names = (await readdir(join(store, 'snapshots'))).sort();
  return join(store, 'snapshots', names.at(-1) ?? '');
}

describe.each(['pull', 'push'])('%s on one machine', (command) => {
  test('makes a first copy, then sends only what changed, then nothing', async () => {
    const first = await run(command, 'source', 'target');
    expect(first).toMatchObject({ code: 0 });
    expect(first.stdout).toMatch(new RegExp(`^${command}ed 1 snapshot, 2 files, [\\d.]+ KiB sent in [\\d.]+ s\\n$`));
    expect(first.stderr).toContain('took snapshot @snapferry_');
    expect(await readFile(join(await newestTree(target), 'a.txt'), 'utf8')).toBe('hello\n');

    await writeFile(join(source, 'big'), Buffer.alloc(300_000, 1));
    expect(await run(command, 'source', 'target')).toMatchObject({ code: 0 });
    await writeFile(join(source, 'a.txt'), 'hello again\n');
    const third = await run(command, '--json', 'source', 'target');
    expect(third.code).toBe(0);
    const [result] = document(third)['filesystems'] as unknown as { bytes: number; steps: number }[];
    expect(result).toMatchObject({ steps: 1 });
    expect(result!.bytes).toBeLessThan(50_000);
    expect(await readFile(join(await newestTree(target), 'a.txt'), 'utf8')).toBe('hello again\n');

    const fourth = await run(command, 'source', 'target');
    expect(fourth.stdout).toBe(`nothing to ${command}: target is up to date\n`);
    expect((await readdir(join(target, 'snapshots'))).length).toBe(3);
  });

  test('--no-snapshot sends what is there, and a source without snapshots is no success', async () => {
    const nothing = await run(command, '--no-snapshot', 'source', 'target');
    expect(nothing).toMatchObject({ code: 1, stdout: `nothing was ${command}ed\n` });
    expect(nothing.stderr).toContain('leave out --no-snapshot (VERSION_NOT_FOUND)');
    await run('snapshot', 'source');
    await writeFile(join(source, 'later'), 'x');
    expect(await run(command, '--no-snapshot', 'source', 'target')).toMatchObject({ code: 0 });
    expect(await readdir(await newestTree(target))).not.toContain('later');
  });

  test('--snapshot-name, --snapshot-prefix and --exclude reach the snapshot', async () => {
    await writeFile(join(source, 'a.tmp'), 'x');
    const named = await run(
      command,
      '--snapshot-name',
      'first',
      '-e',
      '*.tmp',
      '--exclude',
      '/sub/',
      'source',
      'target',
    );
    expect(named.code).toBe(0);
    expect(await readdir(join(target, 'snapshots'))).toEqual(['first']);
    expect(await readdir(join(target, 'snapshots/first'))).toEqual(['a.txt']);
    await run(command, '--snapshot-prefix', 'web-', 'source', 'target');
    expect((await readdir(join(target, 'snapshots'))).at(-1)).toMatch(/^web-\d{8}_\d{6}_\d{3}$/);
  });

  test('--initial all sends every snapshot there is', async () => {
    await run('snapshot', '--snapshot-name', 'one', 'source');
    await writeFile(join(source, 'c'), 'c');
    await run('snapshot', '--snapshot-name', 'two', 'source');
    const all = await run(command, '--initial', 'all', 'source', 'target');
    expect(all.stdout).toContain(`${command}ed 2 snapshots, 3 files`);
    expect((await readdir(join(target, 'snapshots'))).sort()).toEqual(['one', 'two']);
  });

  test('a plan changes nothing on either side and equals the run that follows', async () => {
    const steps = (result: ProgramResult) => document(result)['steps'] as unknown as Record<string, unknown>[];
    await writeFile(join(source, 'c'), 'c');
    for (const change of ['first', 'second', 'third']) {
      await writeFile(join(source, 'c'), change);
      if (change === 'third') await run('snapshot', '--snapshot-name', 'between', 'source');
      if (change === 'third') await writeFile(join(source, 'd'), 'd');
      const before = [await state(work), await stat(work).then(({ mtimeMs }) => mtimeMs)];
      const plan = await run(command, '--dry-run', '--json', 'source', 'target');
      expect([await state(work), await stat(work).then(({ mtimeMs }) => mtimeMs)]).toEqual(before);
      expect(plan.code).toBe(0);
      const other = await run('plan', ...(command === 'push' ? ['--push'] : []), '--json', 'source', 'target');
      expect(steps(other)).toEqual(steps(plan));

      const present = await names();
      expect((await run(command, 'source', 'target')).code).toBe(0);
      const made = (await names()).filter((name) => !present.includes(name));
      expect(steps(plan).map(({ to }) => (to as { name: string | null }).name ?? made.at(-1))).toEqual(made);
      const froms = steps(plan).map(({ from }) => (from as { name: string } | null)?.name ?? null);
      expect(froms).toEqual([present.at(-1) ?? null, ...made.slice(0, -1)]);
    }
    const nothing = await run(command, '-n', '--json', 'source', 'target');
    expect(document(nothing)).toMatchObject({ kind: 'in_sync', steps: [] });
  });

  async function names(): Promise<string[]> {
    const { versions } = document(await run('list', '--json', 'target')) as unknown as {
      versions?: { name: string; type: string }[];
    };
    return (versions ?? []).filter(({ type }) => type === 'snapshot').map(({ name }) => name);
  }

  test('refuses a target in the way, a target inside the source, and the same directory', async () => {
    await mkdir(join(work, 'full'));
    await writeFile(join(work, 'full/x'), 'x');
    const full = await run(command, 'source', 'full');
    expect(full.code).not.toBe(0);
    expect(full.stderr).toContain('neither empty nor a copy made by snapferry (it holds "x")');
    const inside = await run(command, 'source', 'source/backup');
    expect(inside).toMatchObject({ code: 2, stdout: '' });
    expect(inside.stderr).toContain(`lies inside the source`);
    expect(await run(command, 'source', 'source')).toMatchObject({ code: 2 });
    expect(await run(command, 'source', 'source/.snapferry/x')).toMatchObject({ code: 2 });
    // With the target left out of the snapshots it is nobody's problem.
    expect(await run(command, '--exclude', '/backup/', 'source', 'source/backup')).toMatchObject({ code: 0 });
    expect(await readdir(await newestTree(join(source, 'backup')))).toEqual(['a.txt', 'sub']);
  });

  test('says which directory is not there', async () => {
    const result = await run(command, 'nowhere', 'target');
    expect(result.code).toBe(1);
    expect(result.stderr).toContain(join(work, 'nowhere'));
    expect(result.stderr).toContain('(DATASET_NOT_FOUND)');
    expect(await readdir(work)).toEqual(['source']);
  });

  test('a conflict is told with both sides, and nothing is destroyed', async () => {
    await run(command, 'source', 'target');
    await mkdir(join(work, 'other'));
    await writeFile(join(work, 'other/x'), 'x');
    const before = await state(target);
    const plan = await run(command, '-n', 'other', 'target');
    expect(plan).toMatchObject({ code: 1 });
    // A directory has its slash.
    expect(plan.stdout).toMatch(/^\/.*: both sides have snapshots, but none in common/m);
    const result = await run(command, 'other', 'target');
    expect(result).toMatchObject({ code: 1, stdout: `nothing was ${command}ed\n` });
    expect(result.stderr).toMatch(/ \/[^ ]+: both sides have snapshots, but none in common/);
    expect(result.stderr).toContain('(CONFLICT)');
    expect(await state(target)).toEqual(before);
  });

  test('what cannot be read is named, the rest is committed, and the exit code is 3', async () => {
    await writeFile(join(source, 'secret'), 'x');
    await chmod(join(source, 'secret'), 0);
    // Root can read everything, so it is somebody else who tries.
    const uid = process.getuid?.() === 0 ? 65534 : undefined;
    if (uid !== undefined) for (const path of [work, source, join(source, 'sub')]) await chown(path, uid, uid);
    const result = await runProgram([command, 'source', 'target'], { cwd: work, ...(uid !== undefined && { uid }) });
    expect(result.code).toBe(3);
    expect(result.stderr).toContain('secret');
    expect(await readdir(await newestTree(target))).toEqual(['a.txt', 'sub']);
  });
});

test('a copy is copied without taking a snapshot', async () => {
  await run('pull', 'source', 'target');
  const copied = await run('pull', 'target', 'second');
  expect(copied.code).toBe(0);
  expect(await readdir(join(work, 'second/snapshots'))).toEqual(await readdir(join(target, 'snapshots')));
  expect(copied.stderr).not.toContain('took snapshot');
});

test('--quiet leaves only the result, --json only one document', async () => {
  expect(await run('pull', '--quiet', 'source', 'target')).toMatchObject({ code: 0, stderr: '' });
  const json = await run('pull', '--json', 'nowhere', 'elsewhere');
  expect(document(json)).toMatchObject({ ok: false });
});

test('-v logs JSON lines to stderr, never to stdout', async () => {
  const result = await run('pull', '-vv', 'source', 'target');
  expect(result.stdout.split('\n')).toHaveLength(2);
  expect(result.stderr).toContain('{"level":');
});

import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { FilesystemVersion } from '../../../src/dataset.ts';
import { restore } from '../../../src/handlers/directory/restore.ts';
import type { RestoreReport, RestoreRequest } from '../../../src/handlers/directory/restore.ts';
import type { Progress } from '../../../src/rpc/interfaces.ts';
import { childrenAlive, describeTree, DirectoryFixture, failure, lend } from '../../support/directory-fixture.ts';
import { describePlatform } from '../../support/platform.ts';

let fixture: DirectoryFixture;
let version: FilesystemVersion;
let target: string;
beforeEach(async () => {
  fixture = new DirectoryFixture();
  target = join(fixture.root, 'restored/here');
  const at = (path: string): string => join(fixture.source, path);
  mkdirSync(at('docs/old'), { recursive: true });
  writeFileSync(at('docs/letter'), 'dear');
  writeFileSync(at('docs/old/bill'), 'pay');
  writeFileSync(at('alone'), 'alone');
  linkSync(at('docs/letter'), at('letter'));
  linkSync(at('docs/letter'), at('docs/old/copy'));
  linkSync(at('docs/letter'), at('docs/old/other copy'));
  symlinkSync('../docs', at('docs/link'));
  execFileSync('mkfifo', [at('fifo')]);
  writeFileSync(Buffer.from(`${fixture.source}/\xff\n`, 'latin1'), 'raw');
  const sparse = openSync(at('sparse'), 'w');
  ftruncateSync(sparse, 4 << 20);
  writeSync(sparse, 'end', (4 << 20) - 3);
  closeSync(sparse);
  chmodSync(at('docs/old'), 0o500);
  execFileSync('touch', ['-d', '2001-02-03T04:05:06.5Z', at('docs/old'), at('docs'), fixture.source]);
  chmodSync(fixture.source, 0o751);
  version = await fixture.snapshot();
});
afterEach(() => fixture.cleanup());

async function run(options: Partial<RestoreRequest> = {}): Promise<RestoreReport> {
  const { bytes } = await fixture.offer(null, version);
  return restore({ bytes, to: target, ...options });
}

const refused = (promise: Promise<unknown>): Promise<{ code: string; message: string }> => failure(promise);

/** Names left behind beside and inside the target. */
function litter(): string[] {
  const parent = join(target, '..');
  const names = existsSync(parent) ? readdirSync(parent) : [];
  const inside = existsSync(target) && statSync(target).isDirectory() ? readdirSync(target) : [];
  return [...names, ...inside].filter((name) => name.startsWith('.snapferry'));
}

describe('a whole snapshot', () => {
  test('into a directory that does not exist is the tree itself', async () => {
    const progress: Progress[] = [];
    const report = await run({ onProgress: (news) => progress.push(news) });
    expect(describeTree(target)).toEqual(describeTree(fixture.source, ['.snapferry']));
    expect(statSync(join(target, 'sparse')).blocks * 512).toBeLessThan(100_000);
    expect(report).toMatchObject({
      version: { name: version.name, guid: version.guid },
      to: target,
      files: 5,
      notices: [],
      missing: [],
    });
    expect(report.bytes).toBe(4 + 3 + 5 + 3 + (4 << 20));
    expect(progress.at(-1)).toMatchObject({ done: report.bytes, total: report.bytes });
    expect(litter()).toEqual([]);
    expect(childrenAlive()).toEqual([]);
  });

  test('into an empty directory is the same, its own mode and time included', async () => {
    mkdirSync(target, { recursive: true });
    const { ino } = statSync(target);
    await run();
    expect(statSync(target).ino).toBe(ino);
    expect(describeTree(target)).toEqual(describeTree(fixture.source, ['.snapferry']));
    expect(litter()).toEqual([]);
  });

  test('from a received copy is the same as from the source', async () => {
    await fixture.transfer(null, version);
    renameSync(fixture.source, `${fixture.source}-lost`);
    const { directoryHandler } = await import('../../../src/handlers/directory/handler.ts');
    const { contextWith, filesystem } = await import('../../support/directory-fixture.ts');
    const handler = directoryHandler({ datasets: [{ path: filesystem, directory: fixture.copy }] });
    const { bytes } = await handler.initialTransfer({ filesystem, version }, contextWith());
    await restore({ bytes, to: target });
    expect(describeTree(target)).toEqual(describeTree(`${fixture.source}-lost`, ['.snapferry']));
  });

  test('is refused whole if anything is in the way, and the first paths are named', async () => {
    mkdirSync(join(target, 'docs'), { recursive: true });
    writeFileSync(join(target, 'alone'), 'mine');
    writeFileSync(join(target, 'docs/letter'), 'mine');
    const before = describeTree(target);
    const { code, message } = await refused(run());
    expect(code).toBe('INVALID_REQUEST');
    expect(message).toMatch(/"alone", "docs\/letter"/);
    expect(describeTree(target)).toEqual(before);
  });

  test('is added to what is there when nothing is in the way', async () => {
    mkdirSync(join(target, 'docs'), { recursive: true, mode: 0o700 });
    writeFileSync(join(target, 'docs/mine'), 'mine');
    await run();
    expect(readFileSync(join(target, 'docs/mine'), 'utf8')).toBe('mine');
    expect(readFileSync(join(target, 'docs/letter'), 'utf8')).toBe('dear');
    expect(statSync(join(target, 'docs')).mode & 0o777).toBe(0o700);
    expect(statSync(join(target, 'docs/old')).mode & 0o777).toBe(0o500);
    expect(statSync(join(target, 'letter')).ino).toBe(statSync(join(target, 'docs/letter')).ino);
    expect(litter()).toEqual([]);
  });

  test('replaces what is in the way when told so, and removes nothing else', async () => {
    mkdirSync(join(target, 'docs'), { recursive: true });
    writeFileSync(join(target, 'alone'), 'mine');
    linkSync(join(target, 'alone'), join(target, 'kept'));
    writeFileSync(join(target, 'docs/old'), 'a file where a directory comes');
    mkdirSync(join(target, 'fifo'));
    await run({ overwrite: true });
    expect(readFileSync(join(target, 'alone'), 'utf8')).toBe('alone');
    expect(readFileSync(join(target, 'kept'), 'utf8')).toBe('mine');
    expect(readFileSync(join(target, 'docs/old/bill'), 'utf8')).toBe('pay');
    expect(lstatSync(join(target, 'fifo')).isFIFO()).toBe(true);
  });

  test('never replaces a directory that has something in it by a file', async () => {
    mkdirSync(join(target, 'alone'), { recursive: true });
    writeFileSync(join(target, 'alone/mine'), 'mine');
    const { code, message } = await refused(run({ overwrite: true }));
    expect(code).toBe('INVALID_REQUEST');
    expect(message).toContain('"alone"');
    expect(readFileSync(join(target, 'alone/mine'), 'utf8')).toBe('mine');
    expect(existsSync(join(target, 'letter'))).toBe(false);
  });

  test('never follows a symlink out of the directory', async () => {
    const outside = join(fixture.root, 'outside');
    mkdirSync(join(outside, 'old'), { recursive: true });
    writeFileSync(join(outside, 'letter'), 'outside');
    mkdirSync(target, { recursive: true });
    symlinkSync(outside, join(target, 'docs'));
    symlinkSync(join(outside, 'letter'), join(target, 'alone'));
    expect((await refused(run())).code).toBe('INVALID_REQUEST');
    await run({ overwrite: true });
    expect(readFileSync(join(outside, 'letter'), 'utf8')).toBe('outside');
    expect(readdirSync(outside).sort()).toEqual(['letter', 'old']);
    expect(readdirSync(join(outside, 'old'))).toEqual([]);
    expect(lstatSync(join(target, 'docs')).isDirectory()).toBe(true);
    expect(lstatSync(join(target, 'alone')).isFile()).toBe(true);
  });

  test('into something that is not a directory is refused', async () => {
    mkdirSync(join(target, '..'), { recursive: true });
    writeFileSync(target, 'x');
    expect((await refused(run())).code).toBe('INVALID_REQUEST');
    rmSync(target);
    symlinkSync('nowhere', target);
    expect((await refused(run())).code).toBe('INVALID_REQUEST');
    expect(readlinkSync(target)).toBe('nowhere');
  });
});

describe('parts of a snapshot', () => {
  test('come with the directories above them, and nothing else', async () => {
    const report = await run({ paths: ['docs/old/bill', './letter/'] });
    expect(Object.keys(describeTree(target))).toEqual(['', 'docs', 'docs/old', 'docs/old/bill', 'letter']);
    expect(readFileSync(join(target, 'letter'), 'utf8')).toBe('dear');
    expect(statSync(join(target, 'docs/old')).mode & 0o777).toBe(0o500);
    expect(statSync(join(target, 'docs/old')).mtimeMs).toBe(Date.parse('2001-02-03T04:05:06.5Z'));
    expect(report).toMatchObject({ files: 2, bytes: 7 });
  });

  test('a subtree whose hard links begin elsewhere has the content, and links within', async () => {
    await run({ paths: ['docs/old'] });
    const names = Object.keys(describeTree(target));
    expect(names).toEqual(['', 'docs', 'docs/old', 'docs/old/bill', 'docs/old/copy', 'docs/old/other copy']);
    expect(readFileSync(join(target, 'docs/old/other copy'), 'utf8')).toBe('dear');
    expect(statSync(join(target, 'docs/old/copy'))).toMatchObject({
      nlink: 2,
      ino: statSync(join(target, 'docs/old/other copy')).ino,
    });
  });

  test('also those whose name is not UTF-8 come with everything', async () => {
    await run({ paths: ['.'] });
    expect(describeTree(target)['\xff\n']).toBeDefined();
  });

  test.each([
    ['that do not exist', ['alone', 'docs/nothing', 'other']],
    ['with ..', ['../alone']],
    ['that are absolute', ['/alone']],
    ['that are a slash', ['/']],
    ['through a symlink', ['docs/link/letter']],
  ])('%s are an error before anything is written', async (_, paths) => {
    const { code, message } = await refused(run({ paths }));
    expect(code).toBe('INVALID_REQUEST');
    expect(message).toContain(paths.length > 1 ? '"docs/nothing", "other"' : paths[0]!.replace(/\/$/, ''));
    expect(existsSync(target)).toBe(false);
    expect(childrenAlive()).toEqual([]);
  });
});

test('a dry run reports the same and changes nothing', async () => {
  const dry = await run({ dryRun: true, paths: ['docs'] });
  expect(existsSync(join(fixture.root, 'restored'))).toBe(false);
  expect(await run({ paths: ['docs'] })).toEqual(dry);
  expect((await refused(run({ dryRun: true, paths: ['docs'] }))).code).toBe('INVALID_REQUEST');
});

test('a stream that is cut, damaged or cancelled leaves nothing behind', async () => {
  const stream = await fixture.stream(null, version);
  const cut = restore({ bytes: lend(stream.subarray(0, stream.length / 2)), to: target });
  expect((await refused(cut)).code).toBe('STREAM_TRUNCATED');
  const damaged = Buffer.from(stream.toString('latin1').replace('dear', 'beer'), 'latin1');
  expect((await refused(restore({ bytes: lend(damaged), to: target }))).code).toBe('DIGEST_MISMATCH');
  const abort = new AbortController();
  const onProgress = (): void => abort.abort();
  const cancelled = restore({ bytes: lend(stream, 512), to: target, signal: abort.signal, onProgress });
  expect((await refused(cancelled)).code).toBe('CANCELLED');
  expect(existsSync(target)).toBe(false);
  mkdirSync(target, { recursive: true });
  expect((await refused(restore({ bytes: lend(damaged), to: target }))).code).toBe('DIGEST_MISMATCH');
  expect(readdirSync(target)).toEqual([]);
  expect(litter()).toEqual([]);
});

test('only a full stream can be restored', async () => {
  const later = await fixture.snapshot();
  const { bytes } = await fixture.offer(version, later);
  expect((await refused(restore({ bytes, to: target }))).code).toBe('PROTOCOL_VIOLATION');
});

describePlatform('an unprivileged user', process.getuid!() === 0 ? null : 'this is not root', () => {
  test('gets true modes, into absent and existing directories, and hears about owners once', async () => {
    chmodSync(fixture.root, 0o755);
    const home = join(fixture.root, 'home');
    mkdirSync(home);
    chownSync(home, 65_534, 65_534);
    chmodSync(join(fixture.source, 'alone'), 0o4711);
    version = await fixture.snapshot();
    const stream = await fixture.stream(null, version);
    const program = join(import.meta.dirname, '../../fixtures/programs/restore-stream.ts');
    for (const [to, overwrite] of [
      ['new', false],
      ['.', false],
      ['new', true],
    ] as const) {
      const result = spawnSync(process.execPath, ['--import', 'tsx', program, join(home, to), String(overwrite)], {
        uid: 65_534,
        gid: 65_534,
        input: stream,
        encoding: 'utf8',
        maxBuffer: 1 << 24,
      });
      expect(result.stderr).toBe('');
      const { notices } = JSON.parse(result.stdout) as { notices: string[] };
      expect(notices).toHaveLength(2);
      expect(notices[0]).toMatch(/^the owners of \d+ files/);
      const restored = join(home, to);
      expect(statSync(join(restored, 'docs/old')).mode & 0o7777).toBe(0o500);
      expect(statSync(join(restored, 'alone')).mode & 0o7777).toBe(0o711);
      expect(readFileSync(join(restored, 'docs/old/copy'), 'utf8')).toBe('dear');
      expect(readdirSync(home).filter((name) => name.startsWith('.snapferry'))).toEqual([]);
    }
  });
});

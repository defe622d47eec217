import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openStore, type Store } from '../../../src/handlers/directory/store.ts';
import { takeSnapshot, type SnapshotOptions, type SnapshotResult } from '../../../src/handlers/directory/snapshot.ts';
import { verifySnapshot } from '../../../src/handlers/directory/verify.ts';
import {
  describeTree,
  hasAcl,
  hasAttr,
  hasProgram,
  isRoot,
  linkGroups,
  listenAt,
  makeKeptTree,
  raw,
  sparseBytes,
} from './kept-tree.ts';

const source = join(import.meta.dirname, '../../../src/handlers/directory');
const snapshotModule = pathToFileURL(join(source, 'snapshot.ts')).href;

const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;

let live: string;
beforeEach(() => {
  live = fs.mkdtempSync(join(tmpdir(), 'snapferry-snapshot-'));
});
afterEach(() => {
  execFileSync('chmod', ['-R', 'u+rwX', live]);
  execFileSync('rm', ['-rf', live]);
});

const file = (name: string, content: string): void => fs.writeFileSync(join(live, name), content);
const inode = (path: string): bigint => fs.lstatSync(path, { bigint: true }).ino;
const store = (): Promise<Store> => openStore(live);
const tree = (name: string): string => join(live, '.snapferry', 'snapshots', name);
const take = (name: string, options: SnapshotOptions = {}): Promise<SnapshotResult> =>
  takeSnapshot(live, { name, ...options });

/** What a snapshot of the kept tree looks like: without root, its owner can write to every directory. */
const describeKept = (): string =>
  isRoot ? describeTree(live) : describeTree(live).replace('"read-only" d 555', '"read-only" d 755');

/** Everything below a directory with all that a change could show, as `find` sees it. */
function fingerprint(directory: string): string {
  return execFileSync('find', ['.', '-printf', '%p %i %C@ %T@ %s %m\\n'], { cwd: directory, encoding: 'latin1' });
}

async function expectSound(name: string): Promise<void> {
  const report = await verifySnapshot(live, name);
  expect(report.damaged).toEqual([]);
}

/** Runs something when files have been copied for the nth time but not been looked at again yet. */
function onCopied(nth: number | 'always', change: () => void): SnapshotOptions {
  let count = 0;
  return {
    onProgress: ({ message }) => {
      if (message === 'copying' && (++count === nth || nth === 'always')) change();
    },
  };
}

describe('a snapshot', () => {
  it('keeps everything', async () => {
    makeKeptTree(live);
    const server = await listenAt(join(live, 'socket'));
    let expected = '';
    try {
      const { notices, missing, delta, version } = await take('one');
      expect(missing).toEqual([]);
      const unapplied = 'recorded, but not applied to the files of the snapshot by this user: mode';
      const leftOut = 'socket: left out, as no snapshot can hold a socket or a device';
      expect(notices).toEqual(isRoot ? [leftOut] : [leftOut, unapplied]);
      expect(delta.removed + delta.changed).toBe(0);
      expect(version?.name).toBe('one');
      expected = describeKept();
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
    expect(describeTree(tree('one')).split('\n')).toEqual(expected.split('\n'));
    expect(linkGroups(tree('one'))).toEqual(linkGroups(live));
    expect(linkGroups(live).length).toBe(1);
    const blocks = fs.statSync(join(tree('one'), 'sparse')).blocks;
    expect(blocks * 512).toBeLessThan(sparseBytes / 8);
    const entries = await (await store()).entries('one');
    expect(entries.find(({ path }) => path === 'harder')).toMatchObject({ type: 'hardlink', target: 'd-/hardest' });
    expect(entries.find(({ path }) => path === 'setuid')).toMatchObject({
      mode: 0o4755,
      mtimeNs: -310478399999999999n,
    });
    await expectSound('one');
  });

  it('keeps a device out and says so', async ({ skip }) => {
    if (!isRoot) skip('mknod needs root');
    execFileSync('mknod', [join(live, 'null'), 'c', '1', '3']);
    expect((await take('one')).notices).toEqual(['null: left out, as no snapshot can hold a socket or a device']);
    expect(fs.readdirSync(tree('one'))).toEqual([]);
  });

  it('of an empty directory is one', async () => {
    const { header } = await take('one');
    expect(header).toMatchObject({ entries: 1, bytes: 0, missing: [], notApplied: [] });
  });

  it('is named by its time, and never like another', async () => {
    const now = (): Date => new Date('2026-11-21T01:02:03.999Z');
    const first = await takeSnapshot(live, { now });
    const second = await takeSnapshot(live, { now, force: true });
    expect(first.version).toMatchObject({
      name: 'snapferry_20261121_010203_999',
      creation: '2026-11-21T01:02:03.999Z',
    });
    expect(second.version).toMatchObject({ name: 'snapferry_20261121_010204_000', createTXG: 2n });
    expect(second.version?.guid).not.toBe(first.version?.guid);
  });

  it('refuses a name that is taken or none, and a directory that is none', async () => {
    await take('one');
    await expect(take('one')).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
    await expect(take('a/b')).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
    file('f', '');
    await expect(takeSnapshot(join(live, 'f'))).rejects.toMatchObject({ code: 'DATASET_NOT_FOUND' });
    await expect(takeSnapshot(join(live, 'absent'))).rejects.toMatchObject({ code: 'DATASET_NOT_FOUND' });
    const copy = join(live, 'copy');
    await openStore(copy, { kind: 'copy', create: true });
    await expect(takeSnapshot(copy)).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  });

  it('leaves out what is excluded, by the rules of gitignore', async () => {
    for (const name of ['keep.txt', 'drop.tmp', 'Drop.TMP', 'important.tmp', '..odd']) file(name, '');
    fs.mkdirSync(join(live, 'cache/deep'), { recursive: true });
    fs.mkdirSync(join(live, 'sub/cache'), { recursive: true });
    file('cache/deep/x', '');
    file('sub/cache/y', '');
    const exclude = ['*.tmp', '!important.tmp', '/cache/', '# a comment'];
    await take('one', { exclude });
    const paths = (await (await store()).entries('one')).map(({ path }) => path);
    expect(paths).toEqual(['', '..odd', 'Drop.TMP', 'important.tmp', 'keep.txt', 'sub', 'sub/cache', 'sub/cache/y']);
    const { delta } = await take('two', { exclude: ['sub'] });
    expect(delta).toMatchObject({ added: 4, removed: 3 });
    await expectSound('two');
  });
});

describe('a later snapshot', () => {
  it('is not taken when nothing changed, unless forced', async () => {
    makeKeptTree(live);
    await take('one');
    const before = fingerprint(join(live, '.snapferry', 'snapshots'));
    for (let round = 0; round < 2; round++) {
      expect(await take('two')).toMatchObject({ version: null, header: null, isTaken: false });
    }
    expect(fingerprint(join(live, '.snapferry', 'snapshots'))).toBe(before);
    const { delta, isTaken } = await take('three', { force: true });
    expect([isTaken, delta]).toEqual([true, { added: 0, changed: 0, removed: 0, bytes: 0 }]);
    const [one, three] = await Promise.all([(await store()).header('one'), (await store()).header('three')]);
    expect(three.manifestSha256).toBe(one.manifestSha256);
    expect(describeTree(tree('three'))).toBe(describeKept());
  });

  it('shares what did not change and holds what did; the first stays as it was', async () => {
    makeKeptTree(live);
    await take('one');
    const before = describeTree(tree('one'));
    fs.appendFileSync(join(live, 'big'), 'more');
    fs.rmSync(join(live, 'empty'));
    fs.rmSync(raw(live, 'd\xff'), { recursive: true });
    file('new', 'new');
    fs.renameSync(join(live, 'Grüße'), join(live, 'renamed'));
    fs.chmodSync(join(live, 'new\nline'), 0o600);
    const { delta } = await take('two');
    expect(delta).toEqual({ added: 2, changed: 3, removed: 5, bytes: 3 * 1024 * 1024 + 21 + 3 + 4 + 7 });
    expect(describeTree(tree('one'))).toBe(before);
    expect(describeTree(tree('two')).split('\n')).toEqual(describeKept().split('\n'));
    for (const name of ['plain', 'sparse', 'hard', 'harder', 'fifo', 'out', 'caf\xe9']) {
      const [one, two] = ['one', 'two'].map((snapshot) => fs.lstatSync(raw(tree(snapshot), name)).ino);
      expect(two, name).toBe(one);
    }
    expect(inode(join(tree('two'), 'big'))).not.toBe(inode(join(tree('one'), 'big')));
    await expectSound('one');
    await expectSound('two');
  });

  it('is not changed by writing to the live file in place', async () => {
    file('f', 'before');
    await take('one');
    file('f', 'after');
    expect(fs.readFileSync(join(tree('one'), 'f'), 'utf8')).toBe('before');
    await expectSound('one');
  });

  it('sees a change that hides its time and size', async () => {
    file('f', 'aaaa');
    const { mtime } = fs.statSync(join(live, 'f'));
    await take('one');
    file('f', 'bbbb');
    fs.utimesSync(join(live, 'f'), mtime, mtime);
    await take('two');
    expect(fs.readFileSync(join(tree('two'), 'f'), 'utf8')).toBe('bbbb');
    expect(fs.readFileSync(join(tree('one'), 'f'), 'utf8')).toBe('aaaa');
  });

  it('reads a file again that may have changed within one tick of the clock', async () => {
    file('f', 'aaaa');
    fs.utimesSync(join(live, 'f'), 1, 1);
    await take('one');
    // As if the second write had come within the tick of the first: all that lstat tells is the same.
    fs.writeFileSync(join(live, 'f'), 'bbbb');
    fs.utimesSync(join(live, 'f'), 1, 1);
    const { root } = await store();
    const version = (await (await store()).newest())!;
    const index = await import('../../../src/handlers/directory/snapshot-index.ts');
    const old = (await index.readLiveIndex(root, version.guid, 2))!;
    const stats = fs.lstatSync(join(live, 'f'), { bigint: true });
    const stamps = [old.stamps[0]!, `${stats.ino} ${stats.ctimeNs}`];
    await index.prepareLiveIndex(root, { ...old, stamps, scannedNs: stats.ctimeNs + 1_000_000_000n });
    await index.confirmLiveIndex(root);
    expect((await take('two')).delta).toMatchObject({ changed: 1, bytes: 4 });
    expect(fs.readFileSync(join(tree('two'), 'f'), 'utf8')).toBe('bbbb');
  });

  it.each<[string, (root: string) => void]>([
    ['is gone', (root) => fs.rmSync(join(root, 'live-index.gz'))],
    ['is damaged', (root) => fs.writeFileSync(join(root, 'live-index.gz'), 'x')],
    [
      'waits under its first name',
      (root) => fs.renameSync(join(root, 'live-index.gz'), join(root, 'live-index.next.gz')),
    ],
  ])('copes when the index %s', async (_what, harm) => {
    makeKeptTree(live);
    await take('one');
    harm((await store()).root);
    expect(await take('two')).toMatchObject({ isTaken: false });
    fs.writeFileSync(join(live, 'empty'), 'x');
    expect((await take('three')).delta).toMatchObject({ changed: 1 });
    await expectSound('three');
  });

  it('follows every change of type', async () => {
    const kinds: Record<string, (path: string) => void> = {
      file: (path) => fs.writeFileSync(path, 'f'),
      directory: (path) => {
        fs.mkdirSync(path);
        fs.writeFileSync(join(path, 'inside'), 'i');
      },
      symlink: (path) => fs.symlinkSync('directory-file', path),
      fifo: (path) => execFileSync('mkfifo', [path]),
    };
    const pairs = Object.keys(kinds).flatMap((from) => Object.keys(kinds).map((to) => [from, to] as const));
    for (const [from, to] of pairs) kinds[from]!(join(live, `${from}-${to}`));
    await take('one');
    for (const [from, to] of pairs) {
      fs.rmSync(join(live, `${from}-${to}`), { recursive: true });
      kinds[to]!(join(live, `${from}-${to}`));
    }
    await take('two');
    expect(describeTree(tree('two'))).toBe(describeTree(live));
    await expectSound('one');
    await expectSound('two');
  });

  it('follows hard links made, broken and moved', async () => {
    file('b', 'shared');
    fs.linkSync(join(live, 'b'), join(live, 'c'));
    file('x', 'single');
    await take('one');
    fs.linkSync(join(live, 'b'), join(live, 'a'));
    fs.linkSync(join(live, 'x'), join(live, 'y'));
    await take('two');
    expect(linkGroups(tree('two')).sort()).toEqual([
      ['a', 'b', 'c'],
      ['x', 'y'],
    ]);
    fs.rmSync(join(live, 'a'));
    fs.rmSync(join(live, 'y'));
    file('y', 'other');
    await take('three');
    expect(linkGroups(tree('three'))).toEqual([['b', 'c']]);
    file('b', 'SHARED');
    await take('four');
    expect(fs.readFileSync(join(tree('four'), 'c'), 'utf8')).toBe('SHARED');
    expect(linkGroups(tree('four'))).toEqual([['b', 'c']]);
    for (const name of ['one', 'two', 'three', 'four']) await expectSound(name);
  });

  it('sees attributes come and go', async ({ skip }) => {
    if (!hasAttr || !hasAcl) skip('setfattr or setfacl is not installed');
    file('plain', '');
    file('empty', '');
    fs.mkdirSync(join(live, 'empty directory'));
    await take('one');
    const names = ['plain', 'empty directory'].map((name) => join(live, name));
    execFileSync('setfattr', ['-n', 'user.a', '-v', '1', ...names]);
    expect((await take('two')).delta.changed).toBe(2);
    expect(describeTree(tree('two'))).toBe(describeTree(live));
    execFileSync('setfacl', ['-m', 'u:4242:r', ...names]);
    await take('three');
    expect(describeTree(tree('three'))).toBe(describeKept());
    execFileSync('setfattr', ['-x', 'user.a', ...names]);
    execFileSync('setfacl', ['-b', ...names]);
    expect((await take('four')).delta.changed).toBe(2);
    expect(describeTree(tree('four'))).toBe(describeTree(live));
    expect(describeTree(tree('two'))).toContain('user.a');
    const generations = (await (await store()).entries('four')).map(({ generation }) => generation);
    // The root, then what was touched thrice, and an untouched file.
    expect(generations).toEqual([0, 0, 3, 3]);
  });
});

describe('a file that changes while it is read', () => {
  it('is read again', async () => {
    file('f', 'first');
    fs.mkdirSync(join(live, 'd'));
    file('d/g', 'g');
    await take(
      'one',
      onCopied(1, () => file('f', 'second, longer')),
    );
    expect(fs.readFileSync(join(tree('one'), 'f'), 'utf8')).toBe('second, longer');
    await expectSound('one');
    expect((await take('two')).isTaken).toBe(false);
  });

  it('is kept as it was read last when it never stops, and read again the next time', async () => {
    let count = 0;
    file('log', '0');
    const { notices } = await take(
      'one',
      onCopied('always', () => fs.appendFileSync(join(live, 'log'), `${++count}`)),
    );
    expect(notices).toEqual(['log: kept changing while it was read; the last reading was kept']);
    expect(count).toBe(5);
    expect(fs.readFileSync(join(tree('one'), 'log'), 'utf8')).toBe('01234');
    await expectSound('one');
    await take('two');
    expect(fs.readFileSync(join(tree('two'), 'log'), 'utf8')).toBe('012345');
  });

  it('is dropped when it vanishes, and its other names stay', async () => {
    file('a', 'shared');
    fs.linkSync(join(live, 'a'), join(live, 'b'));
    fs.linkSync(join(live, 'a'), join(live, 'c'));
    file('z', 'z');
    const { missing } = await take(
      'one',
      onCopied(1, () => {
        fs.rmSync(join(live, 'a'));
        fs.rmSync(join(live, 'z'));
      }),
    );
    expect(missing).toEqual([]);
    expect(describeTree(tree('one'))).toBe(describeTree(live));
    expect(linkGroups(tree('one'))).toEqual([['b', 'c']]);
    await expectSound('one');
  });

  it('is left to the next snapshot when it becomes a directory', async () => {
    file('f', 'f');
    const { notices } = await take(
      'one',
      onCopied(1, () => {
        fs.rmSync(join(live, 'f'));
        fs.mkdirSync(join(live, 'f'));
        file('f/x', 'x');
      }),
    );
    expect(notices).toEqual(['f: became something else while it was read and comes with the next snapshot']);
    expect(fs.readdirSync(tree('one'))).toEqual([]);
    await expectSound('one');
    await take('two');
    expect(describeTree(tree('two'))).toBe(describeTree(live));
  });

  it('does not stop the rest when its whole directory vanishes', async () => {
    fs.mkdirSync(join(live, 'd'));
    file('d/f', 'f');
    file('g', 'g');
    await take(
      'one',
      onCopied(1, () => fs.rmSync(join(live, 'd'), { recursive: true })),
    );
    await expectSound('one');
    expect(fs.readFileSync(join(tree('one'), 'g'), 'utf8')).toBe('g');
    await take('two');
    expect(fs.readdirSync(tree('two'))).toEqual(['g']);
    await expectSound('two');
  });

  it('may be a name that came back', async () => {
    file('f', 'same');
    const { mtime } = fs.statSync(join(live, 'f'));
    await take('one');
    fs.rmSync(join(live, 'f'));
    file('f', 'same');
    fs.utimesSync(join(live, 'f'), mtime, mtime);
    await take('two');
    await expectSound('two');
  });
});

describe('a dry run', () => {
  it('writes nothing, not even a store, and says what a run then does', async () => {
    makeKeptTree(live);
    const before = fingerprint(live);
    const dry = await takeSnapshot(live, { dryRun: true });
    expect(fingerprint(live)).toBe(before);
    expect(dry).toMatchObject({ version: null, isTaken: true });
    expect((await take('one')).delta).toEqual(dry.delta);

    fs.appendFileSync(join(live, 'big'), 'more');
    fs.rmSync(raw(live, 'd\xff'), { recursive: true });
    fs.rmSync(join(live, 'hard'));
    file('new', 'new');
    file('harder', 'changed under all its names');
    const again = fingerprint(live);
    const second = await takeSnapshot(live, { dryRun: true });
    expect(fingerprint(live)).toBe(again);
    expect((await take('two')).delta).toEqual(second.delta);

    expect(await takeSnapshot(live, { dryRun: true })).toMatchObject({ isTaken: false });
    expect(await takeSnapshot(live, { dryRun: true, force: true })).toMatchObject({ isTaken: true });
  });
});

describe('a failure', () => {
  it('leaves nothing behind when cancelled', async () => {
    makeKeptTree(live);
    await take('one');
    const before = fs.readdirSync(join(live, '.snapferry'), { recursive: true }).sort();
    fs.appendFileSync(join(live, 'big'), 'more');
    const controller = new AbortController();
    const options = onCopied(1, () => controller.abort());
    await expect(take('two', { ...options, signal: controller.signal })).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(fs.readdirSync(join(live, '.snapferry'), { recursive: true }).sort()).toEqual(before);
    await take('two');
    await expectSound('two');
  });

  it.each(['scanning', 'comparing', 'copying', 'committing'])(
    'by kill -9 while %s leaves the old state and no litter',
    async (moment) => {
      // Scanning is reported every thousand names only.
      const files = moment === 'scanning' ? 1200 : 100;
      for (let index = 0; index < files; index++) file(`f${index}`, `${index}`);
      await take('one');
      fs.writeFileSync(join(live, 'f7'), 'changed');
      const code = `const { takeSnapshot } = await import(${JSON.stringify(snapshotModule)});
        await takeSnapshot(${JSON.stringify(live)}, { name: 'two', onProgress: ({ message }) => {
          if (message === ${JSON.stringify(moment)}) process.kill(process.pid, 'SIGKILL');
        } });`;
      const argv = ['--import', tsx, '--input-type=module', '-e', code];
      expect(spawnSync(process.execPath, argv, { stdio: 'inherit' }).signal).toBe('SIGKILL');
      expect((await (await store()).versions()).map(({ name }) => name)).toEqual(['one']);
      await expectSound('one');
      await take('two');
      expect(describeTree(tree('two'))).toBe(describeTree(live));
      expect(fs.readdirSync((await store()).stagingDirectory)).toEqual([]);
      await expectSound('two');
    },
  );

  it('is BUSY while another takes one, who is not disturbed', async () => {
    file('f', 'f');
    let second: Promise<SnapshotResult> | null = null;
    const options = onCopied(1, () => {
      second = take('two');
      second.catch(() => undefined);
    });
    await take('one', options);
    await expect(second).rejects.toMatchObject({ code: 'BUSY' });
    await expectSound('one');
  });

  it('of the disk is an error, not a snapshot', async ({ skip }) => {
    if (!isRoot || !hasProgram('mount')) skip('mounting needs root');
    const mounted = join(live, 'small');
    fs.mkdirSync(mounted);
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'snapferry-test', mounted], { stdio: 'pipe' });
    } catch {
      skip('mount is not permitted here');
    }
    try {
      fs.writeFileSync(join(mounted, 'half'), Buffer.alloc(600 * 1024, 'x'));
      await expect(takeSnapshot(mounted)).rejects.toMatchObject({
        code: 'SOURCE_FAILED',
        message: expect.stringContaining('No space left on device') as string,
      });
      const found = await openStore(mounted);
      expect(await found.versions()).toEqual([]);
      expect(fs.readdirSync(found.stagingDirectory)).toEqual([]);
    } finally {
      execFileSync('umount', [mounted]);
    }
  });
});

describe('a user who is not root', () => {
  it('takes snapshots, and is told what he could not read or keep', async ({ skip }) => {
    if (!isRoot || !hasProgram('setpriv')) skip('needs root to become somebody else');
    makeKeptTree(live);
    fs.mkdirSync(join(live, 'locked'), { mode: 0o700 });
    file('secret', 'not for you');
    fs.chmodSync(join(live, 'secret'), 0o600);
    execFileSync(
      'sh',
      ['-c', 'find . ! -name foreign ! -name dangling ! -name secret ! -name locked -exec chown -h 65534:65534 {} +'],
      { cwd: live },
    );
    fs.chmodSync(join(live, 'setuid'), 0o4755);
    fs.chmodSync(join(live, 'sticky'), 0o3777);
    const verifyModule = pathToFileURL(join(source, 'verify.ts')).href;
    const code = `const { takeSnapshot } = await import(${JSON.stringify(snapshotModule)});
      const { verifySnapshot } = await import(${JSON.stringify(verifyModule)});
      const { appendFileSync, chmodSync } = await import('node:fs');
      const one = await takeSnapshot('.', { name: 'one' });
      chmodSync('read-only', 0o755);
      appendFileSync('read-only/new', 'x');
      chmodSync('read-only', 0o555);
      const two = await takeSnapshot('.', { name: 'two' });
      const three = await takeSnapshot('.', { name: 'three' });
      const damaged = (await Promise.all(['one', 'two'].map((name) => verifySnapshot('.', name)))).map((r) => r.damaged);
      process.stdout.write(JSON.stringify({ one, two, three, damaged }, (_key, value) => typeof value === 'bigint' ? String(value) : value));`;
    const identity = ['--reuid', '65534', '--regid', '65534', '--clear-groups', '--'];
    const node = [process.execPath, '--import', tsx, '--input-type=module', '-e', code];
    const run = spawnSync('setpriv', [...identity, ...node], { cwd: live, encoding: 'utf8' });
    expect(run.stderr).toBe('');
    const { one, two, three, damaged } = JSON.parse(run.stdout) as Record<'one' | 'two' | 'three', SnapshotResult> & {
      damaged: unknown[];
    };
    expect(one.missing).toEqual(['locked', 'secret']);
    expect(one.notices).toEqual(['recorded, but not applied to the files of the snapshot by this user: mode, owner']);
    expect(two).toMatchObject({ isTaken: true, missing: ['locked', 'secret'] });
    expect(three).toMatchObject({ isTaken: false });
    expect(damaged).toEqual([[], []]);
    const entries = await (await store()).entries('two');
    const find = (path: string): unknown => entries.find((entry) => entry.path === path);
    expect(find('foreign')).toMatchObject({ uid: 5_000_000, gid: 5_000_001 });
    expect(find('read-only')).toMatchObject({ mode: 0o555 });
    expect(find('locked')).toMatchObject({ mode: 0o700, uid: 0 });
    expect(find('secret')).toBeUndefined();
    expect(fs.readFileSync(join(tree('two'), 'read-only/new'), 'utf8')).toBe('x');
  });
});

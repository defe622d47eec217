import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  ftruncateSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openStore } from '../../../src/handlers/directory/store.ts';
import { verifySnapshot } from '../../../src/handlers/directory/verify.ts';
import {
  collect,
  describeAttributes,
  describeTree,
  DirectoryFixture,
  failure,
  filesystem,
  lend,
} from '../../support/directory-fixture.ts';
import { describePlatform, missingPrograms } from '../../support/platform.ts';

let fixture: DirectoryFixture;
beforeEach(() => {
  fixture = new DirectoryFixture();
});
afterEach(() => fixture.cleanup());

const at = (path: string): string => join(fixture.source, path);
const bytesAt = (path: string): Buffer => Buffer.from(`${fixture.source}/${path}`, 'latin1');

async function expectWhole(name: string): Promise<void> {
  const { damaged } = await verifySnapshot(fixture.copy, name);
  expect(damaged).toEqual([]);
}

/** All that an ordinary user can make. */
function makeTree(): void {
  mkdirSync(at('d/empty'), { recursive: true });
  writeFileSync(at('d/file'), 'content');
  writeFileSync(at('d/nothing'), '');
  linkSync(at('d/file'), at('another name'));
  linkSync(at('d/file'), at('d/z'));
  symlinkSync('nowhere/at all', at('dangling'));
  symlinkSync('../../../etc/passwd', at('out of the tree'));
  symlinkSync('/absolute', at('d/absolute'));
  writeFileSync(bytesAt('not \xff\xfe utf8'), 'raw');
  writeFileSync(bytesAt('new\nline'), 'nl');
  writeFileSync(at('-option'), 'dash');
  writeFileSync(at('back\\slash \\t *.c [x] ?'), 'quote');
  writeFileSync(at('schön ☃'), 'utf8');
  mkdirSync(bytesAt(`deep/${`${'n'.repeat(200)}/`.repeat(5)}`), { recursive: true });
  writeFileSync(bytesAt(`deep/${`${'n'.repeat(200)}/`.repeat(5)}\xe9`), 'far down');
  execFileSync('mkfifo', [at('fifo')]);
  writeFileSync(at('d/private'), 'x', { mode: 0o600 });
  writeFileSync(at('setuid'), 'x');
  chmodSync(at('setuid'), 0o6755);
  mkdirSync(at('sticky'));
  chmodSync(at('sticky'), 0o1777);
  execFileSync('touch', ['-h', '-d', '2001-02-03T04:05:06.123456789Z', at('d/file'), at('dangling'), at('fifo')]);
  execFileSync('touch', ['-d', '1969-12-31T23:59:58.000000001Z', at('d/nothing')]);
  const sparse = openSync(at('sparse'), 'w');
  ftruncateSync(sparse, 8 << 20);
  writeSync(sparse, Buffer.alloc(5000, 1), 0, 5000, 3 << 20);
  closeSync(sparse);
  writeFileSync(at('all hole'), '');
  truncateSync(at('all hole'), 1 << 20);
  writeFileSync(at('large'), Buffer.alloc(700_001, 'large content'));
  execFileSync('touch', ['-d', '2002-01-01T00:00:00.987654321Z', at('d'), fixture.source]);
}

describe('a full transfer', () => {
  test('carries over everything, and what is sparse stays so', async () => {
    makeTree();
    const version = await fixture.snapshot();
    const result = await fixture.transfer(null, version);
    expect(result).toEqual({ notices: [], missing: [] });
    expect(describeTree(fixture.copied(version))).toEqual(describeTree(fixture.sent(version)));
    expect(statSync(join(fixture.copied(version), 'sparse')).blocks * 512).toBeLessThan(1 << 20);
    expect(statSync(join(fixture.copied(version), 'all hole')).blocks).toBe(0);
    await expectWhole(version.name);
    expect(fixture.staging()).toEqual([]);
    const [received] = (await fixture.sink.filesystemVersions(filesystem))!;
    expect(received).toMatchObject({ ...version, createTXG: 1n });
  });

  test('reports what the source could not read, and skips a socket', async () => {
    const server = createServer().listen(at('socket'));
    await new Promise((resolve) => server.once('listening', resolve));
    writeFileSync(at('file'), 'x');
    const version = await fixture.snapshot();
    await new Promise((resolve) => server.close(resolve));
    await fixture.transfer(null, version);
    expect(Object.keys(describeTree(fixture.copied(version)))).toEqual(['', 'file']);
  });

  test('of an empty directory makes an empty snapshot', async () => {
    const version = await fixture.snapshot();
    await fixture.transfer(null, version);
    expect(readdirSync(fixture.copied(version))).toEqual([]);
    await expectWhole(version.name);
  });
});

describePlatform('as root', process.getuid!() === 0 ? null : 'this is not root', () => {
  test('owners beyond 21 bits and of symlinks are kept', async () => {
    writeFileSync(at('big id'), 'x');
    chownSync(at('big id'), 5_000_000, 4_294_967_294);
    symlinkSync('x', at('link'));
    execFileSync('chown', ['-h', '1234:4321', at('link')]);
    writeFileSync(at('mode 0'), 'x', { mode: 0 });
    chmodSync(at('mode 0'), 0);
    const version = await fixture.snapshot();
    await fixture.transfer(null, version);
    expect(describeTree(fixture.copied(version))).toEqual(describeTree(fixture.sent(version)));
    await expectWhole(version.name);
  });
});

describePlatform('extended attributes and ACLs', missingPrograms(['getfattr', 'setfacl'], 'attr and acl'), () => {
  test('are kept byte for byte, also when only they change', async () => {
    mkdirSync(at('d'));
    writeFileSync(at('d/file'), 'x');
    linkSync(at('d/file'), at('second name'));
    execFileSync('setfattr', ['-n', 'user.bytes', '-v', '0x000a3dff', at('d/file')]);
    execFileSync('setfattr', ['-n', 'user.equals=sign', '-v', 'y', at('d/file')]);
    execFileSync('setfattr', ['-n', 'user.empty', at('d')]);
    execFileSync('setfacl', ['-m', 'u:1234:rx,g:4321:w', at('d/file')]);
    execFileSync('setfacl', ['-d', '-m', 'u:1234:rwx', at('d')]);
    const one = await fixture.snapshot();
    await fixture.transfer(null, one);
    expect(describeAttributes(fixture.copied(one))).toEqual(describeAttributes(fixture.sent(one)));
    execFileSync('setfattr', ['-x', 'user.bytes', at('d/file')]);
    execFileSync('setfacl', ['-x', 'u:1234', at('d/file')]);
    const two = await fixture.snapshot();
    await fixture.transfer(one, two);
    expect(describeAttributes(fixture.copied(two))).toEqual(describeAttributes(fixture.sent(two)));
    expect(describeAttributes(fixture.copied(two))).not.toEqual(describeAttributes(fixture.copied(one)));
    expect(describeAttributes(fixture.copied(one))).toEqual(describeAttributes(fixture.sent(one)));
  });
});

/** Each leads from the tree before it to the next. */
const changes: Readonly<Record<string, () => void>> = {
  'content, in place': () => writeFileSync(at('d/private'), 'changed'),
  'a hard-linked content': () => writeFileSync(at('d/file'), 'another content'),
  deleted: () => unlinkSync(at('large')),
  'a subtree deleted': () => rmSync(at('deep'), { recursive: true }),
  renamed: () => renameSync(at('d'), at('moved')),
  'a directory becomes a file': () => {
    rmSync(at('moved/empty'), { recursive: true });
    writeFileSync(at('moved/empty'), 'f');
  },
  'a file becomes a directory': () => {
    rmSync(at('moved/empty'));
    mkdirSync(at('moved/empty'));
    writeFileSync(at('moved/empty/in'), 'i');
  },
  'a symlink becomes a directory': () => {
    unlinkSync(at('out of the tree'));
    mkdirSync(at('out of the tree'));
    writeFileSync(at('out of the tree/in'), 'x');
  },
  'a directory becomes a symlink': () => {
    rmSync(at('out of the tree'), { recursive: true });
    symlinkSync('/tmp', at('out of the tree'));
  },
  'a full directory becomes a fifo': () => {
    rmSync(at('moved/empty'), { recursive: true });
    execFileSync('mkfifo', [at('moved/empty')]);
  },
  'a hard link added to an old file': () => linkSync(at('schön ☃'), at('a link before it')),
  'the first name of a hard link removed': () => unlinkSync(at('a link before it')),
  'a hard link split into two files': () => {
    unlinkSync(at('moved/z'));
    writeFileSync(at('moved/z'), 'another content');
  },
  'two files joined into a hard link': () => {
    unlinkSync(at('moved/z'));
    linkSync(at('another name'), at('moved/z'));
  },
  'modes alone': () => {
    chmodSync(at('sticky'), 0o750);
    chmodSync(at('setuid'), 0o644);
  },
  'times alone': () => {
    lutimesSync(at('dangling'), 5, 5);
    lutimesSync(at('sticky'), 6, 6);
  },
  'another target': () => {
    unlinkSync(at('dangling'));
    symlinkSync('elsewhere', at('dangling'));
  },
  'a sparse file filled a little': () => {
    const file = openSync(at('sparse'), 'r+');
    writeSync(file, 'data', 1000);
    closeSync(file);
  },
  nothing: () => undefined,
};

describe('incremental transfers', () => {
  test('follow every kind of change, and never touch an older snapshot', async () => {
    makeTree();
    let from = await fixture.snapshot();
    await fixture.transfer(null, from);
    const before: [string, Record<string, string>][] = [[fixture.copied(from), describeTree(fixture.copied(from))]];
    for (const [what, change] of Object.entries(changes)) {
      change();
      const to = await fixture.snapshot();
      await fixture.transfer(from, to);
      expect(describeTree(fixture.copied(to)), what).toEqual(describeTree(fixture.sent(to)));
      expect(describeTree(fixture.copied(to), ['.snapferry']), what).toEqual(
        describeTree(fixture.source, ['.snapferry']),
      );
      before.push([fixture.copied(to), describeTree(fixture.copied(to))]);
      from = to;
    }
    for (const [tree, described] of before) expect(describeTree(tree)).toEqual(described);
    for (const { name } of (await fixture.sink.filesystemVersions(filesystem))!) await expectWhole(name);
  }, 60_000);

  test('share what did not change with the snapshot before', async () => {
    writeFileSync(at('same'), 'x');
    writeFileSync(at('other'), 'x');
    const one = await fixture.snapshot();
    await fixture.transfer(null, one);
    writeFileSync(at('other'), 'y');
    const two = await fixture.snapshot();
    await fixture.transfer(one, two);
    const inode = (tree: string, name: string): number => statSync(join(tree, name)).ino;
    expect(inode(fixture.copied(two), 'same')).toBe(inode(fixture.copied(one), 'same'));
    expect(inode(fixture.copied(two), 'other')).not.toBe(inode(fixture.copied(one), 'other'));
  });

  test('skip snapshots in between', async () => {
    writeFileSync(at('a'), '1');
    const one = await fixture.snapshot();
    await fixture.transfer(null, one);
    writeFileSync(at('b'), '2');
    await fixture.snapshot();
    rmSync(at('a'));
    const three = await fixture.snapshot();
    await fixture.transfer(one, three);
    expect(describeTree(fixture.copied(three))).toEqual(describeTree(fixture.sent(three)));
  });
});

describe('a receive is refused', () => {
  test('in another format, and the sender is told to stop', async () => {
    const version = await fixture.snapshot();
    let isReturned = false;
    const bytes = {
      [Symbol.asyncIterator]: () => ({
        next: () => new Promise<never>(() => undefined),
        return: () => {
          isReturned = true;
          return Promise.resolve({ value: undefined, done: true as const });
        },
      }),
    };
    const received = fixture.sink.receive(
      { filesystem, from: null, to: version, format: 'zfs', resumed: false },
      bytes,
    );
    expect(await failure(received)).toMatchObject({ code: 'STREAM_FORMAT_MISMATCH' });
    expect(isReturned).toBe(true);
  });

  test('when the bytes are no directory stream at all', async () => {
    const version = await fixture.snapshot();
    const bytes = lend(Buffer.alloc(4096, 'not an archive'));
    const received = fixture.sink.receive({ filesystem, from: null, to: version, format: null, resumed: false }, bytes);
    expect(await failure(received)).toMatchObject({ code: 'STREAM_FORMAT_MISMATCH' });
  });

  test('when the snapshot is here already, or its name is', async () => {
    const version = await fixture.snapshot();
    const stream = await fixture.stream(null, version);
    await fixture.receive(null, version, lend(stream));
    expect(await failure(fixture.receive(null, version, lend(stream)))).toMatchObject({ code: 'INVALID_REQUEST' });
    const other = { ...version, guid: version.guid ^ 1n };
    expect(await failure(fixture.receive(null, other, lend(stream)))).toMatchObject({ code: 'INVALID_REQUEST' });
  });

  test('without the snapshot it starts from', async () => {
    const one = await fixture.snapshot();
    const two = await fixture.snapshot();
    const stream = await fixture.stream(one, two);
    expect(await failure(fixture.receive(one, two, lend(stream)))).toMatchObject({ code: 'VERSION_NOT_FOUND' });
  });

  test('while another one is at work', async () => {
    const version = await fixture.snapshot();
    const stream = await fixture.stream(null, version);
    const store = await openStore(fixture.copy, { kind: 'copy', create: true });
    await store.withLock(async () => {
      expect(await failure(fixture.receive(null, version, lend(stream)))).toMatchObject({ code: 'BUSY' });
    });
    await fixture.receive(null, version, lend(stream));
  });

  test('into a directory that is something else', async () => {
    mkdirSync(fixture.copy, { recursive: true });
    writeFileSync(join(fixture.copy, 'mine'), 'x');
    const version = await fixture.snapshot();
    expect(await failure(fixture.transfer(null, version))).toMatchObject({ code: 'INVALID_REQUEST' });
    expect(readdirSync(fixture.copy)).toEqual(['mine']);
  });

  test('when it is cancelled, though the sender stays silent', async () => {
    const version = await fixture.snapshot();
    const stream = await fixture.stream(null, version);
    const abort = new AbortController();
    const silent = (async function* () {
      yield stream.subarray(0, 700);
      abort.abort();
      await new Promise(() => undefined);
    })();
    const request = { filesystem, from: null, to: version, format: 'directory', resumed: false };
    expect(await failure(fixture.sink.receive(request, silent, abort.signal))).toMatchObject({ code: 'CANCELLED' });
    await fixture.receive(null, version, lend(stream));
  });
});

describePlatform('as an unprivileged receiver', process.getuid!() === 0 ? null : 'this is not root', () => {
  test('what cannot be applied is recorded, reported once, and the next receive works', async () => {
    makeTree();
    chownSync(at('d/private'), 1, 1);
    mkdirSync(at('locked'));
    writeFileSync(at('locked/in'), 'x', { mode: 0o200 });
    chmodSync(at('locked'), 0o500);
    execFileSync('setfattr', ['-n', 'trusted.secret', '-v', 'y', at('d/file')]);
    const one = await fixture.snapshot();
    writeFileSync(at('locked/in'), 'changed');
    const two = await fixture.snapshot();
    const target = join(fixture.root, 'for-nobody');
    mkdirSync(target, { mode: 0o700 });
    chownSync(target, 65_534, 65_534);
    chmodSync(fixture.root, 0o755);
    const copy = join(target, 'copy');
    const first = await receiveAsNobody(copy, null, one, await fixture.stream(null, one));
    expect(first.notices.join('\n')).toMatch(/owners of \d+ files[^]*modes of \d+ files[^]*attributes/);
    expect(first.notices).toHaveLength(3);
    await receiveAsNobody(copy, one, two, await fixture.stream(one, two));
    const store = await openStore(copy);
    const { notApplied } = await store.header(two.name);
    expect([...notApplied].sort()).toEqual(['mode', 'owner', 'xattrs']);
    expect((await verifySnapshot(copy, one.name)).damaged).toEqual([]);
    expect((await verifySnapshot(copy, two.name)).damaged).toEqual([]);
    const tree = store.snapshotDirectory(two.name);
    expect(readFileSync(join(tree, 'locked/in'), 'utf8')).toBe('changed');
    expect(readFileSync(join(store.snapshotDirectory(one.name), 'locked/in'), 'utf8')).toBe('x');
    // A setuid file of root's must not become one that lends out the rights of whoever keeps the backup.
    expect(statSync(join(tree, 'setuid')).mode & 0o7777).toBe(0o755);
    expect((await store.entries(two.name)).find(({ path }) => path === 'setuid')?.mode).toBe(0o6755);
  }, 30_000);
});

async function receiveAsNobody(
  copy: string,
  from: { guid: bigint } | null,
  to: { guid: bigint },
  stream: Buffer,
): Promise<{ notices: string[]; missing: string[] }> {
  const program = join(import.meta.dirname, '../../fixtures/programs/receive-stream.ts');
  const text = JSON.stringify({ copy, from, to }, (_, value: unknown) =>
    typeof value === 'bigint' ? String(value) : value,
  );
  const child = spawn(process.execPath, ['--import', 'tsx', program, text], {
    uid: 65_534,
    gid: 65_534,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  child.stdin.on('error', () => undefined);
  child.stdin.end(stream);
  const output = await collect(child.stdout as AsyncIterable<Uint8Array>);
  return JSON.parse(output.toString()) as { notices: string[]; missing: string[] };
}

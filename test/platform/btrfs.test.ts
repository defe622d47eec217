import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { FilesystemVersion } from '../../src/dataset.ts';
import { listBtrfsCursors, releaseBtrfsCursor } from '../../src/handlers/btrfs/cursors.ts';
import { btrfsHandler } from '../../src/handlers/btrfs/handler.ts';
import { btrfsSink } from '../../src/handlers/btrfs/sink.ts';
import { takeBtrfsSnapshot } from '../../src/handlers/btrfs/snapshot.ts';
import { replicate } from '../../src/replication/replicate.ts';
import { LocalRPC } from '../../src/rpc/local-rpc.ts';
import { BtrfsFixture, cutAfter, filesystem } from '../support/btrfs-fixture.ts';
import { BtrfsVolume, run, whyNoBtrfs } from '../support/btrfs-volume.ts';
import { childrenAlive, collect, contextWith, describeTree, failure } from '../support/directory-fixture.ts';
import { describePlatform } from '../support/platform.ts';
import { seededBytes } from '../support/recorded.ts';

const MiB = 1024 * 1024;

describePlatform('btrfs', whyNoBtrfs(), () => {
  let source: BtrfsVolume;
  let target: BtrfsVolume;
  let count = 0;
  beforeAll(() => {
    source = new BtrfsVolume();
    target = new BtrfsVolume();
  });
  afterAll(() => {
    source.remove();
    target.remove();
  });

  /** A dataset of its own on the two volumes. */
  function made(): BtrfsFixture {
    const name = String(count++);
    return new BtrfsFixture(source.part(name), target.part(name));
  }

  const expectSame = (fixture: BtrfsFixture, ...versions: readonly FilesystemVersion[]): void => {
    for (const version of versions) {
      expect(describeTree(fixture.copied(version)), version.name).toEqual(describeTree(fixture.taken(version)));
    }
  };

  test('a first pull, then ten incrementals, each of which sends only what changed', async () => {
    const fixture = made();
    fixture.write('large', seededBytes('large', 4 * MiB));
    const versions = [await fixture.snapshot('v0')];
    await fixture.transfer(null, versions[0]!);
    for (let round = 1; round <= 10; round++) {
      fixture.write(`new-${round}`, `new in ${round}`);
      fixture.write('changing', seededBytes(String(round), 10_000));
      versions.push(await fixture.snapshot(`v${round}`));
      const { bytes } = await fixture.offer(versions[round - 1]!, versions[round]!);
      expect((await collect(bytes)).length).toBeLessThan(20_000);
      await fixture.transfer(versions[round - 1]!, versions[round]!);
    }
    const copies = (await fixture.sink.filesystemVersions(filesystem))!;
    expect(copies.map(({ name, guid, creation }) => ({ name, guid, creation }))).toEqual(
      versions.map(({ name, guid, creation }) => ({ name, guid, creation })),
    );
    expectSame(fixture, ...versions);
    expect(fixture.remains()).toEqual([]);
    expect(childrenAlive()).toEqual([]);
  });

  test('what the program does in one run: pull, move the cursor, find nothing more to do', async () => {
    const fixture = made();
    const run = async () => {
      const client = LocalRPC.connect(fixture.handler);
      const report = await replicate({ client, sink: fixture.sink, jobId: 'nightly' }).report;
      await client.close();
      return report.filesystems[0]!;
    };
    fixture.write('file', 'one');
    const one = await fixture.snapshot('one');
    expect(await run()).toMatchObject({ ok: true, steps: 1 });
    fixture.write('file', 'two');
    const two = await fixture.snapshot('two');
    expect(await run()).toMatchObject({ ok: true, steps: 1 });
    expect(await run()).toMatchObject({ ok: true, steps: 0 });
    expectSame(fixture, one, two);
    expect(await listBtrfsCursors(fixture.live)).toMatchObject([{ job: 'nightly', guid: two.guid, name: 'two' }]);
    // Told again, late, it stays where it is.
    const context = contextWith();
    await fixture.handler.transferCompleted!({ filesystem, version: one, jobId: 'nightly' }, context);
    expect(await listBtrfsCursors(fixture.live)).toMatchObject([{ guid: two.guid }]);
    const wrong = fixture.handler.transferCompleted!({ filesystem, version: one, jobId: '../x' }, context);
    expect((await failure(wrong)).code).toBe('INVALID_REQUEST');
    expect(await releaseBtrfsCursor(fixture.live, 'nightly')).toBe(true);
    expect(await releaseBtrfsCursor(fixture.live, 'nightly')).toBe(false);
    expect(await listBtrfsCursors(fixture.live)).toEqual([]);
  });

  test('a diverged dataset is reported, and nothing is changed', async () => {
    const fixture = made();
    const one = await fixture.snapshot('one');
    const two = await fixture.snapshot('two');
    await fixture.transfer(null, one);
    await fixture.transfer(one, two);
    run('btrfs', 'subvolume', 'delete', '-c', fixture.taken(two));
    await fixture.snapshot('three');
    const client = LocalRPC.connect(fixture.handler);
    const report = await replicate({ client, sink: fixture.sink, jobId: 'job' }).report;
    await client.close();
    expect(report.filesystems[0]).toMatchObject({ ok: false, steps: 0 });
    expect(report.filesystems[0]!.message).toMatch(
      /separate ways since .*@one[^]*only at the source: @three[^]*only at the target: @two/,
    );
    expect(await fixture.copies()).toEqual(['one', 'two']);
  });

  test('a transfer cut at 40 % goes on from there, and is the base of the next one', async () => {
    const fixture = made();
    for (let index = 0; index < 8; index++) fixture.write(`file-${index}`, seededBytes(`a${index}`, MiB));
    const one = await fixture.snapshot('one');
    const whole = await collect((await fixture.offer(null, one)).bytes);
    let token: string | undefined;
    for (const share of [0.4, 0.7]) {
      const transfer = await fixture.offer(null, one, token);
      expect(transfer.resumed).toBe(token !== undefined);
      const good = Math.floor(whole.length * (token === undefined ? share : 0.3));
      const received = fixture.receive(null, one, cutAfter(transfer.bytes, good), { resumed: transfer.resumed });
      expect((await failure(received)).code).toBe('CONNECTION_LOST');
      expect(await fixture.copies()).toEqual([]);
      const state = await fixture.sink.resumeState(filesystem);
      expect(state).toMatchObject({ fromGuid: null, toGuid: one.guid });
      token = state!.token;
      expect(fixture.remains()).toHaveLength(1);
    }
    const rest = await collect((await fixture.offer(null, one, token)).bytes);
    expect(rest.length).toBeLessThan(whole.length * 0.35);
    expect(rest.equals(whole.subarray(-rest.length))).toBe(true);
    expect(await fixture.transfer(null, one, token)).toBe(true);
    expectSame(fixture, one);
    fixture.write('more', 'more');
    const two = await fixture.snapshot('two');
    await fixture.transfer(one, two);
    expectSame(fixture, one, two);
    expect(fixture.remains()).toEqual([]);
    expect(await fixture.sink.resumeState(filesystem)).toBeNull();
  });

  test('a token with another digest is refused before anything is sent, and the run begins anew', async () => {
    const fixture = made();
    for (let index = 0; index < 4; index++) fixture.write(`file-${index}`, seededBytes(`b${index}`, MiB));
    const one = await fixture.snapshot('one');
    const { bytes } = await fixture.offer(null, one);
    await fixture.sink.createParents(filesystem);
    await failure(fixture.receive(null, one, cutAfter(bytes, 2 * MiB)));
    const { token } = (await fixture.sink.resumeState(filesystem))!;
    const fields = JSON.parse(Buffer.from(token, 'base64url').toString()) as { digest: string };
    fields.digest = fields.digest.replace(/./g, '0');
    const other = Buffer.from(JSON.stringify(fields)).toString('base64url');
    expect((await failure(collect((await fixture.offer(null, one, other)).bytes))).code).toBe('RESUME_TOKEN_INVALID');
    const handler = {
      ...btrfsHandler({ roots: [{ directory: fixture.live, path: filesystem }] }),
      filesystems: fixture.handler.filesystems.bind(fixture.handler),
      filesystemVersions: fixture.handler.filesystemVersions.bind(fixture.handler),
      incrementalTransfer: fixture.handler.incrementalTransfer.bind(fixture.handler),
      initialTransfer: (
        request: Parameters<typeof fixture.handler.initialTransfer>[0],
        context: Parameters<typeof fixture.handler.initialTransfer>[1],
      ) =>
        fixture.handler.initialTransfer(
          { ...request, ...(request.resumeToken !== undefined && { resumeToken: other }) },
          context,
        ),
    };
    const client = LocalRPC.connect(handler);
    const report = await replicate({ client, sink: fixture.sink, jobId: 'job' }).report;
    await client.close();
    expect(report.filesystems[0]).toMatchObject({ ok: true, steps: 1 });
    expect(report.filesystems[0]!.notices.join()).toContain('could not be continued');
    expectSame(fixture, one);
    expect(fixture.remains()).toEqual([]);
  });

  test('names, links, holes, attributes and devices arrive as they are', async () => {
    const fixture = made();
    const at = (name: string): string => join(fixture.live, name);
    fixture.write('with space/and "quotes"', 'x');
    fixture.write('new\nline', 'x');
    run('bash', '-c', 'touch "$1/$(printf \'caf\\xe9\')"', 'bash', fixture.live);
    symlinkSync('/nowhere', at('dangling'));
    symlinkSync('..', at('up'));
    run('ln', at('with space/and "quotes"'), at('hard link'));
    run('truncate', '-s', '64M', at('hole'));
    run('mkfifo', at('fifo'));
    run('mknod', at('null'), 'c', '1', '3');
    run('chmod', '4755', at('with space/and "quotes"'));
    run('chown', '12345:54321', at('new\nline'));
    run('setfattr', '-n', 'user.color', '-v', 'blue', at('hole'));
    run('touch', '-d', '2001-02-03T04:05:06.123456789Z', at('new\nline'));
    const one = await fixture.snapshot('one');
    await fixture.transfer(null, one);
    renameSync(at('with space'), at('renamed'));
    rmSync(at('up'));
    mkdirSync(at('up'));
    fixture.write('up/file', 'below what was a symlink');
    rmSync(at('null'));
    fixture.write('null', 'a file now');
    const two = await fixture.snapshot('two');
    await fixture.transfer(one, two);
    expectSame(fixture, one, two);
  });

  test('reflinks to the base and within the new one', async () => {
    const fixture = made();
    fixture.write('data', seededBytes('reflinked', 4 * MiB));
    const one = await fixture.snapshot('one');
    await fixture.transfer(null, one);
    run('cp', '--reflink=always', join(fixture.live, 'data'), join(fixture.live, 'copy'));
    fixture.write('other', seededBytes('other', MiB));
    run('cp', '--reflink=always', join(fixture.live, 'other'), join(fixture.live, 'other copy'));
    const two = await fixture.snapshot('two');
    const { bytes } = await fixture.offer(one, two);
    expect((await collect(bytes)).length).toBeLessThan(2 * MiB);
    await fixture.transfer(one, two);
    expectSame(fixture, two);
  });

  test('copies of copies, and sending back, with their own guids all the way', async () => {
    const fixture = made();
    fixture.write('file', 'one');
    const one = await fixture.snapshot('one');
    fixture.write('file', 'two');
    const two = await fixture.snapshot('two');
    await fixture.transfer(null, one);
    await fixture.transfer(one, two);
    const relay = btrfsHandler({ roots: [{ directory: fixture.copy, path: filesystem }] });
    const versions = await relay.filesystemVersions({ filesystem }, contextWith());
    expect(versions.map(({ name, guid, creation }) => ({ name, guid, creation }))).toEqual(
      [one, two].map(({ name, guid, creation }) => ({ name, guid, creation })),
    );
    const third = join(source.top, `third-${count++}/home`);
    const sink = btrfsSink({ locate: () => third });
    const client = LocalRPC.connect(relay);
    const report = await replicate({ client, sink, jobId: 'relay', policy: 'all' }).report;
    expect(report.filesystems[0]).toMatchObject({ ok: true, steps: 2 });
    expect(describeTree(`${third}@two`)).toEqual(describeTree(fixture.taken(two)));
    // Back to where it came from: everything is there already.
    const home = btrfsSink({ locate: () => fixture.live });
    const back = await replicate({ client, sink: home, jobId: 'back' }).report;
    expect(back.filesystems[0]).toMatchObject({ ok: true, steps: 0 });
    run('btrfs', 'subvolume', 'delete', '-c', fixture.taken(two));
    const again = await replicate({ client, sink: home, jobId: 'back' }).report;
    expect(again.filesystems[0]).toMatchObject({ ok: true, steps: 1 });
    expect(readFileSync(`${fixture.live}@two/file`, 'utf8')).toBe('two');
    await client.close();
  });

  test('with several copies of the base here, and it elsewhere as well', async () => {
    const fixture = made();
    fixture.write('file', 'one');
    const one = await fixture.snapshot('one');
    fixture.write('file', 'two');
    const two = await fixture.snapshot('two');
    await fixture.transfer(null, one);
    const elsewhere = join(target.top, `elsewhere-${count++}`);
    mkdirSync(elsewhere);
    run('bash', '-c', 'btrfs send -q -- "$1" | btrfs receive -q "$2"', 'bash', fixture.taken(one), elsewhere);
    run('btrfs', 'subvolume', 'snapshot', '-r', fixture.copied(one), `${fixture.copy}@same`);
    expect(await fixture.copies()).toEqual(['one', 'same']);
    await fixture.transfer(one, two);
    expectSame(fixture, two);
  });

  test('stream version 2', async () => {
    const fixture = made();
    const handler = btrfsHandler({ roots: [{ directory: fixture.live, path: filesystem }], streamVersion: 2 });
    fixture.write('large', seededBytes('v2', 2 * MiB));
    const one = await fixture.snapshot('one');
    await fixture.sink.createParents(filesystem);
    const { bytes } = await handler.initialTransfer({ filesystem, version: one }, contextWith());
    await fixture.receive(null, one, cutAfter(bytes, MiB)).catch(() => undefined);
    const { token: resumeToken } = (await fixture.sink.resumeState(filesystem))!;
    const rest = await handler.initialTransfer({ filesystem, version: one, resumeToken }, contextWith());
    await fixture.receive(null, one, rest.bytes, { resumed: true });
    expectSame(fixture, one);
  });

  test('where only a part of the file system is mounted, and that is the dataset', async () => {
    run('btrfs', 'subvolume', 'create', join(source.top, '@mounted'));
    const home = source.mountSubvolume('@mounted', 'home');
    run('btrfs', 'subvolume', 'create', join(target.top, '@backups'));
    const backups = target.mountSubvolume('@backups', 'backups');
    const handler = btrfsHandler({ roots: [{ directory: home, path: filesystem }] });
    const sink = btrfsSink({ locate: () => join(backups, 'deep/er/home') });
    writeFileIn(home, 'file', 'one');
    run('btrfs', 'subvolume', 'create', join(home, 'nested'));
    expect((await takeBtrfsSnapshot(home, { dryRun: true })).notices.join()).toContain('nested');
    expect((await takeBtrfsSnapshot(home, { dryRun: true, covered: [join(home, 'nested')] })).notices).toEqual([]);
    run('btrfs', 'subvolume', 'delete', '-c', join(home, 'nested'));
    // Beside a mount point is another file system.
    const one = (await takeBtrfsSnapshot(home, { name: 'one' })).version!;
    writeFileIn(home, 'file', 'two');
    const two = (await takeBtrfsSnapshot(home, { name: 'two' })).version!;
    const client = LocalRPC.connect(handler);
    const report = await replicate({ client, sink, jobId: 'mounted', policy: 'all' }).report;
    await client.close();
    expect(report.filesystems[0]).toMatchObject({ ok: true, steps: 2 });
    expect((await sink.filesystemVersions(filesystem))!.map(({ guid }) => guid)).toEqual([one.guid, two.guid]);
    expect(readFileSync(join(backups, 'deep/er/home@two/file'), 'utf8')).toBe('two');
  });

  test('through a symlink to the folder', async () => {
    const fixture = made();
    const one = await fixture.snapshot('one');
    await fixture.sink.createParents(filesystem);
    symlinkSync(dirname(fixture.live), join(source.root, 'link'));
    symlinkSync(dirname(dirname(fixture.copy)), join(target.root, 'link'));
    const handler = btrfsHandler({ roots: [{ directory: join(source.root, 'link/@home'), path: filesystem }] });
    const sink = btrfsSink({ locate: () => join(target.root, 'link/web1/@home') });
    const { bytes } = await handler.initialTransfer({ filesystem, version: one }, contextWith());
    await sink.receive({ filesystem, from: null, to: one, format: 'btrfs', resumed: false }, bytes);
    expect(await fixture.copies()).toEqual(['one']);
  });

  test('all subvolumes below a folder, each under its own name', async () => {
    const folder = join(source.top, `tree-${count++}`);
    mkdirSync(folder);
    for (const name of ['@', '@home', '@home/nested']) run('btrfs', 'subvolume', 'create', join(folder, name));
    const handler = btrfsHandler({ roots: [{ directory: folder, path: ['web1'], isRecursive: true }] });
    const all = await handler.filesystems({ roots: null }, contextWith());
    expect(all).toEqual([
      ['web1', '@'],
      ['web1', '@home'],
      ['web1', '@home', 'nested'],
    ]);
    expect(await handler.filesystems({ roots: ['web1/@home'] }, contextWith())).toHaveLength(2);
    const named = btrfsHandler({ roots: [{ directory: join(folder, '@home') }] });
    expect(await named.filesystems({ roots: null }, contextWith())).toEqual([
      join(folder, '@home').slice(1).split('/'),
    ]);
    // What is inside is not in the snapshot, and that is said.
    const told: string[] = [];
    const { notices, version } = await takeBtrfsSnapshot(join(folder, '@home'), { name: 'one' });
    expect(notices.join()).toContain('nested');
    const context = { ...contextWith(), progress: ({ message }: { message: string }) => void told.push(message) };
    await handler.initialTransfer({ filesystem: ['web1', '@home'], version: version! }, context);
    // It is on offer by itself.
    expect(told).toEqual([]);
    const alone = btrfsHandler({ roots: [{ directory: join(folder, '@home'), path: ['home'] }] });
    await alone.initialTransfer({ filesystem: ['home'], version: version! }, context);
    expect(told.join()).toContain('nested');
  });

  test('the size of a first transfer is known, about', async () => {
    const fixture = made();
    fixture.write('large', seededBytes('size', 3 * MiB));
    const one = await fixture.snapshot('one');
    const two = await fixture.snapshot('two');
    const estimate = (from: FilesystemVersion | null, to: FilesystemVersion) =>
      fixture.handler.transferEstimate!({ filesystem, from, to }, contextWith());
    const bytes = await estimate(null, one);
    expect(bytes).toBeGreaterThan(3 * MiB - 1);
    expect(bytes).toBeLessThan(4 * MiB);
    expect(await estimate(one, two)).toBeNull();
  });
});

function writeFileIn(folder: string, name: string, content: string): void {
  writeFileSync(join(folder, name), content);
}

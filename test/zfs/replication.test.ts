import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { zfsHandler } from '../../src/handlers/zfs/handler.ts';
import { ownerText } from '../../src/handlers/zfs/names-ours.ts';
import { pullInto } from '../../src/replication/pull-me.ts';
import { ByteStreamRPC } from '../../src/rpc/byte-stream-rpc.ts';
import { zfsSink } from '../../src/handlers/zfs/sink.ts';
import { memoryPair } from '../../src/transport/memory.ts';
import { describeZfs, isThere, run, shell, snapshotsOf, TestPool, valueOf } from './pools.ts';
import { changed, ReplicationPair } from './replication-pair.ts';

const megabyte = 1024 * 1024;

describeZfs('replication between two pools', () => {
  let source: TestPool;
  let target: TestPool;
  beforeAll(() => {
    source = new TestPool('source');
    target = new TestPool('target');
  });
  afterAll(() => {
    source.destroy();
    target.destroy();
  });
  const pair = (options?: ConstructorParameters<typeof ReplicationPair>[2]) =>
    new ReplicationPair(source, target, options);
  const bookmarksOf = (dataset: string) =>
    run('zfs', 'list', '-H', '-o', 'name', '-t', 'bookmark', '-d', '1', dataset).split('\n').filter(Boolean);
  const holdsOf = (...snapshots: string[]) =>
    run('zfs', 'holds', '-H', ...snapshots)
      .split('\n')
      .filter(Boolean)
      .map((line) => line.split('\t').slice(0, 2).join(' '));

  test('a first pull and ten increments; the newest is held at the target, and nothing is left at the source but a cursor', async () => {
    const here = pair();
    here.write('base', 2 * megabyte);
    here.snapshot('s0');
    const first = await here.succeed();
    expect(first.bytes).toBeGreaterThan(2 * megabyte);
    const names = ['s0'];
    for (let round = 1; round <= 10; round++) {
      here.write(`f${round}`, 100_000);
      here.snapshot(`s${round}`);
      names.push(`s${round}`);
      const { bytes, results } = await here.succeed();
      expect(results).toMatchObject([{ steps: 1 }]);
      expect(bytes).toBeLessThan(400_000);
    }
    here.expectCopied(names);
    const tag = `snapferry_LAST_${ownerText({ identity: 'tester', jobId: 'job' })}`;
    expect(holdsOf(...snapshotsOf(here.copy))).toEqual([`${here.copy}@s10 ${tag}`]);
    expect(holdsOf(...snapshotsOf(here.root))).toEqual([]);
    expect(bookmarksOf(here.root)).toEqual([expect.stringContaining('#snapferry_CURSOR_G_')]);
    expect((await here.succeed()).bytes).toBe(0);
  });

  test('a received copy is read-only, not mounted, and takes nothing of where the original is mounted', async () => {
    const here = pair();
    run('zfs', 'set', 'canmount=on', here.root);
    here.snapshot('one');
    await here.succeed();
    expect(valueOf('readonly', here.copy)).toBe('on');
    expect(valueOf('mounted', here.copy)).toBe('no');
    expect(valueOf('mountpoint', here.copy)).toBe('none');
  });

  test('a connection that is cut at 40 % is resumed: the rest is all that is sent', async () => {
    const here = pair();
    here.write('big', 8 * megabyte);
    here.snapshot('one');
    const whole = 8 * megabyte;
    const cut = await here.run({}, 0.4 * whole);
    expect(cut.results).toMatchObject([
      { ok: false, code: expect.stringMatching(/CONNECTION_LOST|STREAM_TRUNCATED/) as string },
    ]);
    expect(snapshotsOf(here.copy)).toEqual([]);
    const rest = await here.succeed();
    expect(rest.events.find(({ kind }) => kind === 'stepStarted')).toMatchObject({ resumed: true });
    expect(rest.bytes).toBeLessThan(0.75 * whole);
    here.expectCopied(['one']);
    // The same for an increment.
    here.write('more', 8 * megabyte);
    here.snapshot('two');
    await here.run({}, 0.4 * whole);
    expect(snapshotsOf(here.copy)).toEqual([`${here.copy}@one`]);
    const second = await here.succeed();
    expect(second.bytes).toBeLessThan(0.75 * whole);
    here.expectCopied(['one', 'two']);
  });

  test('from a bookmark alone: the snapshots both sides had are gone at the source', async () => {
    const here = pair();
    here.write('a', 100_000);
    here.snapshot('one');
    await here.succeed();
    here.write('b', 100_000);
    here.snapshot('two');
    run('zfs', 'destroy', `${here.root}@one`);
    const { events } = await here.succeed();
    expect(events.find(({ kind }) => kind === 'stepStarted')).toMatchObject({ step: { from: { type: 'bookmark' } } });
    here.expectCopied(['one', 'two']);
  });

  test('the source is not told that it has arrived, and both snapshots go: still incremental', async () => {
    const here = pair();
    here.write('a', megabyte);
    here.snapshot('one');
    await here.succeed();
    here.write('b', 100_000);
    here.snapshot('two');
    const deaf = changed(here.handler, {
      transferCompleted: () => Promise.reject(new Error('the cable was pulled out')),
    });
    const [near, far] = memoryPair();
    const served = ByteStreamRPC.listen(far, { clientIdentity: 'tester', handler: deaf }).catch(() => undefined);
    await using client = await ByteStreamRPC.connect(near);
    expect((await here.run({ client })).results).toMatchObject([{ ok: true, steps: 1 }]);
    for (const name of ['one', 'two']) {
      // Its holds are what a person would have to release who really wants it gone.
      shell(`zfs holds -H ${here.root}@${name} | cut -f2 | xargs -r -I{} zfs release {} ${here.root}@${name}`);
      run('zfs', 'destroy', `${here.root}@${name}`);
    }
    here.write('c', 100_000);
    here.snapshot('three');
    const { bytes } = await here.succeed();
    expect(bytes).toBeLessThan(400_000);
    here.expectCopied(['one', 'two', 'three']);
    expect(holdsOf(...snapshotsOf(here.root))).toEqual([]);
    await client.close();
    await served;
  });

  test('a volume, first and incrementally', async () => {
    const here = pair();
    run('zfs', 'create', '-s', '-V', '8M', here.at('vol'));
    const device = `/dev/zvol/${here.at('vol')}`;
    run('udevadm', 'settle');
    run('dd', 'if=/dev/urandom', `of=${device}`, 'bs=1M', 'count=2', 'conv=fsync', 'status=none');
    here.snapshot('one', 'vol');
    await here.succeed({ roots: ['data/vol'] });
    run('dd', 'if=/dev/urandom', `of=${device}`, 'bs=1M', 'count=1', 'seek=3', 'conv=fsync', 'status=none');
    here.snapshot('two', 'vol');
    const { bytes } = await here.succeed({ roots: ['data/vol'] });
    expect(bytes).toBeLessThan(1.5 * megabyte);
    expect(valueOf('type', here.copyOf('vol'))).toBe('volume');
    expect(valueOf('readonly', here.copyOf('vol'))).toBe('on');
    run('udevadm', 'settle');
    const sumOf = (path: string) => run('sha256sum', path).split(' ')[0];
    expect(sumOf(`/dev/zvol/${here.copyOf('vol')}`)).toBe(sumOf(device));
  });

  test('a tree with parts left out, children of a dataset that is not replicated included', async () => {
    const here = pair({ includes: (dataset) => !/\/(tmp|cache)(\/|$)/.test(dataset) || dataset.endsWith('/keep') });
    for (const below of ['home', 'home/alice', 'tmp', 'cache', 'cache/keep', 'cache/keep/deep']) {
      run('zfs', 'create', here.at(below));
      here.write('f', 50_000, below);
    }
    run('zfs', 'snapshot', '-r', `${here.root}@one`);
    const { results } = await here.succeed();
    expect(results.map(({ filesystem }) => filesystem.join('/')).sort()).toEqual([
      'data',
      'data/cache/keep',
      'data/home',
      'data/home/alice',
    ]);
    for (const below of ['', 'home', 'home/alice', 'cache/keep']) here.expectCopied(['one'], below);
    expect(isThere(here.copyOf('tmp'))).toBe(false);
    // Only there so that "keep" has a parent.
    expect(snapshotsOf(here.copyOf('cache'))).toEqual([]);
    expect(valueOf('snapferry:placeholder', here.copyOf('cache'))).toBe('on');
  });

  test('pushed: the roles are inverted, everything else is the same', async () => {
    const here = pair();
    here.write('a', megabyte);
    here.snapshot('one');
    const copies = `${target.name}/pushed`;
    run('zfs', 'create', '-o', 'mountpoint=none', copies);
    const sink = zfsSink({ locate: (filesystem) => [copies, ...filesystem].join('/'), jobId: 'push' });
    const receiving = {
      filesystems: () => Promise.resolve([]),
      filesystemVersions: () => Promise.resolve([]),
      initialTransfer: () => Promise.reject(new Error('not here')),
      incrementalTransfer: () => Promise.reject(new Error('not here')),
      pullMe: pullInto({ sink, jobId: 'push', target: (filesystem, identity) => [identity, ...filesystem] }),
    };
    const [near, far] = memoryPair();
    const served = ByteStreamRPC.listen(far, { clientIdentity: 'web1', handler: receiving });
    const client = await ByteStreamRPC.connect(near);
    const report = await client.pullMe({ initialReplicationPolicy: 'all' }, here.handler);
    expect(report!.filesystems).toMatchObject([{ ok: true, steps: 1, notices: [] }]);
    await client.close();
    await served;
    expect(snapshotsOf(`${copies}/web1/data`)).toEqual([`${copies}/web1/data@one`]);
    expect(valueOf('guid', `${copies}/web1/data@one`)).toBe(valueOf('guid', `${here.root}@one`));
  });

  test('large, compressed and embedded blocks arrive with the same content, first and incrementally', async () => {
    const here = pair({ send: { compressed: true, largeBlocks: true, embedded: true } });
    run('zfs', 'set', 'recordsize=1M', here.root);
    here.write('noise', 3 * megabyte);
    writeFileSync(join(source.pathOf(here.root), 'text'), 'the same line again and again\n'.repeat(100_000));
    for (let index = 0; index < 20; index++) writeFileSync(join(source.pathOf(here.root), `tiny${index}`), `${index}`);
    here.snapshot('one');
    const { bytes } = await here.succeed();
    expect(bytes).toBeLessThan(5 * megabyte);
    writeFileSync(join(source.pathOf(here.root), 'text'), 'another line again and again\n'.repeat(100_000));
    here.snapshot('two');
    await here.succeed();
    here.expectCopied(['one', 'two']);
  });

  test('two jobs with two targets: each has its own cursor, and neither is in the other’s way', async () => {
    const here = pair();
    const copies = `${target.name}/second`;
    run('zfs', 'create', '-o', 'mountpoint=none', copies);
    const second = zfsSink({ locate: (filesystem) => [copies, ...filesystem].join('/'), jobId: 'weekly' });
    here.write('a', megabyte);
    here.snapshot('one');
    await here.succeed();
    await here.succeed({ sink: second, jobId: 'weekly' });
    here.snapshot('two');
    await here.succeed();
    // Only the slower job still needs the first snapshot, and its cursor is enough.
    run('zfs', 'destroy', `${here.root}@one`);
    here.snapshot('three');
    const { events, bytes } = await here.succeed({ sink: second, jobId: 'weekly' });
    expect(events.find(({ kind }) => kind === 'stepStarted')).toMatchObject({ step: { from: { type: 'bookmark' } } });
    expect(bytes).toBeLessThan(megabyte / 2);
    expect(bookmarksOf(here.root).filter((name) => name.includes('CURSOR'))).toHaveLength(2);
    expect(bookmarksOf(here.root).filter((name) => name.includes('TENTATIVE'))).toHaveLength(0);
  });

  test('a target that was changed: nothing is lost, and a person is told what to type', async () => {
    const here = pair();
    here.write('a', 100_000);
    here.snapshot('one');
    await here.succeed();
    run('zfs', 'set', 'readonly=off', 'mountpoint=legacy', here.copy);
    shell(`d=$(mktemp -d); mount -t zfs ${here.copy} $d; echo mine > $d/mine; umount $d; rmdir $d`);
    here.snapshot('two');
    const { results } = await here.run();
    expect(results).toMatchObject([{ ok: false, code: 'INVALID_REQUEST' }]);
    const { message } = results[0]!;
    expect(message).toContain(`zfs diff ${here.copy}@one ${here.copy}`);
    expect(message).toContain(`zfs rollback ${here.copy}@one`);
    expect(snapshotsOf(here.copy)).toEqual([`${here.copy}@one`]);
    // What is advised helps.
    shell(/"(zfs rollback [^"]*)"/.exec(message)![1]!);
    await here.succeed();
    here.expectCopied(['one', 'two']);
  });

  test('both sides have gone their own way: a conflict with the names of what is in the way', async () => {
    const here = pair();
    here.write('a', 100_000);
    here.snapshot('one');
    await here.succeed();
    run('zfs', 'set', 'readonly=off', 'mountpoint=legacy', here.copy);
    shell(`d=$(mktemp -d); mount -t zfs ${here.copy} $d; echo mine > $d/mine; umount $d; rmdir $d`);
    run('zfs', 'snapshot', `${here.copy}@mine`);
    here.snapshot('two');
    const { results } = await here.run();
    expect(results).toMatchObject([
      { ok: false, code: 'CONFLICT', message: expect.stringContaining('@mine') as string },
    ]);
    expect(snapshotsOf(here.copy)).toEqual([`${here.copy}@one`, `${here.copy}@mine`]);
  });

  test('a source that was made anew under the same name has nothing in common with its copy', async () => {
    const here = pair();
    run('zfs', 'create', here.at('web'));
    here.snapshot('one', 'web');
    await here.succeed({ roots: ['data/web'] });
    run('zfs', 'destroy', '-r', here.at('web'));
    run('zfs', 'create', here.at('web'));
    here.snapshot('one', 'web');
    const { results } = await here.run({ roots: ['data/web'] });
    expect(results).toMatchObject([{ ok: false, code: 'CONFLICT' }]);
  });

  test('a snapshot renamed at either side is known by its guid', async () => {
    const here = pair();
    here.write('a', megabyte);
    here.snapshot('one');
    await here.succeed();
    run('zfs', 'rename', `${here.root}@one`, `${here.root}@uno`);
    run('zfs', 'rename', `${here.copy}@one`, `${here.copy}@eins`);
    here.snapshot('two');
    expect((await here.succeed()).bytes).toBeLessThan(megabyte / 2);
    expect(snapshotsOf(here.copy)).toEqual([`${here.copy}@eins`, `${here.copy}@two`]);
  });

  test('a first parent that fails does not stop its children, which find a placeholder in its place', async () => {
    const here = pair();
    run('zfs', 'create', here.at('child'));
    run('zfs', 'snapshot', '-r', `${here.root}@one`);
    let refused = 0;
    const { results } = await here.run({
      sink: changed(here.sink, {
        async receive(request, bytes, signal) {
          if (request.filesystem.join('/') !== 'data') return here.sink.receive(request, bytes, signal);
          refused += 1;
          await bytes[Symbol.asyncIterator]().return?.();
          throw new Error('the parent is refused');
        },
      }),
    });
    expect(refused).toBe(1);
    expect(results).toMatchObject([
      { filesystem: ['data'], ok: false },
      { filesystem: ['data', 'child'], ok: true },
    ]);
    expect(snapshotsOf(here.copyOf('child'))).toHaveLength(1);
    // And in the next run the parent takes the placeholder's place, its child with it.
    await here.succeed();
    here.expectCopied(['one']);
    expect(valueOf('snapferry:placeholder', here.copy)).toBe('-');
    here.expectCopied(['one'], 'child');
  });

  test('copies are replicated on: the placeholders among them are not offered, and made again', async () => {
    const here = pair();
    run('zfs', 'create', '-p', here.at('a/b'));
    run('zfs', 'snapshot', `${here.at('a/b')}@one`);
    await here.succeed({ roots: ['data/a/b'] });
    const onwards = new ReplicationPair(source, source, { copies: 'onwards' });
    run('zfs', 'create', '-o', 'mountpoint=none', `${source.name}/onwards`);
    const handler = zfsHandler({
      roots: [{ dataset: here.copy.slice(0, here.copy.lastIndexOf('/')), path: ['data'] }],
    });
    const [near, far] = memoryPair();
    const served = ByteStreamRPC.listen(far, { clientIdentity: 'tester', handler }).catch(() => undefined);
    const client = await ByteStreamRPC.connect(near);
    const { results } = await onwards.run({ client });
    expect(results.map(({ filesystem, ok }) => `${filesystem.join('/')} ${ok}`)).toContain('data/data/a/b true');
    expect(results.map(({ filesystem }) => filesystem.join('/'))).not.toContain('data/data/a');
    expect(valueOf('snapferry:placeholder', `${source.name}/onwards/data/data/a`)).toBe('on');
    await client.close();
    await served;
  });
});

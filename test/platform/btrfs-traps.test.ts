import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { btrfsHandler } from '../../src/handlers/btrfs/handler.ts';
import { takeBtrfsSnapshot } from '../../src/handlers/btrfs/snapshot.ts';
import type { TransferBytes } from '../../src/sink.ts';
import { BtrfsFixture, cutAfter, filesystem } from '../support/btrfs-fixture.ts';
import * as craft from '../support/btrfs-streams.ts';
import { BtrfsVolume, run, whyNoBtrfs } from '../support/btrfs-volume.ts';
import { childrenAlive, collect, contextWith, failure, lend } from '../support/directory-fixture.ts';
import { describePlatform } from '../support/platform.ts';
import { seededBytes } from '../support/recorded.ts';

const MiB = 1024 * 1024;

describePlatform('what can go wrong with btrfs', whyNoBtrfs(), () => {
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

  function made(): BtrfsFixture {
    const name = String(count++);
    return new BtrfsFixture(source.part(name), target.part(name));
  }

  const isThere = (path: string): boolean => existsSync(path);

  test('a snapshot never lands inside what is already there', async () => {
    const fixture = made();
    for (const [name, make] of [
      ['folder', (path: string) => mkdirSync(path)],
      ['subvolume', (path: string) => run('btrfs', 'subvolume', 'create', path)],
      ['file', (path: string) => writeFileSync(path, '')],
    ] as const) {
      make(`${fixture.live}@${name}`);
      const error = await failure(takeBtrfsSnapshot(fixture.live, { name, force: true }));
      expect(error.code).toBe('INVALID_REQUEST');
      expect(error.message).toContain('in the way');
      expect(isThere(`${fixture.live}@${name}/@home`)).toBe(false);
    }
    await fixture.snapshot('taken');
    expect((await failure(fixture.snapshot('taken'))).code).toBe('INVALID_REQUEST');
  });

  test('a snapshot is taken only when something changed, also if it is not on disk yet', async () => {
    const fixture = made();
    const take = (name: string, dryRun = false) => takeBtrfsSnapshot(fixture.live, { name, dryRun });
    expect(await take('none', true)).toMatchObject({ isTaken: true, version: null });
    expect((await take('one')).version).toMatchObject({ type: 'snapshot', name: 'one' });
    expect(await take('same')).toMatchObject({ isTaken: false, version: null });
    fixture.write('file', 'not on disk');
    expect(await take('two', true)).toMatchObject({ isTaken: true, version: null });
    expect(await take('two')).toMatchObject({ isTaken: true });
    expect(await take('same')).toMatchObject({ isTaken: false });
    expect(isThere(`${fixture.live}@same`)).toBe(false);
    expect(readFileSync(`${fixture.live}@two/file`, 'utf8')).toBe('not on disk');
  });

  test('what is no subvolume has no snapshots', async () => {
    const fixture = made();
    mkdirSync(join(dirname(fixture.live), 'folder'));
    const error = await failure(takeBtrfsSnapshot(join(dirname(fixture.live), 'folder')));
    expect(error.code).toBe('DATASET_NOT_FOUND');
    expect((await failure(takeBtrfsSnapshot(join(source.root, 'nowhere')))).code).toBe('INVALID_REQUEST');
    const handler = btrfsHandler({ roots: [{ directory: join(dirname(fixture.live), 'folder'), path: filesystem }] });
    const listed = handler.filesystemVersions({ filesystem }, contextWith());
    expect((await failure(listed)).code).toBe('DATASET_NOT_FOUND');
  });

  test('a snapshot that was made anew or writable under its name is not sent for the old one', async () => {
    const fixture = made();
    const one = await fixture.snapshot('one');
    const two = await fixture.snapshot('two');
    run('btrfs', 'property', 'set', '-ts', fixture.taken(two), 'ro', 'false');
    expect((await failure(fixture.offer(null, two))).code).toBe('VERSION_NOT_FOUND');
    run('btrfs', 'subvolume', 'delete', '-c', fixture.taken(one));
    await fixture.snapshot('one');
    const error = await failure(fixture.offer(null, one));
    expect(error.code).toBe('VERSION_NOT_FOUND');
    expect(error.message).toContain('there are: @one');
  });

  test('a snapshot that is replaced between the offer and the first byte is noticed', async () => {
    const fixture = made();
    fixture.write('file', 'first');
    const one = await fixture.snapshot('one');
    const { bytes } = await fixture.offer(null, one);
    run('btrfs', 'subvolume', 'delete', '-c', fixture.taken(one));
    await fixture.snapshot('one');
    expect((await failure(collect(bytes))).code).toBe('VERSION_NOT_FOUND');
    expect(childrenAlive()).toEqual([]);
  });

  test('a snapshot that was renamed is found by what it is', async () => {
    const fixture = made();
    fixture.write('file', 'first');
    const one = await fixture.snapshot('one');
    renameSync(fixture.taken(one), `${fixture.live}@renamed`);
    await fixture.transfer(null, one);
    expect(readFileSync(join(fixture.copied(one), 'file'), 'utf8')).toBe('first');
  });

  test('a requester that goes away lets go of the snapshot: it can be deleted at once', async () => {
    const fixture = made();
    fixture.write('large', seededBytes('cancelled', 8 * MiB));
    const one = await fixture.snapshot('one');
    for (const way of ['signal', 'return'] as const) {
      const abort = new AbortController();
      const { bytes } = await fixture.offer(null, one, undefined, abort.signal);
      const iterator = bytes[Symbol.asyncIterator]();
      await iterator.next();
      if (way === 'return') await iterator.return?.();
      else {
        abort.abort();
        const rest = (async () => {
          while ((await iterator.next()).done !== true);
        })();
        expect((await failure(rest)).code).toBe('CANCELLED');
      }
      expect(childrenAlive()).toEqual([]);
    }
    run('btrfs', 'subvolume', 'delete', '-c', fixture.taken(one));
  });

  test('a sending or receiving tool that is killed fails the transfer, and the next one succeeds', async () => {
    const fixture = made();
    fixture.write('large', seededBytes('killed', 8 * MiB));
    const one = await fixture.snapshot('one');
    await fixture.sink.createParents(filesystem);
    for (const which of ['send', 'receive']) {
      const { bytes } = await fixture.offer(null, one);
      const error = await failure(fixture.receive(null, one, killing(bytes, which)));
      expect(error.message).toMatch(new RegExp(`btrfs ${which}.*killed by signal SIGKILL`));
      expect(await fixture.copies()).toEqual([]);
      await fixture.sink.discardPartial(filesystem);
      expect(fixture.remains()).toEqual([]);
    }
    await fixture.transfer(null, one);
    expect(await fixture.copies()).toEqual(['one']);
  });

  test('a copy that was made writable is no copy any more, and is in nobody’s way but its own', async () => {
    const fixture = made();
    const one = await fixture.snapshot('one');
    await fixture.transfer(null, one);
    run('btrfs', 'property', 'set', '-f', '-ts', fixture.copied(one), 'ro', 'false');
    expect(await fixture.copies()).toEqual([]);
    run('btrfs', 'property', 'set', '-ts', fixture.copied(one), 'ro', 'true');
    expect(await fixture.copies()).toEqual([]);
    const error = await failure(fixture.transfer(null, one));
    expect(error.code).toBe('INVALID_REQUEST');
    expect(error.message).toContain(fixture.copied(one));
    expect(isThere(fixture.copied(one))).toBe(true);
    renameSync(fixture.copied(one), `${fixture.copy}-aside`);
    await fixture.transfer(null, one);
    expect(await fixture.copies()).toEqual(['one']);
  });

  test('what others left unfinished where our copies are is not touched', async () => {
    const fixture = made();
    fixture.write('large', seededBytes('foreign', MiB));
    const one = await fixture.snapshot('one');
    const two = await fixture.snapshot('two');
    await fixture.sink.createParents(filesystem);
    const script = 'btrfs send -q -- "$1" | head -c 300000 | btrfs receive -q "$2"; true';
    run('bash', '-c', script, 'bash', fixture.taken(one), dirname(fixture.copy));
    run('btrfs', 'subvolume', 'create', join(dirname(fixture.copy), '.snapferry-receiving-of another'));
    const foreign = fixture.copied(one);
    expect(isThere(foreign)).toBe(true);
    expect(await fixture.copies()).toEqual([]);
    await fixture.sink.discardPartial(filesystem);
    await fixture.transfer(null, two);
    expect(isThere(foreign)).toBe(true);
    expect(fixture.remains()).toEqual(['.snapferry-receiving-of another']);
    expect(await fixture.copies()).toEqual(['two']);
  });

  test('a receive that runs is not taken for a remainder', async () => {
    const fixture = made();
    fixture.write('large', seededBytes('running', 2 * MiB));
    const one = await fixture.snapshot('one');
    const whole = await collect((await fixture.offer(null, one)).bytes);
    await fixture.sink.createParents(filesystem);
    const bytes = (async function* (): TransferBytes {
      yield whole.subarray(0, MiB);
      expect(fixture.remains()).toHaveLength(1);
      expect(await fixture.sink.resumeState(filesystem)).toBeNull();
      expect((await failure(fixture.sink.discardPartial(filesystem))).code).toBe('BUSY');
      expect(fixture.remains()).toHaveLength(1);
      yield whole.subarray(MiB);
    })();
    await fixture.receive(null, one, bytes);
    expect(await fixture.copies()).toEqual(['one']);
  });

  test('a stream damaged on the way is refused by its checksums, and leaves nothing', async () => {
    const fixture = made();
    fixture.write('large', seededBytes('damaged', MiB));
    const one = await fixture.snapshot('one');
    const whole = await collect((await fixture.offer(null, one)).bytes);
    whole[whole.length >> 1]! ^= 1;
    await fixture.sink.createParents(filesystem);
    const error = await failure(fixture.receive(null, one, lend(whole)));
    expect(error.message).toContain('crc32 mismatch');
    expect(fixture.remains()).toEqual([]);
    expect(await fixture.sink.resumeState(filesystem)).toBeNull();
  });

  test('a sender that does not confirm the end gets no copy, though all of it has come', async () => {
    const fixture = made();
    const one = await fixture.snapshot('one');
    const whole = await collect((await fixture.offer(null, one)).bytes);
    await fixture.sink.createParents(filesystem);
    await failure(fixture.receive(null, one, cutAfter(lend(whole), whole.length)));
    expect(await fixture.copies()).toEqual([]);
    await fixture.sink.discardPartial(filesystem);
    expect(fixture.remains()).toEqual([]);
  });

  test('a hostile stream writes nothing outside, whatever real btrfs would do with it', async () => {
    const fixture = made();
    await fixture.sink.createParents(filesystem);
    const outside = join(target.root, 'outside');
    const beside = join(dirname(fixture.copy), 'beside');
    writeFileSync(outside, 'as it was');
    writeFileSync(beside, 'as it was');
    const to = { type: 'snapshot', name: 'one', guid: craft.craftedGuid, createTXG: 1n, creation: null };
    const attacks = [
      [craft.symlink('a', outside), craft.write('a', 'HACKED')],
      [craft.symlink('a', '/beside'), craft.write('a', 'HACKED')],
      [craft.symlink('a', '/'), craft.write('a/beside', 'HACKED')],
      [craft.write('../beside', 'HACKED')],
      [craft.rename('../beside', 'stolen')],
      [craft.remove('unlink', '../beside')],
      [craft.link('stolen', '../beside')],
    ];
    for (const attack of attacks) {
      const error = await failure(fixture.receive(null, to, lend(craft.stream(attack))));
      expect(error.code).toBe('PROTOCOL_VIOLATION');
      // The same, unchecked, shows what it would have done: the tool alone stops none that stays in its folder.
      expect(readFileSync(outside, 'utf8')).toBe('as it was');
      expect(readFileSync(beside, 'utf8')).toBe('as it was');
      expect(fixture.remains()).toEqual([]);
    }
    const unchecked = spawn('btrfs', ['receive', '-q', '-C', dirname(fixture.copy)], {
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    unchecked.stdin.on('error', () => undefined).end(craft.stream(attacks[1]!));
    await once(unchecked, 'exit');
    expect(readFileSync(beside, 'utf8')).not.toBe('as it was');
  });

  test('a disk that is full: the tool’s own words, nothing left, and the space back', async () => {
    const small = new BtrfsVolume(120 * MiB);
    try {
      const fixture = new BtrfsFixture(source.part(`full-${count++}`), small);
      fixture.write('small', 'small');
      const one = await fixture.snapshot('one');
      await fixture.transfer(null, one);
      fixture.write('large', seededBytes('full', 130 * MiB));
      const two = await fixture.snapshot('two');
      rmSync(join(fixture.live, 'large'));
      fixture.write('fits', seededBytes('fits', 8 * MiB));
      const three = await fixture.snapshot('three');
      const error = await failure(fixture.transfer(one, two));
      expect(error.code).toBe('INTERNAL');
      expect(error.message).toMatch(/No space left on device.*make room/s);
      expect(await fixture.copies()).toEqual(['one']);
      expect(fixture.remains()).toEqual([]);
      run('btrfs', 'subvolume', 'sync', small.top);
      await fixture.transfer(one, three);
      expect(await fixture.copies()).toEqual(['one', 'three']);
    } finally {
      small.remove();
    }
  });

  test('snapshots of btrbk and snapper are listed and sent', async () => {
    const fixture = made();
    const parent = dirname(fixture.live);
    mkdirSync(join(parent, '.snapshots'));
    run('btrfs', 'subvolume', 'create', join(fixture.live, '.snapshots'));
    mkdirSync(join(fixture.live, '.snapshots/7'));
    fixture.write('file', 'one');
    run('btrfs', 'subvolume', 'snapshot', '-r', fixture.live, join(parent, '.snapshots/@home.20240101T0000'));
    fixture.write('file', 'two');
    run('btrfs', 'subvolume', 'snapshot', '-r', fixture.live, join(fixture.live, '.snapshots/7/snapshot'));
    const versions = await fixture.handler.filesystemVersions({ filesystem }, contextWith());
    expect(versions.map(({ name }) => name)).toEqual(['20240101T0000', '7']);
    await fixture.transfer(null, versions[0]!);
    await fixture.transfer(versions[0]!, versions[1]!);
    expect(readFileSync(`${fixture.copy}@7/file`, 'utf8')).toBe('two');
    expect(existsSync(`${fixture.copy}@7/.snapshots`)).toBe(false);
  });

  test('without root it is said what to do', async () => {
    const fixture = made();
    await fixture.snapshot('one');
    const program = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups', 'btrfs'] as const;
    const handler = btrfsHandler({ roots: [{ directory: fixture.live, path: filesystem }], tool: { program } });
    const error = await failure(handler.filesystemVersions({ filesystem }, contextWith()));
    expect(error.code).toBe('ACCESS_DENIED');
    expect(error.message).toMatch(/(Operation not permitted|Permission denied).*run as root/s);
  });
});

/** The bytes; after some of them the tool is killed. */
async function* killing(bytes: TransferBytes, which: string): TransferBytes {
  let good = 0;
  let isKilled = false;
  for await (const piece of bytes) {
    yield piece;
    good += piece.byteLength;
    if (good < 2 * MiB || isKilled) continue;
    isKilled = true;
    for (const pid of childrenAlive()) {
      const [program, command] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      if (program === 'btrfs' && command === which) process.kill(Number(pid), 'SIGKILL');
    }
  }
}

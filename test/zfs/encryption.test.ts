import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { describeZfs, isThere, run, shell, snapshotsOf, TestPool, valueOf } from './pools.ts';
import { ReplicationPair } from './replication-pair.ts';
import type { PairOptions } from './replication-pair.ts';
import { snapshotContent } from './snapshot-content.ts';

const megabyte = 1024 * 1024;

describeZfs('encryption', () => {
  let source: TestPool;
  let target: TestPool;
  let key: string;
  beforeAll(() => {
    source = new TestPool('source');
    target = new TestPool('target');
    key = join(source.directory, 'key');
    writeFileSync(key, 'a passphrase of some length\n');
  });
  afterAll(() => {
    source.destroy();
    target.destroy();
  });

  /** Makes an encrypted filesystem. */
  function encrypted(name: string): void {
    const how = ['encryption=on', 'keyformat=passphrase', 'pbkdf2iters=100000', `keylocation=file://${key}`];
    run('zfs', 'create', ...how.flatMap((property) => ['-o', property]), name);
  }

  let roots = 0;
  /** A pair whose target's root is encrypted. */
  function belowEncrypted(options: PairOptions = {}): ReplicationPair {
    const copies = `safe${++roots}`;
    encrypted(`${target.name}/${copies}`);
    return new ReplicationPair(source, target, { ...options, copies });
  }

  test('raw: pulled, resumed and pulled again without the target ever having the key; with it, the content is the same', async () => {
    const here = new ReplicationPair(source, target);
    encrypted(here.at('enc'));
    here.write('a', 6 * megabyte, 'enc');
    here.snapshot('one', 'enc');
    const roots = ['data/enc'];
    const copy = here.copyOf('enc');
    await here.run({ roots }, 3 * megabyte);
    expect(snapshotsOf(copy)).toEqual([]);
    const { events, bytes } = await here.succeed({ roots });
    expect(events.find(({ kind }) => kind === 'stepStarted')).toMatchObject({ resumed: true });
    expect(bytes).toBeLessThan(5 * megabyte);
    here.write('b', 100_000, 'enc');
    here.snapshot('two', 'enc');
    expect((await here.succeed({ roots })).bytes).toBeLessThan(megabyte);
    expect(valueOf('keystatus', copy)).toBe('unavailable');
    expect(valueOf('encryptionroot', copy)).toBe(copy);
    run('zfs', 'load-key', '-L', `file://${key}`, copy);
    for (const name of ['one', 'two']) {
      expect(snapshotContent(`${copy}@${name}`)).toEqual(snapshotContent(`${here.at('enc')}@${name}`));
    }
    run('zfs', 'unload-key', copy);
  });

  test('what was begun raw is not continued in the clear, nor the other way round', async () => {
    const raw = new ReplicationPair(source, target);
    encrypted(raw.at('enc'));
    raw.snapshot('one', 'enc');
    const roots = ['data/enc'];
    await raw.succeed({ roots });
    raw.snapshot('two', 'enc');
    const decrypting = raw.sendingAs({ encrypted: false });
    // A job of its own: what the source remembers of the first one is not what protects here.
    const plain = await decrypting.run({ roots, jobId: 'other' });
    expect(plain.results).toMatchObject([{ ok: false }]);
    expect(plain.results[0]!.message).toMatch(/raw|in the clear/);
    expect(snapshotsOf(raw.copyOf('enc'))).toHaveLength(1);

    const clear = new ReplicationPair(source, target, { send: { encrypted: false } });
    encrypted(clear.at('enc'));
    clear.snapshot('one', 'enc');
    await clear.succeed({ roots });
    expect(valueOf('encryption', clear.copyOf('enc'))).toBe('off');
    clear.snapshot('two', 'enc');
    const back = await clear.sendingAs({}).run({ roots, jobId: 'other' });
    expect(back.results).toMatchObject([{ ok: false }]);
    expect(snapshotsOf(clear.copyOf('enc'))).toHaveLength(1);
  });

  test('below an encrypted root plain datasets are received encrypted, first and incrementally', async () => {
    const here = belowEncrypted({ placeholder: { encryption: 'inherit' } });
    run('zfs', 'create', '-p', here.at('a/b'));
    here.write('f', megabyte, 'a/b');
    here.snapshot('one', 'a/b');
    const roots = ['data/a/b'];
    await here.succeed({ roots });
    here.snapshot('two', 'a/b');
    await here.succeed({ roots });
    here.expectCopied(['one', 'two'], 'a/b');
    expect(valueOf('encryption', here.copyOf('a'))).toBe('aes-256-gcm');
    expect(valueOf('encryption', here.copyOf('a/b'))).toBe('aes-256-gcm');
    // An encrypted placeholder cannot be forced away; empty ones are destroyed, those with children are told about.
    here.snapshot('one', 'a');
    const { results } = await here.run({ roots: ['data/a'] });
    expect(results[0]).toMatchObject({ filesystem: ['data', 'a'], ok: false });
    expect(results[0]!.message).toContain('zfs rename');
    expect(snapshotsOf(here.copyOf('a/b'))).toHaveLength(2);
  });

  test('below an encrypted root somebody has to choose before placeholders are made; without any, nobody has to', async () => {
    const here = belowEncrypted();
    run('zfs', 'create', '-p', here.at('a/b'));
    here.snapshot('one', 'a/b');
    const refused = await here.run({ roots: ['data/a/b'] });
    expect(refused.results).toMatchObject([{ ok: false, code: 'INVALID_REQUEST' }]);
    expect(refused.results[0]!.message).toMatch(/"inherit".*"off"/);
    expect(isThere(here.copy)).toBe(false);
    run('zfs', 'create', here.copy);
    run('zfs', 'create', here.copyOf('a'));
    await here.succeed({ roots: ['data/a/b'] });
  });

  test('placeholders that are not encrypted, with what is below them', async () => {
    const here = belowEncrypted({ placeholder: { encryption: 'off' } });
    run('zfs', 'create', '-p', here.at('a/b'));
    here.snapshot('one', 'a/b');
    await here.succeed({ roots: ['data/a/b'] });
    for (const below of ['a', 'a/b']) expect(valueOf('encryption', here.copyOf(below))).toBe('off');
    here.snapshot('one', 'a');
    await here.run({ roots: ['data/a'] });
    here.expectCopied(['one'], 'a');
  });

  test('a raw stream below an encrypted root keeps its own key, and takes the place of an empty placeholder', async () => {
    const here = belowEncrypted({ placeholder: { encryption: 'inherit' } });
    encrypted(here.at('enc'));
    here.snapshot('one', 'enc');
    await here.sink.createParents(['data', 'enc', 'x']);
    await here.succeed({ roots: ['data/enc'] });
    expect(valueOf('encryptionroot', here.copyOf('enc'))).toBe(here.copyOf('enc'));
    expect(snapshotsOf(here.copyOf('enc'))).toHaveLength(1);
  });

  test('a key that is not loaded at the target is told as that', async () => {
    const here = belowEncrypted({ placeholder: { encryption: 'inherit' } });
    const root = here.copy.slice(0, here.copy.lastIndexOf('/'));
    here.snapshot('one');
    await here.succeed();
    here.snapshot('two');
    shell(`zfs unmount ${root} 2>/dev/null || true`);
    run('zfs', 'unload-key', root);
    const { results } = await here.run();
    expect(results).toMatchObject([{ ok: false }]);
    expect(results[0]!.message).toContain('zfs load-key');
    run('zfs', 'load-key', root);
    await here.succeed();
  });
});

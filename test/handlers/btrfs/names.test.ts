import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  deleteArguments,
  diskUsageArguments,
  listArguments,
  receiveArguments,
  sendArguments,
  showArguments,
  snapshotArguments,
  syncArguments,
} from '../../../src/handlers/btrfs/commands.ts';
import { parseMounts, throughMount } from '../../../src/handlers/btrfs/mounts.ts';
import { checkDatasetFolder, snapshotPath } from '../../../src/handlers/btrfs/names.ts';
import { PrefixDigest } from '../../../src/handlers/btrfs/prefix-digest.ts';
import {
  decodeResumeToken,
  encodeResumeToken,
  readBtrfsResumeToken,
} from '../../../src/handlers/btrfs/resume-token.ts';
import { foldUUID, formatUUID, isUUID, uuidBytes } from '../../../src/handlers/btrfs/uuid.ts';

const seed = Number(process.env['SNAPFERRY_SEED'] ?? 20261121);
const invalid = expect.objectContaining({ code: 'INVALID_REQUEST' }) as Error;

describe('names', () => {
  test.each([
    '',
    'a',
    './a',
    '/',
    '/a/../b',
    '/a//b',
    '/a/',
    '/a/.',
    '/a\nb',
    '/a\0b',
    '/.snapferry/a',
    '/a/.snapferry',
  ])('%j is no dataset', (path) => expect(() => checkDatasetFolder(path)).toThrow(invalid));

  test.each(['/a', '/data/@home', '/data/with space', '/data/-rf', '/data/..a', '/data/é'])('%j is one', (path) => {
    expect(() => checkDatasetFolder(path)).not.toThrow();
  });

  test('a snapshot is beside its dataset, or in a folder', () => {
    expect(snapshotPath('/data/@home', 'one')).toBe('/data/@home@one');
    expect(snapshotPath('/data/@home', 'one', '/data/.snapshots')).toBe('/data/.snapshots/@home@one');
    for (const name of ['', '..', '-r', 'a/b', 'a@b', 'a\nb', 'x'.repeat(250)]) {
      expect(() => snapshotPath('/data/@home', name), name).toThrow(invalid);
    }
  });
});

describe('commands', () => {
  const builders: Record<string, (path: string) => readonly string[]> = {
    list: listArguments,
    show: showArguments,
    delete: deleteArguments,
    sync: syncArguments,
    du: diskUsageArguments,
    receive: receiveArguments,
    snapshot: (path) => snapshotArguments('/a', path),
    send: (path) => sendArguments({ parent: null, snapshot: path, streamVersion: 1 }),
  };
  test.each(Object.keys(builders))('%s: no path can be an option', (name) => {
    const args = builders[name]!('/-rf');
    expect(args.indexOf('--')).toBeGreaterThan(0);
    expect(args.indexOf('/-rf')).toBeGreaterThan(args.indexOf('--'));
    for (const path of ['-rf', '', 'relative', '/a\0b']) expect(() => builders[name]!(path)).toThrow(RangeError);
  });

  test('send names its parent', () => {
    expect(sendArguments({ parent: '/a@1', snapshot: '/a@2', streamVersion: 2 })).toEqual([
      'send',
      '-q',
      '--proto',
      '2',
      '-p',
      '/a@1',
      '--',
      '/a@2',
    ]);
    expect(() => sendArguments({ parent: '-x', snapshot: '/a', streamVersion: 1 })).toThrow(RangeError);
  });
});

describe('mounts', () => {
  const text = [
    '27 1 254:0 / / rw - ext4 /dev/vda rw',
    '47 27 0:41 / /data rw,noatime - btrfs /dev/loop0 rw,subvol=/',
    '48 27 0:41 /@home/x /mnt/with\\040space rw shared:1 - btrfs /dev/loop0 rw',
    '',
  ].join('\n');

  test('are read with their escapes', () => {
    expect(parseMounts(text)).toEqual([
      { root: '/', point: '/', type: 'ext4' },
      { root: '/', point: '/data', type: 'btrfs' },
      { root: '/@home/x', point: '/mnt/with space', type: 'btrfs' },
    ]);
  });

  test.each([
    ['a/b', { point: '/data', root: '/' }, '/data/a/b'],
    ['', { point: '/data', root: '/' }, '/data'],
    ['a', { point: '/', root: '/' }, '/a'],
    ['@/a', { point: '/', root: '/@' }, '/a'],
    ['@home', { point: '/home', root: '/@home' }, '/home'],
    ['@home/a', { point: '/home', root: '/@home' }, '/home/a'],
    ['@homes', { point: '/home', root: '/@home' }, null],
    ['@', { point: '/home', root: '/@home' }, null],
  ])('%j through %j is %j', (topPath, mount, path) => {
    expect(throughMount(topPath, mount)).toBe(path);
  });
});

describe('UUIDs', () => {
  test('fold to what docs/btrfs.md says', () => {
    expect(foldUUID('00000000-0000-0001-0000-000000000003')).toBe(2n);
    expect(foldUUID('81d429c9-6026-df46-af4b-dd1433ec8323')).toBe(0x81d429c96026df46n ^ 0xaf4bdd1433ec8323n);
    // 0 identifies nothing on the wire.
    expect(foldUUID('12345678-1234-1234-1234-567812341234')).toBe(1n);
  });

  test('keep their bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (bytes) => {
        const uuid = formatUUID(bytes);
        expect(isUUID(uuid)).toBe(true);
        expect(uuidBytes(uuid).equals(bytes)).toBe(true);
        const folded = foldUUID(uuid);
        expect(folded > 0n && folded < 2n ** 64n).toBe(true);
      }),
      { seed },
    );
  });
});

describe('resume tokens', () => {
  const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
  const token = fc.record({
    to: u64,
    from: fc.option(u64),
    offset: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    digest: fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('hex')),
  });

  test('come back as they were, and say what they are of', () => {
    fc.assert(
      fc.property(token, (one) => {
        const text = encodeResumeToken(one);
        expect(decodeResumeToken(text)).toEqual(one);
        expect(readBtrfsResumeToken(text)).toEqual({ filesystem: null, fromGuid: one.from, toGuid: one.to });
      }),
      { seed },
    );
  });

  const refusal = expect.objectContaining({ code: 'RESUME_TOKEN_INVALID' }) as Error;
  test('anything else is none', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(() => decodeResumeToken(text)).toThrow(refusal);
      }),
      { seed },
    );
    const json = fc.oneof(
      fc.jsonValue(),
      fc.record({
        btrfs: fc.constant(1),
        to: fc.jsonValue(),
        from: fc.jsonValue(),
        offset: fc.jsonValue(),
        digest: fc.jsonValue(),
      }),
    );
    fc.assert(
      fc.property(json, (value) => {
        const text = Buffer.from(JSON.stringify(value)).toString('base64url');
        expect(() => decodeResumeToken(text)).toThrow(refusal);
      }),
      { seed },
    );
    expect(() => decodeResumeToken('A'.repeat(100_000))).toThrow(refusal);
  });
});

test('a prefix digest can be saved at any moment', () => {
  const headers = Array.from({ length: 1000 }, (_, index) => Buffer.from(String(index).padStart(10)));
  const whole = new PrefixDigest(1);
  let saved = new PrefixDigest(1);
  const values = new Set<string>();
  for (const header of headers) {
    whole.add(header, 0);
    saved.add(header, 0);
    saved = PrefixDigest.restore(JSON.parse(JSON.stringify(saved.save())) as ReturnType<PrefixDigest['save']>);
    expect(saved.value()).toBe(whole.value());
    values.add(whole.value());
  }
  expect(values.size).toBe(headers.length);
  expect(new PrefixDigest(1).value()).not.toBe(new PrefixDigest(2).value());
  expect(() => PrefixDigest.restore({ chain: '', pending: '' })).toThrow(RangeError);
});

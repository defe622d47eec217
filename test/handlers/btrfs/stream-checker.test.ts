import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PrefixDigest } from '../../../src/handlers/btrfs/prefix-digest.ts';
import { StreamChecker, type StreamBase } from '../../../src/handlers/btrfs/stream-checker.ts';
import { encodeStreamHeader, isIntact } from '../../../src/handlers/btrfs/stream-format.ts';
import { foldUUID, uuidBytes } from '../../../src/handlers/btrfs/uuid.ts';
import { recordedStream, recordedUUIDs } from '../../support/btrfs-recordings.ts';
import * as craft from '../../support/btrfs-streams.ts';

const { command, crafted, craftedGuid, make, opening, remove, rename, stream, symlink, write } = craft;
const name = '.snapferry-receiving-x';

let root: string;
let base: StreamBase;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'snapferry-btrfs-checker-'));
  mkdirSync(join(root, 'folder/below'), { recursive: true });
  writeFileSync(join(root, 'folder/file'), 'file');
  symlinkSync('/etc', join(root, 'etc'));
  symlinkSync('/etc/passwd', join(root, 'folder/below/passwd'));
  base = { origin: crafted.from, uuid: crafted.copy, path: root };
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** What is passed on of a stream, in pieces of so many bytes. */
function passed(checker: StreamChecker, bytes: Buffer, pieceBytes = bytes.length): Buffer {
  const out: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    out.push(...checker.take(bytes.subarray(at, at + pieceBytes)).map((part) => Buffer.from(part)));
  }
  return Buffer.concat([...out, checker.finish()]);
}

function checked(bytes: Buffer, from: StreamBase | null = null): Buffer {
  return passed(new StreamChecker({ toGuid: craftedGuid, base: from, name }), bytes);
}

describe('streams of real btrfs', () => {
  const one = foldUUID(recordedUUIDs.one);
  const expectation = { toGuid: one, base: null, name: '1' };

  test.each(['full', 'full-v2'] as const)('%s goes through, in pieces of any size', (stream) => {
    const bytes = recordedStream(stream);
    for (const pieceBytes of [1, 2, 3, 7, 9, 10, 11, 17, 18, 64, 1000, 4096, bytes.length]) {
      const out = passed(new StreamChecker(expectation), bytes, pieceBytes);
      expect(out.equals(bytes), `pieces of ${pieceBytes}`).toBe(true);
    }
  });

  test('full gets another name, and nothing else is changed', () => {
    const bytes = recordedStream('full');
    const checker = new StreamChecker({ ...expectation, name });
    const out = passed(checker, bytes, 100);
    const firstBytes = 10 + bytes.readUInt32LE(17);
    const changed = out.subarray(17, out.length - (bytes.length - 17 - firstBytes));
    expect(changed.includes(name)).toBe(true);
    expect(isIntact(changed)).toBe(true);
    expect(out.subarray(17 + changed.length).equals(bytes.subarray(17 + firstBytes))).toBe(true);
    expect(checker.identity).toEqual({ uuid: recordedUUIDs.one, ctransid: '7' });
  });

  test('incremental is made to start from the very copy', () => {
    const from = { origin: recordedUUIDs.one, uuid: crafted.copy, path: root };
    const checker = new StreamChecker({ toGuid: foldUUID(recordedUUIDs.two), base: from, name: '2' });
    const bytes = recordedStream('incremental');
    const out = passed(checker, bytes);
    expect(out.length).toBe(bytes.length);
    expect(out.includes(uuidBytes(crafted.copy))).toBe(true);
    expect(out.includes(uuidBytes(recordedUUIDs.one))).toBe(false);
  });

  test('cut anywhere, it is not whole, and its end command is not passed on', () => {
    const bytes = recordedStream('full');
    for (let length = 0; length < bytes.length; length++) {
      const checker = new StreamChecker(expectation);
      const out = Buffer.concat(checker.take(bytes.subarray(0, length)));
      expect(bytes.subarray(0, out.length).equals(out)).toBe(true);
      expect(out.length).toBeLessThanOrEqual(Math.min(length, bytes.length - 10));
      expect(() => checker.finish()).toThrow(expect.objectContaining({ code: 'STREAM_TRUNCATED' }));
    }
  });

  test('the position is the end of a command, and a later checker goes on from there', () => {
    const bytes = recordedStream('full');
    const ends = new Set<number>();
    for (let length = 17; length < bytes.length; length += 13) {
      const first = new StreamChecker(expectation);
      first.take(bytes.subarray(0, length));
      const { position, identity } = first;
      expect(position!.offset).toBeLessThanOrEqual(length);
      ends.add(position!.offset);
      if (identity === null) continue;
      const digest = PrefixDigest.restore(position!.digest.save());
      const partial = { uuid: crafted.copy, path: root, identity, position: { ...position!, digest } };
      const second = new StreamChecker({ ...expectation, name }, partial);
      const out = passed(second, bytes.subarray(position!.offset), 100);
      expect(out.subarray(0, 17).equals(encodeStreamHeader(1))).toBe(true);
      expect(out.includes(uuidBytes(crafted.copy))).toBe(true);
      expect(out.subarray(-(bytes.length - position!.offset)).equals(bytes.subarray(position!.offset))).toBe(true);
      const whole = new StreamChecker(expectation);
      passed(whole, bytes);
      expect(second.position!.digest.value()).toBe(whole.position!.digest.value());
      expect(second.position!.offset).toBe(whole.position!.offset);
    }
    expect(ends.size).toBeGreaterThan(5);
  });

  test.each([
    ['of another snapshot', 'incremental', null],
    ['that starts from nothing where a base is wanted', 'full', recordedUUIDs.two],
    ['that starts from another base', 'incremental-1-3', recordedUUIDs.two],
    ['that starts from a base where none is wanted', 'incremental', null],
  ] as const)('one %s is refused', (_, stream, origin) => {
    const to = { full: recordedUUIDs.one, incremental: recordedUUIDs.two, 'incremental-1-3': recordedUUIDs.three }[
      stream
    ];
    const from = origin === null ? null : { origin, uuid: crafted.copy, path: root };
    const checker = new StreamChecker({ toGuid: foldUUID(to), base: from, name: '2' });
    expect(() => checker.take(recordedStream(stream))).toThrow(expect.objectContaining({ code: 'PROTOCOL_VIOLATION' }));
  });
});

describe('what an honest sender does goes through', () => {
  test('making, renaming, linking and removing, symlinks among it', () => {
    const commands = [
      command('chown', { path: '', uid: 0n, gid: 0n }),
      make('mkdir', 'o257-7-0'),
      rename('o257-7-0', 'folder'),
      make('mkfile', 'folder/file'),
      write('folder/file'),
      command('set_xattr', { path: 'folder/file', xattr_name: 'user.a', xattr_data: '\0\xff' }),
      symlink('o258-7-0', '../../..'),
      rename('o258-7-0', 'folder/up'),
      command('chown', { path: 'folder/up', uid: 0n, gid: 0n }),
      command('utimes', { path: 'folder/up', atime: '', mtime: '', ctime: '' }),
      craft.link('folder/up too', 'folder/up'),
      remove('unlink', 'folder/up'),
      make('mkdir', 'folder/up'),
      write('folder/up/file'),
      command('mknod', { path: 'null', ino: 7n, rdev: 259n, mode: 0o20666n }),
      command('chmod', { path: 'null', mode: 0o666n }),
      craft.clone('folder/file', 'folder/up/file', crafted.to),
      write('caf\xe9 \n\x01'),
    ];
    const bytes = stream(commands);
    expect(checked(bytes).subarray(-100)).toEqual(bytes.subarray(-100));
  });

  test('in a tree with symlinks: replacing them, cloning from beside them', () => {
    const commands = [
      remove('unlink', 'etc'),
      make('mkdir', 'etc'),
      write('etc/passwd'),
      rename('folder', 'renamed'),
      write('renamed/file'),
      craft.clone('renamed/file', 'folder/file', crafted.from),
      make('mkdir', 'folder'),
      make('mkdir', 'folder/below'),
      write('folder/below/passwd'),
    ];
    const out = checked(stream(commands, { from: crafted.from }), base);
    expect(out.includes(uuidBytes(crafted.from))).toBe(false);
  });
});

describe('what would leave the subvolume is refused', () => {
  const long = 'x'.repeat(256);
  const paths = [
    '..',
    '../x',
    'a/../../x',
    '/etc/passwd',
    '/',
    'a//b',
    'a/',
    './a',
    'a/./b',
    'a\0b',
    '\0',
    long,
    'a/'.repeat(2100) + 'a',
  ];
  test.each(paths)('the path %j', (path) => {
    const ways = [
      make('mkfile', path),
      make('mkdir', path),
      make('mkfifo', path),
      symlink(path),
      rename(path, 'x'),
      rename('x', path),
      craft.link(path, 'x'),
      craft.link('x', path),
      remove('unlink', path),
      remove('rmdir', path),
      command('set_xattr', { path, xattr_name: 'user.a', xattr_data: '' }),
      command('remove_xattr', { path, xattr_name: 'user.a' }),
      write(path),
      craft.clone(path, 'x', crafted.to),
      craft.clone('x', path, crafted.to),
      craft.clone('x', path, crafted.from),
      command('truncate', { path, size: 0n }),
      command('chmod', { path, mode: 0o4777n }),
      command('chown', { path, uid: 0n, gid: 0n }),
      command('utimes', { path, atime: '', mtime: '', ctime: '' }),
    ];
    for (const way of ways) {
      const refusal = expect.objectContaining({ code: 'PROTOCOL_VIOLATION' }) as Error;
      expect(() => checked(stream([way], { from: crafted.from }), base)).toThrow(refusal);
    }
  });

  const through: Record<string, readonly Buffer[]> = {
    'writing below a symlink': [symlink('a'), write('a/passwd')],
    'writing to a symlink': [symlink('a', '/etc/passwd'), write('a')],
    'making a file where a symlink is': [symlink('a', '/etc/passwd'), make('mkfile', 'a')],
    'truncating a symlink': [symlink('a'), command('truncate', { path: 'a', size: 0n })],
    'a mode for a symlink': [symlink('a'), command('chmod', { path: 'a', mode: 0o777n })],
    'cloning from a symlink': [symlink('a', '/etc/shadow'), craft.clone('b', 'a', crafted.to)],
    'making a folder below a symlink': [symlink('a'), make('mkdir', 'a/b')],
    'renaming out of a symlink': [symlink('a'), rename('a/passwd', 'b')],
    'renaming into a symlink': [symlink('a'), rename('b', 'a/b')],
    'linking from below a symlink': [symlink('a'), craft.link('b', 'a/shadow')],
    'removing below a symlink': [symlink('a'), remove('unlink', 'a/passwd')],
    'an owner below a symlink': [symlink('a'), command('chown', { path: 'a/b', uid: 0n, gid: 0n })],
    'a symlink that was renamed': [symlink('a'), rename('a', 'b'), write('b/passwd')],
    'a symlink in a folder that was renamed': [
      make('mkdir', 'a'),
      symlink('a/b'),
      rename('a', 'c'),
      write('c/b/passwd'),
    ],
    'another name of a symlink': [symlink('a'), craft.link('b', 'a'), remove('unlink', 'a'), write('b/passwd')],
    'a symlink that took a file’s place': [make('mkfile', 'a'), symlink('b'), rename('b', 'a'), write('a')],
    'a device’s contents': [command('mknod', { path: 'a', rdev: 2048n, mode: 0o60660n }), write('a')],
    'a device under another name': [
      command('mknod', { path: 'a', rdev: 2048n, mode: 0o60660n }),
      rename('a', 'b'),
      write('b'),
    ],
    'a linked device': [command('mknod', { path: 'a', rdev: 2048n, mode: 0o60660n }), craft.link('b', 'a'), write('b')],
    'a fifo’s contents': [make('mkfifo', 'a'), command('truncate', { path: 'a', size: 0n })],
  };
  test.each(Object.keys(through))('%s', (way) => {
    expect(() => checked(stream(through[way]!))).toThrow(expect.objectContaining({ code: 'PROTOCOL_VIOLATION' }));
    // All but the last command is harmless.
    expect(() => checked(stream(through[way]!.slice(0, -1)))).not.toThrow();
  });

  const inBase: Record<string, readonly Buffer[]> = {
    'writing below a symlink': [write('etc/passwd')],
    'writing to a symlink': [write('folder/below/passwd')],
    'a symlink that was renamed': [rename('etc', 'x'), write('x/passwd')],
    'a symlink in folders that were renamed': [rename('folder/below', 'x'), rename('x', 'y'), write('y/passwd')],
    'a symlink in a folder that was renamed and put back': [
      rename('folder', 'x'),
      rename('x', 'folder'),
      write('folder/below/passwd'),
    ],
    'cloning from a symlink of the base': [craft.clone('folder/file', 'folder/below/passwd', crafted.from)],
    'cloning through a symlink of the base, which is gone in the new tree': [
      remove('unlink', 'etc'),
      craft.clone('folder/file', 'etc/shadow', crafted.from),
    ],
  };
  test.each(Object.keys(inBase))('in the tree it starts from: %s', (way) => {
    const bytes = stream(inBase[way]!, { from: crafted.from });
    expect(() => checked(bytes, base)).toThrow(expect.objectContaining({ code: 'PROTOCOL_VIOLATION' }));
  });

  test('in the tree of an interrupted receive, as in a base', () => {
    const position = { version: 1, offset: 500, digest: new PrefixDigest(1) };
    const identity = { uuid: crafted.to, ctransid: '7' };
    const partial = { uuid: crafted.copy, path: root, identity, position };
    const take = (...commands: Buffer[]) =>
      passed(
        new StreamChecker({ toGuid: craftedGuid, base: null, name }, partial),
        Buffer.concat([...commands, command('end')]),
      );
    expect(() => take(write('etc/passwd'))).toThrow(expect.objectContaining({ code: 'PROTOCOL_VIOLATION' }));
    expect(() => take(opening())).toThrow(expect.objectContaining({ code: 'PROTOCOL_VIOLATION' }));
    expect(take(write('folder/file')).includes('folder/file')).toBe(true);
  });
});

describe('what no honest sender writes is refused', () => {
  const damagedOpening = opening();
  damagedOpening[6]! ^= 1;
  const header = encodeStreamHeader(1);
  const end = command('end');
  const rawCommand = (number: number, body: Buffer): Buffer => {
    const head = Buffer.alloc(10);
    head.writeUInt32LE(body.length, 0);
    head.writeUInt16LE(number, 4);
    return Buffer.concat([head, body]);
  };
  const attribute = (number: number, value: string, length = value.length): Buffer => {
    const head = Buffer.alloc(4);
    head.writeUInt16LE(number, 0);
    head.writeUInt16LE(length, 2);
    return Buffer.concat([head, Buffer.from(value, 'latin1')]);
  };
  const file = attribute(15, 'file');
  const cases: Record<string, Buffer> = {
    'a second subvolume': stream([opening()]),
    'a second snapshot': stream([opening('home@one', crafted.from)]),
    'a second stream': Buffer.concat([stream([]), stream([])]),
    'a byte behind the end': Buffer.concat([stream([]), Buffer.alloc(1)]),
    'no subvolume': Buffer.concat([header, write('a'), end]),
    'nothing but an end': Buffer.concat([header, end]),
    'a damaged first command': Buffer.concat([header, damagedOpening, end]),
    'a name that is a path': Buffer.concat([header, opening('../x'), end]),
    'no name': Buffer.concat([header, opening(''), end]),
    'an unknown command': stream([rawCommand(27, file)]),
    'command 0': stream([rawCommand(0, file)]),
    'contents left out (update_extent)': stream([rawCommand(22, file)]),
    'a command of a later version': stream([command('fileattr', { path: 'a', fileattr: 0n })]),
    'cloning from elsewhere': stream([craft.clone('a', 'b', crafted.elsewhere)]),
    'cloning from a base where there is none': stream([craft.clone('a', 'b', crafted.from)]),
    'the root renamed': stream([rename('', 'a')]),
    'the root removed': stream([remove('rmdir', '')]),
    'a folder renamed into itself': stream([rename('a', 'a/b')]),
    'a symlink to nothing': stream([symlink('a', '')]),
    'a symlink with a zero byte': stream([symlink('a', 'b\0c')]),
    'an attribute twice': stream([rawCommand(11, Buffer.concat([file, file]))]),
    'an attribute of another command': stream([rawCommand(11, Buffer.concat([file, attribute(16, 'x')]))]),
    'an unknown attribute': stream([rawCommand(11, Buffer.concat([file, attribute(99, 'x')]))]),
    'a missing attribute': stream([rawCommand(9, file)]),
    'an attribute longer than its command': stream([rawCommand(11, attribute(15, 'file', 5))]),
    'half an attribute': stream([rawCommand(11, Buffer.concat([file, Buffer.alloc(3)]))]),
    'a path behind contents': stream([
      rawCommand(15, Buffer.concat([file, attribute(18, '12345678'), attribute(19, 'data'), attribute(15, '../x')])),
    ]),
    'contents before the path': stream([
      rawCommand(15, Buffer.concat([attribute(19, 'data'), file, attribute(18, '12345678')])),
    ]),
    'contents longer than the command': stream([
      rawCommand(15, Buffer.concat([file, attribute(18, '12345678'), attribute(19, 'data', 5)])),
    ]),
    'a command of 4 GiB': Buffer.concat([header, opening(), Buffer.from([0xff, 0xff, 0xff, 0xff, 11, 0, 0, 0, 0, 0])]),
    'a command a little too long': stream([rawCommand(15, Buffer.alloc(65537))]),
    'a UUID of 15 bytes': Buffer.concat([
      header,
      command('subvol', { path: 'a', uuid: Buffer.alloc(15), ctransid: 0n }),
      end,
    ]),
    'a ctransid of 4 bytes': Buffer.concat([
      header,
      command('subvol', { path: 'a', uuid: uuidBytes(crafted.to), ctransid: 'four' }),
      end,
    ]),
  };
  test.each(Object.keys(cases))('%s', (what) => {
    expect(() => checked(cases[what]!)).toThrow(expect.objectContaining({ code: 'PROTOCOL_VIOLATION' }));
    // Also when it comes byte by byte.
    const slowly = new StreamChecker({ toGuid: craftedGuid, base: null, name });
    expect(() => passed(slowly, cases[what]!, 1)).toThrow(expect.objectContaining({ code: 'PROTOCOL_VIOLATION' }));
  });

  test.each([
    ['text', Buffer.from('ERROR: not a btrfs filesystem\n')],
    ['version 0', encodeStreamHeader(0)],
    ['version 4', encodeStreamHeader(4)],
  ])('%s is no such stream', (_, bytes) => {
    expect(() => checked(bytes)).toThrow(expect.objectContaining({ code: 'STREAM_FORMAT_MISMATCH' }));
  });

  test('contents in version 2 have no length of their own', () => {
    const data = Buffer.alloc(100_000, 'x');
    const head = Buffer.concat([file, attribute(18, '12345678'), Buffer.from([19, 0]), data]);
    const bytes = stream([rawCommand(15, head)], { version: 2 });
    expect(checked(bytes).includes(data)).toBe(true);
    expect(passed(new StreamChecker({ toGuid: craftedGuid, base: null, name }), bytes, 4999).includes(data)).toBe(true);
  });

  test('contents are passed on as they are, not copied', () => {
    const bytes = stream([write('a', 'x'.repeat(60_000)), write('b', 'y'.repeat(60_000))]);
    const parts = new StreamChecker({ toGuid: craftedGuid, base: null, name }).take(bytes);
    const own = parts.filter((part) => part.buffer !== bytes.buffer).reduce((sum, { length }) => sum + length, 0);
    expect(own).toBeLessThan(200);
  });
});

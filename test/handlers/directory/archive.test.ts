import { execFileSync } from 'node:child_process';
import {
  mkdtempSync,
  rmSync,
  statSync,
  lstatSync,
  readFileSync,
  readlinkSync,
  mkdirSync,
  writeFileSync,
  linkSync,
  symlinkSync,
  truncateSync,
  openSync,
  writeSync,
  closeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { Uint8ArrayList } from 'uint8arraylist';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SnapferryError } from '../../../src/errors.ts';
import { ArchiveReader } from '../../../src/handlers/directory/archive-reader.ts';
import type { ArchiveMember } from '../../../src/handlers/directory/archive-reader.ts';
import { parsePaxRecords, paxRecord } from '../../../src/handlers/directory/archive-pax.ts';
import { ArchiveWriter } from '../../../src/handlers/directory/archive-writer.ts';
import type { MemberToWrite } from '../../../src/handlers/directory/archive-writer.ts';
import type { TransferBytes } from '../../../src/sink.ts';

/** Hands bytes out in pieces of the given sizes, and overwrites each as soon as it is no longer lent. */
async function* lent(bytes: Uint8Array, sizes: Iterator<number>, asList = false): TransferBytes {
  for (let position = 0; position < bytes.length;) {
    const size = Math.max(1, sizes.next().value as number);
    await Promise.resolve();
    const piece = new Uint8Array(bytes.subarray(position, position + size));
    position += piece.length;
    const half = piece.length >> 1;
    yield asList ? new Uint8ArrayList(piece.subarray(0, half), piece.subarray(half)) : piece;
    piece.fill(0xee);
  }
}

function* always(size: number): Iterator<number> {
  for (;;) yield size;
}

function* cycle(sizes: readonly number[]): Iterator<number> {
  for (;;) yield* sizes;
}

interface Read extends ArchiveMember {
  readonly data: Buffer;
}

async function readAll(bytes: TransferBytes): Promise<Read[]> {
  const reader = new ArchiveReader(bytes);
  const members: Read[] = [];
  for (;;) {
    const member = await reader.next();
    if (member === null) return members;
    const parts: Buffer[] = [];
    for (let piece = await reader.data(); piece !== null; piece = await reader.data()) parts.push(Buffer.from(piece));
    members.push({ ...member, data: Buffer.concat(parts) });
  }
}

async function write(members: readonly (MemberToWrite & { data?: Uint8Array })[]): Promise<Buffer> {
  const written: Buffer[] = [];
  const writer = new ArchiveWriter(async (bytes) => {
    await Promise.resolve();
    written.push(Buffer.from(bytes));
  });
  for (const member of members) {
    await writer.member(member);
    if (member.data !== undefined && member.data.length > 0) {
      await writer.data(member.data);
      await writer.endData();
    }
  }
  await writer.finish();
  return Buffer.concat(written);
}

const plain = { mode: 0o644, uid: 0, gid: 0, mtimeNs: 0n, size: 0, target: null, segments: null, attributes: [] };

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    return error instanceof SnapferryError ? error.code : String(error);
  }
  return 'no error';
}

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'snapferry-archive-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('an archive of GNU tar', () => {
  let archive: Buffer;
  beforeAll(() => {
    const tree = join(directory, 'tree');
    mkdirSync(join(tree, 'd'), { recursive: true });
    writeFileSync(join(tree, 'd/first'), 'content');
    linkSync(join(tree, 'd/first'), join(tree, 'd/second'));
    symlinkSync('../out/of/it', join(tree, 'd/link'));
    writeFileSync(Buffer.from(`${tree}/n\xff\n`, 'latin1'), 'raw');
    writeFileSync(join(tree, 'x'.repeat(200)), 'long');
    writeFileSync(join(tree, 'sparse'), '');
    truncateSync(join(tree, 'sparse'), 3 * 1024 * 1024);
    const sparse = openSync(join(tree, 'sparse'), 'r+');
    writeSync(sparse, Buffer.alloc(8192, 7), 0, 8192, 1024 * 1024);
    closeSync(sparse);
    execFileSync('mkfifo', [join(tree, 'fifo')]);
    archive = execFileSync(
      'tar',
      [
        '--create',
        '--format=posix',
        '--sparse',
        '--sort=name',
        '--xattrs',
        '--xattrs-include=*',
        '--acls',
        '-C',
        tree,
        '.',
      ],
      { maxBuffer: 1 << 26 },
    );
  });

  test('is read whole, with names as bytes, hard links and the sparse map', async () => {
    const members = await readAll(lent(archive, always(1 << 20)));
    const by = (path: string): Read => members.find((member) => member.path === `./${path}`)!;
    expect(members[0]).toMatchObject({ type: 'directory', path: '.' });
    expect(by('d')).toMatchObject({ type: 'directory', size: 0 });
    expect(by('d/first').data.toString()).toBe('content');
    expect(by('d/second')).toMatchObject({ type: 'hardlink', target: './d/first' });
    expect(by('d/link')).toMatchObject({ type: 'symlink', target: '../out/of/it' });
    expect(by('fifo')).toMatchObject({ type: 'fifo' });
    expect(by('n\xff\n').data.toString()).toBe('raw');
    expect(by('x'.repeat(200)).data.toString()).toBe('long');
    expect(by('sparse').size).toBe(3 * 1024 * 1024);
    expect(by('sparse').segments).toEqual([{ offset: 1024 * 1024, length: 8192 }]);
    expect(by('sparse').data.equals(Buffer.alloc(8192, 7))).toBe(true);
  });

  test('reads the same however the bytes are split', async () => {
    const whole = await readAll(lent(archive, always(1 << 20)));
    for (const size of [1, 7, 511, 512, 513]) expect(await readAll(lent(archive, always(size)))).toEqual(whole);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1 }), async (sizes) => {
        expect(await readAll(lent(archive, cycle(sizes), true))).toEqual(whole);
      }),
      { numRuns: 20 },
    );
  });

  test('cut at every block is STREAM_TRUNCATED, never an end', async () => {
    // The zeros at the end are padding: with two blocks of them the archive has ended.
    const lastData = archive.length - [...archive].reverse().findIndex((byte) => byte !== 0);
    for (let cut = 0; cut < Math.ceil(lastData / 512) * 512 + 1024; cut += 512) {
      expect(await codeOf(readAll(lent(archive.subarray(0, cut), always(1 << 20)))), `cut at ${cut}`).toBe(
        'STREAM_TRUNCATED',
      );
      expect(await codeOf(readAll(lent(archive.subarray(0, cut + 100), always(1 << 20))))).toBe('STREAM_TRUNCATED');
    }
  });

  test('with any byte of a header flipped is an error or reads as something, and never hangs or crashes otherwise', async () => {
    for (let offset = 0; offset < 4096; offset++) {
      const damaged = Buffer.from(archive);
      damaged[offset]! ^= 0x15;
      expect(await codeOf(readAll(lent(damaged, always(1 << 20))))).toMatch(
        /^(no error|PROTOCOL_VIOLATION|STREAM_TRUNCATED|LIMIT_EXCEEDED)$/,
      );
    }
  });

  test('followed by anything but zeros is refused', async () => {
    const more = Buffer.concat([archive, Buffer.alloc(511), Buffer.from('x')]);
    expect(await codeOf(readAll(lent(more, always(4096))))).toBe('PROTOCOL_VIOLATION');
  });
});

describe('what the writer writes', () => {
  test('GNU tar extracts with every field', async () => {
    const attributes = [{ keyword: 'SCHILY.xattr.user.bytes', value: Buffer.from('\x00\n=\xff', 'latin1') }];
    const long = `d/${'l'.repeat(140)}\xe9`;
    const sparse = {
      size: 5_000_000,
      segments: [
        { offset: 1_048_576, length: 4096 },
        { offset: 4_999_000, length: 1000 },
      ],
    };
    const archive = await write([
      { ...plain, path: '', type: 'directory', mode: 0o755, mtimeNs: 1_500_000_000_123_456_789n },
      { ...plain, path: 'd', type: 'directory', mode: 0o700 },
      {
        ...plain,
        path: 'd/a',
        type: 'file',
        mode: 0o4755,
        uid: 5_000_000,
        gid: 2_097_152,
        size: 3,
        data: Buffer.from('abc'),
        attributes,
        mtimeNs: -500_000_001n,
      },
      { ...plain, path: 'd/f', type: 'fifo' },
      { ...plain, path: 'd/link', type: 'symlink', target: `${'t'.repeat(300)}\xff` },
      { ...plain, path: long, type: 'file', size: 70_000, data: Buffer.alloc(70_000, 3), mtimeNs: 5n },
      { ...plain, path: 'sparse', type: 'file', ...sparse, data: Buffer.alloc(5096, 9) },
      { ...plain, path: 'hole', type: 'file', size: 1 << 20, segments: [] },
    ]);
    const target = mkdtempSync(join(directory, 'extract-'));
    const owner = process.getuid!() === 0 ? '--same-owner' : '--no-same-owner';
    execFileSync(
      'tar',
      ['--extract', '--preserve-permissions', owner, '--xattrs', '--xattrs-include=*', '-C', target],
      { input: archive },
    );
    const at = (path: string): Buffer => Buffer.from(`${target}/${path}`, 'latin1');
    expect(readFileSync(at('d/a'), 'utf8')).toBe('abc');
    const a = lstatSync(at('d/a'), { bigint: true });
    expect(a.mtimeNs).toBe(-500_000_001n);
    if (process.getuid!() === 0) expect([a.uid, a.gid, a.mode & 0o7777n]).toEqual([5_000_000n, 2_097_152n, 0o4755n]);
    expect(lstatSync(at(''), { bigint: true }).mtimeNs).toBe(1_500_000_000_123_456_789n);
    expect(lstatSync(at('d/f')).isFIFO()).toBe(true);
    expect(readlinkSync(at('d/link'), 'latin1')).toBe(`${'t'.repeat(300)}\xff`);
    expect(readFileSync(at(long)).equals(Buffer.alloc(70_000, 3))).toBe(true);
    expect(lstatSync(at(long), { bigint: true }).mtimeNs).toBe(5n);
    const content = Buffer.alloc(5_000_000);
    content.fill(9, 1_048_576, 1_052_672).fill(9, 4_999_000);
    expect(readFileSync(at('sparse')).equals(content)).toBe(true);
    expect(statSync(at('sparse')).blocks * 512).toBeLessThan(100_000);
    expect(statSync(at('hole'))).toMatchObject({ size: 1 << 20, blocks: 0 });
  });

  test('the reader reads back (property)', async () => {
    const name = fc.string({
      unit: fc
        .integer({ min: 1, max: 255 })
        .filter((c) => c !== 47)
        .map((c) => String.fromCharCode(c)),
      minLength: 1,
      maxLength: 240,
    });
    const file = fc.record({
      path: name,
      data: fc.oneof(fc.uint8Array({ maxLength: 2000 }), fc.constant(new Uint8Array(300_000).fill(1))),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(file, { maxLength: 12 }), fc.uint8Array({ maxLength: 700 }), async (files, value) => {
        const attributes = [{ keyword: 'SCHILY.xattr.user.x', value }];
        const members = files.map(({ path, data }) => ({
          ...plain,
          path,
          data,
          size: data.length,
          type: 'file' as const,
          attributes,
        }));
        const read = await readAll(lent(await write(members), always(65_536)));
        expect(read.map(({ path, size }) => ({ path, size }))).toEqual(
          members.map(({ path, size }) => ({ path, size })),
        );
        read.forEach((member, index) => {
          expect(member.data.equals(files[index]!.data)).toBe(true);
          expect(Buffer.from(member.attributes[0]!.value).equals(value)).toBe(true);
        });
      }),
      { numRuns: 60 },
    );
  });
});

describe('pax records', () => {
  test('count their own length, also where it gains a digit', () => {
    for (let length = 0; length < 1100; length++) {
      const record = paxRecord('path', 'p'.repeat(length));
      expect(Number(record.toString().split(' ')[0])).toBe(record.length);
      expect(parsePaxRecords(record).path).toBe('p'.repeat(length));
    }
  });

  test.each([
    ['a length beyond the header', '99 path=x\n'],
    ['a length of zero', '0 path=x\n'],
    ['no keyword', '5 xx\n'],
    ['no newline', '9 path=xy'],
    ['a length that is no number', 'x path=y\n'],
    ['an unknown keyword', paxRecord('GNU.volume.label', 'x').toString()],
    ['a keyword twice', paxRecord('path', 'x').toString().repeat(2)],
    ['an attribute twice', paxRecord('SCHILY.xattr.user.x', 'x').toString().repeat(2)],
    ['a negative size', paxRecord('size', '-1').toString()],
    ['a size beyond 2^53', paxRecord('size', '9007199254740993').toString()],
    ['half a sparse description', paxRecord('GNU.sparse.major', '1').toString()],
    ['an attribute larger than Linux can store', paxRecord('SCHILY.xattr.user.x', 'x'.repeat(65_537)).toString()],
  ])('with %s are refused', (_, text) => {
    expect(() => parsePaxRecords(Buffer.from(text))).toThrow(
      expect.objectContaining({ code: 'PROTOCOL_VIOLATION' }) as Error,
    );
  });
});

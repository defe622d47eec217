import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Entry } from '../../../src/handlers/directory/entry.ts';
import {
  checkTree,
  decodeEntry,
  diffEntries,
  encodeEntry,
  manifestSha256,
  printablePath,
  readEntries,
  readHeader,
  writeManifest,
  type SnapshotHeader,
} from '../../../src/handlers/directory/manifest.ts';

const emptySha256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

function entry(path: string, changes: Partial<Entry> = {}): Entry {
  const isFile = (changes.type ?? 'file') === 'file';
  return {
    path,
    type: 'file',
    mode: 0o644,
    uid: 1000,
    gid: 1000,
    mtimeNs: 1_700_000_000_123_456_789n,
    size: 0,
    sha256: isFile ? emptySha256 : null,
    target: null,
    generation: 0,
    ...changes,
  };
}

const directory = (path: string): Entry => entry(path, { type: 'directory', mode: 0o755 });
const root = directory('');

const anyName = fc
  .array(fc.integer({ min: 1, max: 255 }), { minLength: 1, maxLength: 40 })
  .map((bytes) => Buffer.from(bytes.filter((byte) => byte !== 47)).toString('latin1'))
  .filter((name) => name !== '' && name !== '.' && name !== '..' && name !== '.snapferry');

describe('encodeEntry and decodeEntry', () => {
  it('are inverse for names in any bytes', () => {
    fc.assert(
      fc.property(anyName, anyName, fc.bigInt({ min: -(2n ** 62n), max: 2n ** 63n }), (path, target, mtimeNs) => {
        const link = entry(path, { type: 'symlink', target, mtimeNs });
        expect(decodeEntry(encodeEntry(link))).toEqual(link);
      }),
    );
  });

  it('writes one line, readable where the name is UTF-8', () => {
    const line = encodeEntry(entry(Buffer.from('Käse\n').toString('latin1')));
    expect(line).toContain('"path":"Käse\\n"');
    expect(line).not.toContain('\n');
    expect(encodeEntry(entry('\xff'))).toContain('"pathBytes":"/w=="');
  });

  const good = encodeEntry(entry('a'));
  it.each([
    ['no JSON', 'nonsense'],
    ['a list', '[]'],
    ['an unknown field', good.replace('{', '{"x":1,')],
    ['another order', `{"type":"file",${good.slice(1).replace('"type":"file",', '')}`],
    ['a space', good.replace(',', ', ')],
    ['a missing field', good.replace(',"generation":0', '')],
    ['an unknown type', good.replace('"file"', '"device"')],
    ['a mode that is too big', good.replace('"mode":420', '"mode":4096')],
    ['a negative mode', good.replace('"mode":420', '"mode":-1')],
    ['a mode as text', good.replace('"mode":420', '"mode":"420"')],
    ['an owner that chown takes for none', good.replace('"uid":1000', '"uid":4294967295')],
    ['a fractional size', good.replace('"size":0', '"size":0.5')],
    ['a huge size', good.replace('"size":0', '"size":9007199254740993')],
    ['a negative size', good.replace('"size":0', '"size":-1')],
    ['a number as time', good.replace(/"mtimeNs":"(\d+)"/, '"mtimeNs":$1')],
    ['a padded time', good.replace('"mtimeNs":"', '"mtimeNs":"0')],
    ['a short digest', good.replace(emptySha256, emptySha256.slice(1))],
    ['an upper-case digest', good.replace(emptySha256, emptySha256.toUpperCase())],
    ['a file without digest', good.replace(`"${emptySha256}"`, 'null')],
    ['a file with a target', good.replace('"target":null', '"target":"x"')],
    ['a surrogate', good.replace('"path":"a"', '"path":"\\ud800"')],
    ['base64 of a name that is UTF-8', good.replace('"path":"a"', '"pathBytes":"YQ=="')],
    ['a NUL', good.replace('"path":"a"', '"path":"\\u0000"')],
  ])('refuses a line with %s', (_what, line) => {
    expect(line).not.toBe(good);
    expect(() => decodeEntry(line)).toThrow(expect.objectContaining({ code: 'PROTOCOL_VIOLATION' }) as Error);
  });
});

describe('checkTree', () => {
  const file = entry('d/f');
  const link = (target: string, changes: Partial<Entry> = {}): Entry =>
    entry('z', { type: 'hardlink', target, ...changes });

  it('takes a tree, whose order is that of bytes', () => {
    checkTree([root, directory('d'), entry('d-'), file, entry('d0'), link('d/f'), entry('\xff')]);
  });

  const long = 'x'.repeat(256);
  it.each<[string, Entry[]]>([
    ['nothing', []],
    ['no root', [directory('d')]],
    ['a root that is a file', [entry('')]],
    ['the wrong order', [root, entry('b'), entry('a')]],
    ['a duplicate', [root, entry('a'), entry('a')]],
    ['two roots', [root, root]],
    ['an absolute path', [root, entry('/etc')]],
    ['a trailing slash', [root, directory('d'), entry('d/')]],
    ['an empty component', [root, directory('d'), entry('d//f')]],
    ['a dot', [root, entry('.')]],
    ['dots', [root, entry('..')]],
    ['dots inside', [root, directory('d'), entry('d/../../etc')]],
    ['a NUL', [root, entry('a\0b')]],
    ['a long component', [root, entry(long)]],
    ['the reserved name', [root, directory('.snapferry')]],
    ['something under the reserved name', [root, entry('.snapferry/x')]],
    ['a missing parent', [root, file]],
    ['a parent that is a file', [root, entry('d'), file]],
    ['a parent that is a symlink', [root, entry('d', { type: 'symlink', target: '/' }), file]],
    ['a hardlink to nothing', [root, link('a')]],
    ['a hardlink to a directory', [root, directory('d'), link('d')]],
    ['a hardlink to a symlink', [root, entry('a', { type: 'symlink', target: 'b' }), link('a')]],
    ['a hardlink to a later file', [root, link('zz'), entry('zz')]],
    ['a hardlink to itself', [root, link('z')]],
    ['a hardlink to a hardlink', [root, entry('a'), { ...link('a'), path: 'y' }, link('y')]],
    ['a hardlink out', [root, link('../../etc/passwd')]],
    ['a hardlink with another mode', [root, entry('a'), link('a', { mode: 0o4755 })]],
    ['a hardlink with another owner', [root, entry('a'), link('a', { uid: 0 })]],
    ['a negative size', [root, entry('a', { size: -1 })]],
    ['a bad mode', [root, entry('a', { mode: 0o10000 })]],
    ['a bad digest', [root, entry('a', { sha256: 'abc' })]],
    ['a directory with a digest', [root, entry('a', { type: 'directory', sha256: emptySha256 })]],
    ['a symlink to nowhere', [root, entry('a', { type: 'symlink', target: '' })]],
    ['a fifo with a size', [root, entry('a', { type: 'fifo', size: 1 })]],
  ])('refuses %s', (_what, entries) => {
    expect(() => checkTree(entries)).toThrow(expect.objectContaining({ code: 'PROTOCOL_VIOLATION' }) as Error);
  });

  it('allows the longest names and not one byte more', () => {
    checkTree([root, entry(long.slice(1))]);
    const deep: Entry[] = [root];
    for (let path = 'p'.repeat(200); path.length <= 4050; path += `/${'p'.repeat(200)}`) deep.push(directory(path));
    const last = deep.at(-1)!.path;
    checkTree([...deep, entry(`${last}/`.padEnd(4096, 'x'))]);
    expect(() => checkTree([...deep, entry(`${last}/`.padEnd(4097, 'x'))])).toThrow(/4096 bytes/);
  });
});

describe('diffEntries', () => {
  it('gives all for an initial transfer', () => {
    expect(diffEntries(null, [root, entry('a')])).toEqual({ removed: [], put: [root, entry('a')] });
  });

  it('gives what was removed, added and changed in any field', () => {
    const from = [root, entry('a'), entry('b'), entry('c'), entry('e')];
    const to = [root, entry('b', { generation: 1 }), entry('c'), entry('d')];
    const { removed, put } = diffEntries(from, to);
    expect(removed).toEqual(['a', 'e']);
    expect(put.map(({ path }) => path)).toEqual(['b', 'd']);
  });

  it('puts a hardlink again with its file', () => {
    const link = entry('z', { type: 'hardlink', target: 'a' });
    const { put } = diffEntries([root, entry('a'), link], [root, entry('a', { size: 1 }), link]);
    expect(put.map(({ path }) => path)).toEqual(['a', 'z']);
  });

  it('leads from any list to any other', () => {
    const lists = fc
      .uniqueArray(anyName, { maxLength: 20 })
      .chain((names) =>
        fc
          .tuple(...names.map((name) => fc.tuple(fc.constant(name), fc.integer({ min: 0, max: 2 }))))
          .map((pairs) =>
            [root, ...pairs.map(([name, generation]) => entry(name, { generation }))].sort((a, b) =>
              a.path < b.path ? -1 : 1,
            ),
          ),
      );
    fc.assert(
      fc.property(lists, lists, (from, to) => {
        const delta = diffEntries(from, to);
        const result = new Map(from.map((item) => [item.path, item]));
        for (const path of delta.removed) expect(result.delete(path)).toBe(true);
        for (const item of delta.put) result.set(item.path, item);
        expect([...result.values()].sort((a, b) => (a.path < b.path ? -1 : 1))).toEqual(to);
      }),
    );
  });
});

describe('the files of a manifest', () => {
  let place: string;
  beforeAll(async () => {
    place = await mkdtemp(join(tmpdir(), 'snapferry-manifest-'));
  });
  afterAll(() => rm(place, { recursive: true, force: true }));

  async function write(name: string, entries: Entry[]): Promise<SnapshotHeader> {
    const header: SnapshotHeader = {
      format: 1,
      guid: 2n ** 64n - 1n,
      createTXG: 7n,
      creation: '2026-11-21T00:00:00.000Z',
      entries: entries.length,
      bytes: 0,
      manifestSha256: await manifestSha256(entries),
      missing: ['secret'],
      notApplied: ['owner'],
    };
    await writeManifest(place, name, header, entries);
    return header;
  }

  const many = [root, ...Array.from({ length: 20_000 }, (_, index) => entry(`f${String(index).padStart(6, '0')}\xff`))];

  it('come back as they were', async () => {
    const header = await write('many', many);
    expect(await readHeader(place, 'many')).toEqual(header);
    expect(await readEntries(place, 'many')).toEqual(many);
  });

  it.each<[string, (path: string) => Promise<unknown>]>([
    [
      'a flipped bit',
      async (path) => {
        const bytes = await readFile(path);
        bytes[Math.trunc(bytes.length / 2)]! ^= 1;
        await writeFile(path, bytes);
      },
    ],
    ['a cut', async (path) => writeFile(path, (await readFile(path)).subarray(0, -20))],
    ['nothing left', (path) => writeFile(path, '')],
    ['something added', (path) => appendFile(path, 'x')],
    ['no file', (path) => rm(path)],
  ])('are refused when damaged: %s', async (_what, harm) => {
    await write('harmed', many);
    await harm(join(place, 'harmed.entries.gz'));
    await expect(readEntries(place, 'harmed')).rejects.toMatchObject({ code: 'SOURCE_FAILED' });
  });

  it('are refused when the header is of another list, or damaged', async () => {
    const header = await write('one', [root]);
    await expect(writeManifest(place, 'two', header, [root, entry('a')])).rejects.toMatchObject({ code: 'INTERNAL' });
    const path = join(place, 'one.json');
    const text = await readFile(path, 'utf8');
    for (const damaged of [
      '',
      '{',
      '[]',
      text.replace('"format":1', '"format":2'),
      text.replace('18446744073709551615', '0'),
    ]) {
      await writeFile(path, damaged);
      await expect(readHeader(place, 'one')).rejects.toMatchObject({ code: 'SOURCE_FAILED' });
    }
  });
});

it('printablePath shows no control characters', () => {
  expect(printablePath('a\nb\x1b[31m')).toBe('a\\u000ab\\u001b[31m');
  expect(printablePath(Buffer.from('Käse').toString('latin1'))).toBe('Käse');
  expect(printablePath('\xff')).toBe('\ufffd');
});

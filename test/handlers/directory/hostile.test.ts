import { hash } from 'node:crypto';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { FilesystemVersion } from '../../../src/dataset.ts';
import { blockBytes, paddingAfter, writeHeaderBlock } from '../../../src/handlers/directory/archive-format.ts';
import { paxRecord } from '../../../src/handlers/directory/archive-pax.ts';
import { ArchiveWriter } from '../../../src/handlers/directory/archive-writer.ts';
import type { MemberToWrite } from '../../../src/handlers/directory/archive-writer.ts';
import { encodeDelta, encodeEnd, encodeHeader, plannedMembers } from '../../../src/handlers/directory/delta-stream.ts';
import type { StreamHeader } from '../../../src/handlers/directory/delta-stream.ts';
import type { Entry } from '../../../src/handlers/directory/entry.ts';
import { diffEntries, manifestSha256 } from '../../../src/handlers/directory/manifest.ts';
import type { Delta } from '../../../src/handlers/directory/manifest.ts';
import { directorySink } from '../../../src/handlers/directory/sink.ts';
import { encodeResumeToken } from '../../../src/handlers/directory/resume-token.ts';
import { restore } from '../../../src/handlers/directory/restore.ts';
import type { ReplicationSink } from '../../../src/sink.ts';
import {
  childrenAlive,
  describeTree,
  DirectoryFixture,
  failure,
  filesystem,
  lend,
} from '../../support/directory-fixture.ts';

let fixture: DirectoryFixture;
let canary: Record<string, string>;

/** What every attack here tries to reach: beside, above and around the copy. */
beforeEach(() => {
  fixture = new DirectoryFixture();
  mkdirSync(join(fixture.root, 'copies'));
  mkdirSync(join(fixture.root, 'outside/deep'), { recursive: true });
  writeFileSync(join(fixture.root, 'outside/secret'), 'secret');
  writeFileSync(join(fixture.root, 'secret'), 'secret');
  canary = describeTree(fixture.root, ['copies']);
});
afterEach(() => fixture.cleanup());

const version: FilesystemVersion = {
  type: 'snapshot',
  name: 'evil',
  guid: 77n,
  createTXG: 1n,
  creation: '2026-01-01T00:00:00Z',
};
const later: FilesystemVersion = { ...version, name: 'later', guid: 78n };

const common = {
  mode: 0o755,
  uid: 0,
  gid: 0,
  mtimeNs: 1_000_000_000n,
  size: 0,
  sha256: null,
  target: null,
  generation: 0,
};
const root: Entry = { ...common, path: '', type: 'directory' };
const directory = (path: string): Entry => ({ ...common, path, type: 'directory' });
const symlink = (path: string, target: string): Entry => ({ ...common, path, type: 'symlink', target });
const hardlink = (path: string, target: string): Entry => ({ ...common, path, type: 'hardlink', target });
const file = (path: string, content: string): Entry => ({
  ...common,
  path,
  type: 'file',
  size: content.length,
  sha256: hash('sha256', content, 'hex'),
});

/** A member, or bytes that stand where members do. */
type Part = (Partial<MemberToWrite> & Pick<MemberToWrite, 'path' | 'type'> & { content?: string }) | Buffer;

const of = (entry: Entry, content?: string): Part => ({ ...entry, ...(content === undefined ? {} : { content }) });

interface Forgery {
  readonly from?: bigint | null;
  readonly base?: readonly Entry[];
  readonly entries: readonly Entry[];
  /** By default what belongs to the entries, files without content. */
  readonly parts?: readonly Part[];
  readonly header?: Partial<StreamHeader>;
  readonly delta?: Delta;
  readonly list?: string;
}

async function archive(parts: readonly Part[]): Promise<Buffer> {
  const written: Buffer[] = [];
  const writer = new ArchiveWriter((bytes) => {
    written.push(Buffer.from(bytes));
    return Promise.resolve();
  });
  for (const part of parts) {
    if (!('type' in part)) {
      await writer.flush();
      written.push(part);
      continue;
    }
    const { content = '' } = part;
    await writer.member({ ...common, size: content.length, segments: null, attributes: [], ...part });
    await writer.data(Buffer.from(content));
    await writer.endData();
  }
  await writer.finish();
  return Buffer.concat(written);
}

async function forge(forgery: Forgery): Promise<Buffer> {
  const { entries, base = [], from = null } = forgery;
  const delta = forgery.delta ?? diffEntries(base, entries);
  const { buffers, end } = encodeDelta(delta);
  const header: StreamHeader = {
    from,
    to: from === null ? version : later,
    manifestSha256: await manifestSha256(entries),
    entries: entries.length,
    resumed: false,
    skipped: 0,
    missing: [],
    ...forgery.header,
  };
  const list = forgery.list ?? `${encodeHeader(header)}\n${Buffer.concat(buffers).toString()}${encodeEnd(end)}\n`;
  const planned = plannedMembers({ delta, base, to: entries, skipped: 0 });
  const parts = forgery.parts ?? planned.filter(({ isInStream }) => isInStream).map(({ entry }) => of(entry));
  return archive([
    { path: '.snapferry/stream.jsonl', type: 'file', content: list, size: Buffer.byteLength(list) },
    ...parts,
  ]);
}

/** A bare member: header block and data, whatever they say. */
function raw(path: string, typeFlag: string, content = '', target = '', size = content.length): Buffer {
  const block = Buffer.alloc(blockBytes);
  writeHeaderBlock(block, 0, { path, typeFlag, mode: 0o4777, uid: 0, gid: 0, size, mtimeSeconds: 0, target });
  return Buffer.concat([block, Buffer.from(content, 'latin1'), Buffer.alloc(paddingAfter(content.length))]);
}

const pax = (...records: readonly [string, string][]): Buffer =>
  raw('x', 'x', Buffer.concat(records.map(([keyword, value]) => paxRecord(keyword, value))).toString('latin1'));

/** Receives it, and demands that nothing around the copy has changed and nothing was committed. */
async function attack(stream: Buffer, sink: ReplicationSink = fixture.sink): Promise<string> {
  const { code, message } = await failure(
    sink.receive({ filesystem, from: null, to: version, format: 'directory', resumed: false }, lend(stream)),
  );
  expect(describeTree(fixture.root, ['copies']), message).toEqual(canary);
  expect(readdirSync(join(fixture.root, 'copies'))).toEqual(['data']);
  expect(await fixture.sink.filesystemVersions(filesystem)).toEqual([]);
  expect(fixture.staging().filter((name) => name !== 'receive')).toEqual([]);
  expect(childrenAlive()).toEqual([]);
  // What a restore takes is no safer.
  const target = join(fixture.root, 'copies/restored');
  expect((await failure(restore({ bytes: lend(stream), to: target }))).code).toBe(code);
  expect(readdirSync(join(fixture.root, 'copies'))).toEqual(['data']);
  expect(describeTree(fixture.root, ['copies'])).toEqual(canary);
  return code;
}

test('the forger can write an honest stream', async () => {
  const entries = [root, directory('d'), file('d/f', 'content'), hardlink('d/g', 'd/f'), symlink('s', '/')];
  const parts = [
    of(root),
    of(directory('d')),
    of(file('d/f', 'content'), 'content'),
    of(hardlink('d/g', 'd/f')),
    of(symlink('s', '/')),
  ];
  await fixture.receive(null, version, lend(await forge({ entries, parts })));
  expect(Object.keys(describeTree(fixture.copied(version)))).toEqual(['', 'd', 'd/f', 'd/g', 's']);
});

describe('a list of files that reaches out of the tree is refused before anything is made:', () => {
  test.each<[string, readonly Entry[]]>([
    ['a path with ..', [root, file('../evil', 'x')]],
    ['.. in the middle', [root, directory('a'), directory('a/..'), file('a/../evil', 'x')]],
    ['an absolute path', [root, file('/tmp/evil', 'x')]],
    ['an empty component', [root, directory('a'), file('a//evil', 'x')]],
    ['a NUL', [root, file('a\0b', 'x')]],
    ['a file beneath a symlink', [root, symlink('out', '../../../../outside'), file('out/evil', 'x')]],
    ['a file beneath a file', [root, file('f', 'x'), file('f/evil', 'x')]],
    ['a file beneath nothing', [root, file('missing/evil', 'x')]],
    ['a name twice', [root, file('f', 'x'), file('f', 'y')]],
    ['names out of order', [root, file('g', 'x'), file('f', 'y')]],
    ['no root', [file('f', 'x')]],
    ['a root that is a symlink', [{ ...symlink('', '../outside') }]],
    ['a hard link out', [root, hardlink('evil', '../../../../outside/secret')]],
    ['a hard link to an absolute path', [root, hardlink('evil', '/etc/passwd')]],
    ['a hard link to a symlink', [root, symlink('a', '../../../../secret'), hardlink('evil', 'a')]],
    ['a hard link to a directory', [root, directory('a'), hardlink('evil', 'a')]],
    ['a hard link to a later file', [root, hardlink('evil', 'f'), file('f', 'x')]],
    ['.snapferry', [root, file('.snapferry', 'x')]],
    ['something in .snapferry', [root, directory('.snapferry'), file('.snapferry/snapferry.json', 'x')]],
    ['a component of 256 bytes', [root, file('x'.repeat(256), 'x')]],
    ['a negative size', [root, { ...file('f', 'x'), size: -1 }]],
    ['a bad mode', [root, { ...file('f', 'x'), mode: 0o10000 }]],
    ['a type that does not exist', [root, { ...file('f', 'x'), type: 'device' as 'file' }]],
  ])('%s', async (_, entries) => {
    const stream = await forge({
      entries,
      parts: entries.map((entry) => raw(entry.path, '0', 'x')),
      delta: { removed: [], put: entries },
    });
    expect(await attack(stream)).toBe('PROTOCOL_VIOLATION');
    expect(fixture.staging()).toEqual([]);
  });
});

describe('members that are not what the list announced are refused:', () => {
  const entries = [root, directory('d'), file('d/f', 'content')];
  const head = [of(root), of(directory('d'))];
  const out = '../../../../outside';
  test.each<[string, readonly Part[]]>([
    ['a path with ..', [...head, raw('d/../../../../evil', '0', 'content')]],
    ['an absolute path', [...head, raw('/tmp/evil', '0', 'content')]],
    ['another path in a pax header', [...head, pax(['path', `${out}/evil`]), raw('d/f', '0', 'content')]],
    ['a symlink, then a file through it', [of(root), raw('d', '2', '', out), raw('d/f', '0', 'content')]],
    ['a symlink of a long target', [of(root), pax(['linkpath', out]), raw('d', '2', '', 'short')]],
    ['a symlink where a file should be', [...head, raw('d/f', '2', '', `${out}/secret`)]],
    ['a hard link out where a file should be', [...head, raw('d/f', '1', '', `${out}/secret`)]],
    ['a hard link to an absolute path', [...head, raw('d/f', '1', '', '/etc/passwd')]],
    ['a character device', [...head, raw('d/f', '3')]],
    ['a block device', [...head, raw('d/f', '4')]],
    ['a fifo', [...head, raw('d/f', '6')]],
    ['a contiguous file', [...head, raw('d/f', '7', 'content')]],
    ['a GNU long name', [...head, raw('././@LongLink', 'L', '/tmp/evil\0'), raw('d/f', '0', 'content')]],
    ['a GNU long link', [...head, raw('././@LongLink', 'K', '/tmp/evil\0'), raw('d/f', '0', 'content')]],
    ['an old GNU sparse file', [...head, raw('d/f', 'S', 'content')]],
    ['a GNU multivolume part', [...head, raw('d/f', 'M', 'content')]],
    ['a volume label', [raw('label', 'V'), ...head, raw('d/f', '0', 'content')]],
    [
      'a global pax header',
      [raw('g', 'g', paxRecord('path', '/tmp/evil').toString()), ...head, raw('d/f', '0', 'content')],
    ],
    [
      'two pax headers in a row',
      [...head, pax(['mtime', '1']), pax(['path', '/tmp/evil']), raw('d/f', '0', 'content')],
    ],
    ['a directory with data', [of(root), raw('d/', '5', 'content'), raw('d/f', '0', 'content')]],
    ['a member twice', [...head, raw('d/f', '0', 'content'), raw('d/f', '0', 'content')]],
    ['a directory twice', [...head, of(directory('d')), raw('d/f', '0', 'content')]],
    ['a surplus member', [...head, raw('d/f', '0', 'content'), raw('d/g', '0', 'content')]],
    ['a surplus symlink before the file', [...head, raw('d/e', '2', '', out), raw('d/f', '0', 'content')]],
    ['a file beneath the file', [...head, raw('d/f', '0', 'content'), raw('d/f/evil', '0', 'content')]],
    ['a missing member', [of(root), raw('d/f', '0', 'content')]],
    ['the last member missing', head],
    ['members out of order', [of(directory('d')), of(root), raw('d/f', '0', 'content')]],
    ['a file too long', [...head, raw('d/f', '0', 'content!')]],
    ['a file too short', [...head, raw('d/f', '0', 'conten')]],
    ['another size in a pax header', [...head, pax(['size', '6']), raw('d/f', '0', 'content')]],
    ['a list a second time', [...head, raw('.snapferry/stream.jsonl', '0', 'content'), raw('d/f', '0', 'content')]],
  ])('%s', async (_, parts) => {
    expect(await attack(await forge({ entries, parts }))).toBe('PROTOCOL_VIOLATION');
  });

  test('another content of the same length', async () => {
    expect(await attack(await forge({ entries, parts: [...head, raw('d/f', '0', 'CONTENT')] }))).toBe(
      'DIGEST_MISMATCH',
    );
  });

  test('a header with a wrong checksum', async () => {
    const damaged = raw('d/f', '0', 'content');
    damaged[0]! ^= 1;
    expect(await attack(await forge({ entries, parts: [...head, damaged] }))).toBe('PROTOCOL_VIOLATION');
  });

  test('a base-256 size', async () => {
    const damaged = raw('d/f', '0', 'content');
    damaged[124] = 0x80;
    expect(await attack(await forge({ entries, parts: [...head, damaged] }))).toBe('PROTOCOL_VIOLATION');
  });

  test('a pax header beyond the limit', async () => {
    const stream = await forge({ entries, parts: [...head, raw('x', 'x', '', '', 1024 * 1024 + 1)] });
    expect(await attack(stream)).toBe('LIMIT_EXCEEDED');
  });

  test('a pax header at the limit, full of attributes', async () => {
    const value = 'x'.repeat(60_000);
    const records = Array.from({ length: 17 }, (_, i): [string, string] => [
      `SCHILY.xattr.user.${String.fromCharCode(97 + i)}`,
      value,
    ]);
    const stream = await forge({ entries, parts: [...head, pax(...records), raw('d/f', '0', 'CONTENT')] });
    expect(await attack(stream)).toBe('DIGEST_MISMATCH');
  });

  test('cut at every block: nothing is committed, and the code says that it is cut', async () => {
    const stream = await forge({ entries, parts: [...head, raw('d/f', '0', 'content')] });
    for (let cut = 0; cut <= stream.length - blockBytes; cut += blockBytes) {
      const request = { filesystem, from: null, to: version, format: 'directory', resumed: false };
      expect(await failure(fixture.sink.receive(request, lend(stream.subarray(0, cut))))).toMatchObject({
        code: 'STREAM_TRUNCATED',
      });
      expect(await fixture.sink.filesystemVersions(filesystem)).toEqual([]);
    }
    await fixture.receive(null, version, lend(stream));
  });
});

describe('a sparse file that lies is refused:', () => {
  const content = `${'\0'.repeat(1024)}data${'\0'.repeat(1020)}`;
  const entries = [root, file('f', content)];
  const sparse = (map: string, data: string, realSize = 2048): Part[] => [
    of(root),
    pax(
      ['GNU.sparse.major', '1'],
      ['GNU.sparse.minor', '0'],
      ['GNU.sparse.name', 'f'],
      ['GNU.sparse.realsize', String(realSize)],
    ),
    raw('GNUSparseFile.1/f', '0', map.padEnd(Math.ceil(map.length / 512) * 512, '\0') + data),
  ];

  test('an honest one is taken', async () => {
    await fixture.receive(
      null,
      version,
      lend(await forge({ entries, parts: sparse('2\n1024\n4\n2048\n0\n', 'data') })),
    );
    expect(describeTree(fixture.copied(version))['f']).toContain(hash('sha256', content, 'hex'));
  });

  test.each<[string, readonly Part[], string]>([
    ['overlapping runs', sparse('2\n1024\n3\n1026\n1\n', 'data'), 'PROTOCOL_VIOLATION'],
    ['descending runs', sparse('2\n1024\n4\n0\n0\n', 'data'), 'PROTOCOL_VIOLATION'],
    ['a run beyond the end', sparse('1\n2046\n4\n', 'data'), 'PROTOCOL_VIOLATION'],
    ['less data than the map says', sparse('1\n1024\n5\n', 'data'), 'PROTOCOL_VIOLATION'],
    ['more data than the map says', sparse('1\n1024\n3\n', 'data'), 'PROTOCOL_VIOLATION'],
    ['a real size that differs', sparse('2\n1024\n4\n4096\n0\n', 'data', 4096), 'PROTOCOL_VIOLATION'],
    ['more runs than there is map', sparse('999999999\n1024\n4\n', 'data'), 'PROTOCOL_VIOLATION'],
    ['a negative offset', sparse('1\n-4\n4\n', 'data'), 'PROTOCOL_VIOLATION'],
    ['an offset beyond 2^53', sparse('1\n9999999999999999\n4\n', 'data'), 'PROTOCOL_VIOLATION'],
    ['a number without end', sparse(`${'1'.repeat(5000)}\n`, 'data'), 'PROTOCOL_VIOLATION'],
    ['the data elsewhere', sparse('2\n1000\n4\n2048\n0\n', 'data'), 'DIGEST_MISMATCH'],
    [
      'a name that is another file',
      [
        of(root),
        pax(
          ['GNU.sparse.major', '1'],
          ['GNU.sparse.minor', '0'],
          ['GNU.sparse.name', '../../evil'],
          ['GNU.sparse.realsize', '2048'],
        ),
        raw('f', '0', '1\n1024\n4\n'.padEnd(512, '\0') + 'data'),
      ],
      'PROTOCOL_VIOLATION',
    ],
    ['version 0.1', [of(root), pax(['GNU.sparse.map', '1024,4']), raw('f', '0', 'data')], 'PROTOCOL_VIOLATION'],
  ])('%s', async (_, parts, code) => {
    expect(await attack(await forge({ entries, parts }))).toBe(code);
  });
});

describe('a list that is not about this step is refused:', () => {
  const entries = [root, file('f', '')];
  test.each<[string, Partial<Forgery>, string]>([
    ['another version', { header: { to: { ...version, guid: 1n } } }, 'PROTOCOL_VIOLATION'],
    ['another start', { header: { from: 5n } }, 'PROTOCOL_VIOLATION'],
    ['resumed although nothing is here', { header: { resumed: true } }, 'PROTOCOL_VIOLATION'],
    ['contents left out', { header: { skipped: 1 } }, 'PROTOCOL_VIOLATION'],
    ['another digest', { header: { manifestSha256: '0'.repeat(64) } }, 'DIGEST_MISMATCH'],
    ['another number of entries', { header: { entries: 3 } }, 'DIGEST_MISMATCH'],
    ['removing what is not there', { delta: { removed: ['x'], put: entries } }, 'PROTOCOL_VIOLATION'],
    ['removing the way out', { delta: { removed: ['../../../outside'], put: entries } }, 'PROTOCOL_VIOLATION'],
    ['no lines', { list: '' }, 'PROTOCOL_VIOLATION'],
    ['no JSON', { list: 'x\n' }, 'PROTOCOL_VIOLATION'],
    [
      'a header alone',
      {
        list: `${encodeHeader({ from: null, to: version, manifestSha256: '', entries: 0, resumed: false, skipped: 0, missing: [] })}\n`,
      },
      'PROTOCOL_VIOLATION',
    ],
    ['another format', { list: '{"format":2}\n' }, 'PROTOCOL_VIOLATION'],
    ['a line without end', { list: 'x'.repeat(20 * 1024 * 1024) }, 'PROTOCOL_VIOLATION'],
  ])('%s', async (what, forgery, code) => {
    const stream = await forge({ entries, ...forgery });
    // A restore takes whatever version it is given.
    if (what === 'another version') {
      const request = { filesystem, from: null, to: version, format: 'directory', resumed: false };
      expect((await failure(fixture.sink.receive(request, lend(stream)))).code).toBe(code);
    } else {
      expect(await attack(stream)).toBe(code);
    }
    expect(fixture.staging()).toEqual([]);
  });

  test('lines changed under way', async () => {
    const stream = await forge({ entries });
    const text = stream.toString('latin1').replace('"uid":0', '"uid":1');
    expect(await attack(Buffer.from(text, 'latin1'))).toBe('PROTOCOL_VIOLATION');
  });

  test('a field twice, or one that nobody knows', async () => {
    for (const change of [
      (line: string) => line.replace('"uid":0', '"uid":0,"uid":0'),
      (line: string) => line.replace('"uid":0', '"uid":0,"x":1'),
    ]) {
      const { buffers, end } = encodeDelta({ removed: [], put: entries });
      const header = {
        from: null,
        to: version,
        manifestSha256: await manifestSha256(entries),
        entries: 2,
        resumed: false,
        skipped: 0,
        missing: [],
      };
      const list = `${encodeHeader(header)}\n${change(Buffer.concat(buffers).toString())}${encodeEnd(end)}\n`;
      expect(await attack(await forge({ entries, list }))).toBe('PROTOCOL_VIOLATION');
    }
  });

  test('longer than the limits, at n and n + 1', async () => {
    const stream = await forge({ entries, parts: [of(root), of(file('f', ''))] });
    const listBytes = stream.toString('latin1').indexOf('\0', 512) - 512;
    const at = (deltaBytesMax: number, deltaLinesMax: number): ReplicationSink =>
      directorySink({ locate: () => fixture.copy, limits: { deltaBytesMax, deltaLinesMax } });
    const code = async (sink: ReplicationSink): Promise<string> =>
      (await failure(sink.receive({ filesystem, from: null, to: version, format: null, resumed: false }, lend(stream))))
        .code;
    expect(await code(at(listBytes - 1, 2))).toBe('LIMIT_EXCEEDED');
    expect(await code(at(listBytes, 1))).toBe('LIMIT_EXCEEDED');
    expect(await code(at(listBytes, 2))).toBe('no error');
  });
});

describe('on top of what is here already', () => {
  const base = [root, directory('d'), file('d/f', 'old'), symlink('out', '../../../../outside')];
  beforeEach(async () => {
    const parts = [
      of(root),
      of(directory('d')),
      of(file('d/f', 'old'), 'old'),
      of(symlink('out', '../../../../outside')),
    ];
    await fixture.receive(null, version, lend(await forge({ entries: base, parts })));
    canary = describeTree(fixture.root, ['copies/data/lock', 'copies/data/staging']);
  });

  async function attackLater(forgery: Forgery): Promise<string> {
    const { code, message } = await failure(
      fixture.receive(version, later, lend(await forge({ from: version.guid, base, ...forgery }))),
    );
    expect(describeTree(fixture.root, ['copies/data/lock', 'copies/data/staging']), message).toEqual(canary);
    return code;
  }

  test('a file through a symlink that is here', async () => {
    const entries = [...base, file('out/evil', 'x')];
    const parts = [of(root), raw('out/evil', '0', 'x')];
    expect(await attackLater({ entries, parts, delta: { removed: [], put: [file('out/evil', 'x')] } })).toBe(
      'PROTOCOL_VIOLATION',
    );
  });

  test('a symlink that becomes a directory with a file stays inside', async () => {
    const entries = [root, directory('d'), file('d/f', 'old'), directory('out'), file('out/secret', 'new')];
    const parts = [of(root), of(directory('out')), of(file('out/secret', 'new'), 'new')];
    await fixture.receive(version, later, lend(await forge({ from: version.guid, base, entries, parts })));
    expect(Object.keys(describeTree(fixture.copied(later)))).toEqual(['', 'd', 'd/f', 'out', 'out/secret']);
    expect(describeTree(join(fixture.root, 'outside'))['secret']).toContain(hash('sha256', 'secret', 'hex'));
    expect(describeTree(fixture.copied(version))['out']).toContain('-> ../../../../outside');
  });

  test('a hard-linked file that changes is not written through into the older snapshot', async () => {
    // A setuid bit is applied only for who keeps the copy, unless that is root.
    const own = { uid: process.getuid!(), gid: process.getgid!() };
    const entries = [root, directory('d'), { ...file('d/f', 'new'), mode: 0o4777, ...own }, base[3]!];
    const parts = [of(root), of(directory('d')), raw('d/f', '0', 'new')];
    await fixture.receive(version, later, lend(await forge({ from: version.guid, base, entries, parts })));
    expect(describeTree(fixture.copied(version))['d/f']).toContain(hash('sha256', 'old', 'hex'));
    expect(describeTree(fixture.copied(version))['d/f']).toMatch(/^100755 /);
    expect(describeTree(fixture.copied(later))['d/f']).toMatch(/^104777 /);
  });

  test('a delta with more in it than changes, that would write into the older snapshot', async () => {
    const entries = base;
    const parts = [of(root), of(directory('d')), raw('d/f', '0', 'old')];
    expect(await attackLater({ entries, parts, delta: { removed: [], put: [file('d/f', 'old')] } })).toBe(
      'PROTOCOL_VIOLATION',
    );
  });

  test('removing a directory but not what is in it', async () => {
    const entries = base.filter(({ path }) => path !== 'd');
    expect(await attackLater({ entries, parts: [of(root)], delta: { removed: ['d'], put: [] } })).toBe(
      'PROTOCOL_VIOLATION',
    );
  });

  test('a known content announced with bytes of its own', async () => {
    const moved = file('d/g', 'old');
    const entries = [root, directory('d'), moved, base[3]!];
    const parts = [of(root), of(directory('d')), of(moved, 'old')];
    expect(await attackLater({ entries, parts })).toBe('PROTOCOL_VIOLATION');
  });
});

describe('a resumed stream', () => {
  const entries = [root, file('a', 'aaaa'), file('b', 'bbbb'), file('c', 'cccc')];
  const contents = [of(entries[1]!, 'aaaa'), of(entries[2]!, 'bbbb'), of(entries[3]!, 'cccc')];

  test('may not leave out more than is here, nor go on with something else', async () => {
    const cut = (await forge({ entries, parts: [of(root), ...contents] })).subarray(0, -2048);
    expect(await failure(fixture.receive(null, version, lend(cut)))).toMatchObject({ code: 'STREAM_TRUNCATED' });
    const state = (await fixture.sink.resumeState(filesystem))!;
    const delta = encodeDelta({ removed: [], put: entries }).end;
    const tokenAt = (next: number): string =>
      encodeResumeToken({ to: version.guid, from: null, delta: delta.sha256, next });
    expect([tokenAt(1), tokenAt(2)]).toContain(state.token);
    const whole = state.token === tokenAt(1) ? 1 : 2;
    const list = (header: Partial<StreamHeader>, end = delta): Promise<string> =>
      manifestSha256(entries).then(
        (sha256) =>
          `${encodeHeader({ from: null, to: version, manifestSha256: sha256, entries: 4, resumed: true, skipped: whole, missing: [], ...header })}\n${encodeEnd(end)}\n`,
      );
    const resume = async (text: string, parts: readonly Part[]): Promise<string> =>
      (await failure(fixture.receive(null, version, lend(await forge({ entries, parts, list: text })), true))).code;
    const rest = [of(root), ...contents.slice(whole)];
    expect(await resume(await list({ skipped: 3 }), [of(root)])).toBe('PROTOCOL_VIOLATION');
    expect(await resume(await list({ skipped: 99 }), [of(root)])).toBe('PROTOCOL_VIOLATION');
    expect(await resume(await list({}, { ...delta, sha256: '0'.repeat(64) }), rest)).toBe('PROTOCOL_VIOLATION');
    expect(await resume(await list({ manifestSha256: '0'.repeat(64) }), rest)).toBe('PROTOCOL_VIOLATION');
    expect(await resume(await list({ to: { ...version, guid: 5n } }), rest)).toBe('PROTOCOL_VIOLATION');
    expect(await resume(await list({ resumed: false }), rest)).toBe('PROTOCOL_VIOLATION');
    expect(await resume(await list({}), rest)).toBe('no error');
    expect(Object.keys(describeTree(fixture.copied(version)))).toEqual(['', 'a', 'b', 'c']);
  });
});

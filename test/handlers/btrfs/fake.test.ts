import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { FilesystemVersion } from '../../../src/dataset.ts';
import { btrfsHandler } from '../../../src/handlers/btrfs/handler.ts';
import { btrfsSink } from '../../../src/handlers/btrfs/sink.ts';
import { takeBtrfsSnapshot } from '../../../src/handlers/btrfs/snapshot.ts';
import { foldUUID } from '../../../src/handlers/btrfs/uuid.ts';
import type { RPCHandler } from '../../../src/rpc/interfaces.ts';
import type { ReplicationSink } from '../../../src/sink.ts';
import { cutAfter } from '../../support/btrfs-fixture.ts';
import { btrfsRecording, recordedStream, recordedUUIDs } from '../../support/btrfs-recordings.ts';
import { childrenAlive, collect, contextWith, failure, lend } from '../../support/directory-fixture.ts';
import { FakeBtrfs } from '../../support/fake-btrfs.ts';

const filesystem = ['data', '@home'];
const streams = fileURLToPath(new URL('../../fixtures/btrfs/streams/', import.meta.url));

const mounted = vi.hoisted(() => ({ point: '/' }));
vi.mock('../../../src/handlers/btrfs/mounts.ts', async (original) => ({
  ...(await original<object>()),
  mountOf: () => Promise.resolve({ point: mounted.point, root: '/' }),
}));

let fake: FakeBtrfs;
let live: string;
let copy: string;
let handler: RPCHandler;
let sink: ReplicationSink;
let one: FilesystemVersion;
let two: FilesystemVersion;

beforeEach(async () => {
  fake = new FakeBtrfs();
  mounted.point = fake.top;
  live = join(fake.top, 'data/@home');
  copy = join(fake.top, 'backup/@home');
  fake.add({ path: live, uuid: recordedUUIDs.live });
  for (const [name, stream] of [
    ['one', 'full'],
    ['two', 'incremental'],
  ] as const) {
    const uuid = recordedUUIDs[name];
    fake.add({
      path: `${live}@${name}`,
      uuid,
      parent: recordedUUIDs.live,
      ro: true,
      stream: `${streams}${stream}.btrfs`,
    });
  }
  handler = btrfsHandler({ roots: [{ directory: live, path: filesystem }], tool: fake.tool });
  sink = btrfsSink({ locate: () => copy, tool: fake.tool });
  [one, two] = (await handler.filesystemVersions({ filesystem }, contextWith())) as [
    FilesystemVersion,
    FilesystemVersion,
  ];
  fake.runs();
});
afterEach(() => {
  expect(childrenAlive()).toEqual([]);
  fake.remove();
});

async function transfer(from: FilesystemVersion | null, to: FilesystemVersion): Promise<void> {
  const context = contextWith();
  const offered =
    from === null
      ? await handler.initialTransfer({ filesystem, version: to }, context)
      : await handler.incrementalTransfer({ filesystem, from, to }, context);
  await sink.receive({ filesystem, from, to, format: offered.format, resumed: false }, offered.bytes);
}

const receive = (bytes: Buffer) =>
  sink.receive({ filesystem, from: null, to: one, format: 'btrfs', resumed: false }, lend(bytes));
const copies = async () => ((await sink.filesystemVersions(filesystem)) ?? []).map(({ name }) => name);
const remains = () => readdirSync(join(fake.top, 'backup')).filter((name) => name.startsWith('.snapferry-'));

test('versions are what the tool lists, with times in UTC and a clean environment', () => {
  expect([one, two]).toEqual([
    {
      type: 'snapshot',
      name: 'one',
      guid: foldUUID(recordedUUIDs.one),
      createTXG: 12n,
      creation: '2026-01-01T00:00:12Z',
    },
    {
      type: 'snapshot',
      name: 'two',
      guid: foldUUID(recordedUUIDs.two),
      createTXG: 13n,
      creation: '2026-01-01T00:00:13Z',
    },
  ]);
});

test('what is run, in which order, and what is on disk at each moment', async () => {
  process.env['SNAPFERRY_SECRET'] = 'secret';
  await transfer(null, one);
  await transfer(one, two);
  delete process.env['SNAPFERRY_SECRET'];
  const runs = fake.runs();
  expect(runs.every(({ env }) => env['LC_ALL'] === 'C' && env['SNAPFERRY_SECRET'] === undefined)).toBe(true);
  expect(runs.filter(({ args }) => args[1] === 'list').every(({ env }) => env['TZ'] === 'UTC0')).toBe(true);
  const shown = (found: typeof runs) => found.map(({ args }) => args.join(' ').replaceAll(fake.top, ''));
  expect(shown(runs.filter(({ args }) => args[0] === 'send'))).toEqual([
    'send -q -- /data/@home@one',
    'send -q -p /data/@home@one -- /data/@home@two',
  ]);
  const changing = runs.filter(({ args }) => ['receive', 'filesystem'].includes(args[0]!) || args[1] === 'delete');
  expect(shown(changing)).toEqual([
    'receive -q -C -- /backup',
    'filesystem sync -- /backup',
    'receive -q -C -- /backup',
    'filesystem sync -- /backup',
  ]);
  const [received, synced] = changing;
  // Noted before anything was made; without its name until everything is on disk.
  expect(received!.notes).toContain('@home/receive.json');
  expect(synced!.files.filter((name) => name.startsWith('.snapferry-receiving-'))).toHaveLength(1);
  expect(synced!.files).not.toContain('@home@one');
  expect(await copies()).toEqual(['one', 'two']);
  expect(remains()).toEqual([]);
  expect(existsSync(join(fake.top, 'backup/.snapferry/@home/receive.json'))).toBe(false);
});

describe('receiving', () => {
  test('an exit status of 0 is not believed: the copy must be read-only with its received UUID', async () => {
    fake.change((state) => (state.lies = true));
    const { code, message } = await failure(transfer(null, one));
    expect(code).toBe('INTERNAL');
    expect(message).toContain('not a whole copy');
    expect(await copies()).toEqual([]);
    expect(remains()).toEqual([]);
  });

  test.each(['cut in the middle', 'out of space', 'corrupt', 'exists'])('a tool that fails: %s', async (name) => {
    const { stderr } = btrfsRecording(name);
    fake.trouble({ when: 'receive', stderr, status: 1 });
    const { message } = await failure(transfer(null, one));
    expect(message).toContain(stderr.trim().split('\n').at(-1));
    expect(remains()).toEqual([]);
    fake.trouble();
    await transfer(null, one);
    expect(await copies()).toEqual(['one']);
  });

  test('a sync that fails: nobody is told that the copy is there', async () => {
    fake.trouble({ when: 'filesystem sync', stderr: 'ERROR: sync ioctl failed: Input/output error' });
    expect((await failure(transfer(null, one))).message).toContain('Input/output error');
    expect(await copies()).toEqual([]);
    expect(remains()).toEqual([]);
  });

  test('what cannot be deleted stays noted, and goes with the next receive', async () => {
    fake.trouble({ when: 'filesystem sync', stderr: 'ERROR: no' }, { when: 'delete', stderr: 'ERROR: no' });
    await failure(transfer(null, one));
    expect(remains()).toHaveLength(1);
    expect(await copies()).toEqual([]);
    fake.trouble();
    expect(await sink.resumeState(filesystem)).toBeNull();
    expect(remains()).toEqual([]);
    await transfer(null, one);
    expect(await copies()).toEqual(['one']);
  });

  test('what a crash left under a name of ours is deleted, though it looks complete', async () => {
    await sink.createParents(filesystem);
    await transfer(null, one);
    const [name] = fake
      .runs()
      .find(({ args }) => args[1] === 'sync')!
      .files.filter((file) => file.startsWith('.snapferry-receiving-'));
    fake.add({
      path: join(fake.top, 'backup', name!),
      uuid: recordedUUIDs.three,
      received: recordedUUIDs.two,
      ro: true,
    });
    const note = join(fake.top, 'backup/.snapferry/@home/receive.json');
    writeFileSync(note, JSON.stringify({ receiving: name, partial: null }));
    expect(await copies()).toEqual(['one']);
    await transfer(one, two);
    expect(remains()).toEqual([]);
    expect(await copies()).toEqual(['one', 'two']);
    const deleted = fake.runs().filter(({ args }) => args[1] === 'delete');
    expect(deleted.map(({ args }) => args.at(-1))).toEqual([join(fake.top, 'backup', name!)]);
  });

  test('an interruption leaves what can go on; a stream refused, nothing', async () => {
    const bytes = recordedStream('full');
    await sink.createParents(filesystem);
    const cut = cutAfter(lend(bytes), 5000);
    const request = { filesystem, from: null, to: one, format: 'btrfs', resumed: false };
    expect((await failure(sink.receive(request, cut))).code).toBe('CONNECTION_LOST');
    expect(await sink.resumeState(filesystem)).toMatchObject({ fromGuid: null, toGuid: one.guid });
    expect(remains()).toHaveLength(1);
    const { token } = (await sink.resumeState(filesystem))!;
    const offered = await handler.initialTransfer({ filesystem, version: one, resumeToken: token }, contextWith());
    const rest = await collect(offered.bytes);
    expect(offered.resumed).toBe(true);
    expect(bytes.subarray(-rest.length).equals(rest)).toBe(true);
    expect(rest.length).toBeGreaterThan(bytes.length - 5000);
    await sink.receive({ ...request, resumed: true }, lend(rest));
    expect(await copies()).toEqual(['one']);
    expect(remains()).toEqual([]);
  });

  test('the stream of another snapshot is refused', async () => {
    await sink.createParents(filesystem);
    expect((await failure(receive(recordedStream('incremental')))).code).toBe('PROTOCOL_VIOLATION');
    expect(remains()).toEqual([]);
  });

  test('a note that is damaged says what to do', async () => {
    await sink.createParents(filesystem);
    const note = join(fake.top, 'backup/.snapferry/@home/receive.json');
    writeFileSync(note, '{"receiving":');
    const { code, message } = await failure(transfer(null, one));
    expect(code).toBe('INTERNAL');
    expect(message).toContain(`${note} is damaged`);
  });

  test('what is in the way is named', async () => {
    await sink.createParents(filesystem);
    mkdirSync(`${copy}@one`);
    const { code, message } = await failure(transfer(null, one));
    expect(code).toBe('INVALID_REQUEST');
    expect(message).toContain(`${copy}@one is in the way`);
  });
});

describe('sending', () => {
  const offer = () => handler.initialTransfer({ filesystem, version: one }, contextWith());

  test('a tool that fails in the middle: its own words, and no end that looks like one', async () => {
    const { stderr } = btrfsRecording('to a full disk');
    fake.trouble({ when: 'send', stdout: `${streams}full-cut.btrfs`, stderr, status: 28 });
    const { code, message } = await failure(collect((await offer()).bytes));
    expect(code).toBe('INTERNAL');
    expect(message).toContain('failed to read stream from kernel');
  });

  test('words that are unknown are passed on whole', async () => {
    fake.trouble({ when: 'send', stderr: 'ERROR: something nobody has seen yet', status: 1 });
    const { code, message } = await failure(collect((await offer()).bytes));
    expect(code).toBe('SOURCE_FAILED');
    expect(message).toContain('something nobody has seen yet');
  });

  test('a tool that gives nothing, and no error either', async () => {
    fake.trouble({ when: 'send', stdout: '/dev/null', stderr: '', status: 0 });
    expect((await failure(collect((await offer()).bytes))).code).toBe('SOURCE_FAILED');
  });

  test('a stream of something else is not sent', async () => {
    fake.trouble({ when: 'send', stdout: `${streams}incremental.btrfs`, stderr: '', status: 0 });
    expect((await failure(collect((await offer()).bytes))).code).toBe('VERSION_NOT_FOUND');
  });

  test('a tool that stands still is stopped', async () => {
    fake.trouble({ when: 'send', stdout: `${streams}full-cut.btrfs`, hangs: true });
    const impatient = btrfsHandler({
      roots: [{ directory: live, path: filesystem }],
      tool: { ...fake.tool, stallMsMax: 300 },
    });
    const { bytes } = await impatient.initialTransfer({ filesystem, version: one }, contextWith());
    expect((await failure(collect(bytes))).code).toBe('TIMEOUT');
  });

  test('a listing that does not end is given up', async () => {
    fake.trouble({ when: 'subvolume list', hangs: true });
    const impatient = btrfsHandler({
      roots: [{ directory: live, path: filesystem }],
      tool: { ...fake.tool, deadlineMs: 300 },
    });
    expect((await failure(impatient.filesystemVersions({ filesystem }, contextWith()))).code).toBe('TIMEOUT');
  });

  test('an estimate that takes too long, or is of an incremental, is none', async () => {
    const estimate = (from: FilesystemVersion | null, to: FilesystemVersion) =>
      handler.transferEstimate!({ filesystem, from, to }, contextWith());
    expect(await estimate(null, one)).toBe(12288);
    expect(await estimate(one, two)).toBeNull();
  });

  test('nothing is started before the first byte is asked for, nor after leaving', async () => {
    const { bytes } = await offer();
    const iterator = bytes[Symbol.asyncIterator]();
    await iterator.return?.();
    expect((await iterator.next()).done).toBe(true);
    expect(fake.runs().some(({ args }) => args[0] === 'send')).toBe(false);
  });
});

describe('taking a snapshot', () => {
  test('what is written goes to disk first, then it is looked whether anything changed', async () => {
    fake.change((state) => {
      for (const subvolume of state.subvolumes as { path: string; gen: number }[])
        if (subvolume.path === live) subvolume.gen = 99;
    });
    const { version } = await takeBtrfsSnapshot(live, { name: 'three', tool: fake.tool });
    expect(version).toMatchObject({ name: 'three', type: 'snapshot' });
    const runs = fake.runs().map(({ args }) => args.slice(0, 2).join(' '));
    expect(runs.indexOf('filesystem sync')).toBeLessThan(runs.lastIndexOf('subvolume list'));
    expect(runs.lastIndexOf('subvolume list')).toBeLessThan(runs.indexOf('subvolume snapshot'));
  });

  test('names follow the clock', async () => {
    const now = () => new Date(Date.UTC(2026, 10, 21, 1, 2, 3, 4));
    const { version } = await takeBtrfsSnapshot(live, { force: true, now, tool: fake.tool });
    expect(version!.name).toBe('snapferry_20261121_010203_004');
    expect(existsSync(`${live}@snapferry_20261121_010203_004`)).toBe(true);
  });
});

test('through sudo, nothing else changes', async () => {
  const sudo = join(fake.root, 'sudo');
  writeFileSync(sudo, '#!/bin/sh\n[ "$1" = -n ] || exit 9\nshift\nexec "$@"\n', { mode: 0o755 });
  const program = [sudo, '-n', ...fake.tool.program!] as const;
  const through = btrfsHandler({ roots: [{ directory: live, path: filesystem }], tool: { program } });
  expect(await through.filesystemVersions({ filesystem }, contextWith())).toEqual([one, two]);
});

test('cursors are notes beside the dataset', async () => {
  const context = contextWith();
  for (const version of [one, two, one])
    await handler.transferCompleted!({ filesystem, version, jobId: 'job' }, context);
  const note = JSON.parse(readFileSync(join(fake.top, 'data/.snapferry/@home/cursors/job.json'), 'utf8')) as object;
  expect(note).toMatchObject({ job: 'job', guid: String(two.guid), name: 'two' });
  for (const jobId of ['', '../x', '-x', 'a/b', 'a\0b', 'x'.repeat(300)]) {
    const moved = handler.transferCompleted!({ filesystem, version: one, jobId }, context);
    expect((await failure(moved)).code).toBe('INVALID_REQUEST');
  }
});

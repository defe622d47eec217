import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { FilesystemVersion } from '../../../src/dataset.ts';
import { directorySink } from '../../../src/handlers/directory/sink.ts';
import type { TransferBytes } from '../../../src/sink.ts';
import { seededRandom } from '../../support/seeded-random.ts';
import { collect, describeTree, DirectoryFixture, failure, filesystem, lend } from '../../support/directory-fixture.ts';

let fixture: DirectoryFixture;
beforeEach(() => {
  fixture = new DirectoryFixture();
});
afterEach(() => fixture.cleanup());

const fileBytes = 20_000;
const files = 60;
const at = (path: string): string => join(fixture.source, path);

/** A cut connection. */
async function* cutAfter(bytes: Uint8Array, length: number): TransferBytes {
  yield* lend(bytes.subarray(0, length), 10_000);
  throw new Error('cut');
}

async function receiveCut(
  from: FilesystemVersion | null,
  to: FilesystemVersion,
  stream: Buffer,
  length: number,
  resumed = false,
): Promise<void> {
  expect(await failure(fixture.receive(from, to, cutAfter(stream, length), resumed))).toMatchObject({
    code: 'INTERNAL',
    message: expect.stringContaining('cut') as string,
  });
}

const token = async (): Promise<string | undefined> => (await fixture.sink.resumeState(filesystem))?.token;

async function makeTree(): Promise<FilesystemVersion> {
  mkdirSync(at('d'));
  for (let i = 0; i < files; i++)
    writeFileSync(at(`d/${String(i).padStart(3, '0')}`), Buffer.alloc(fileBytes, `content ${i} `));
  return fixture.snapshot();
}

test('nothing is resumed where nothing was interrupted', async () => {
  expect(await fixture.sink.resumeState(filesystem)).toBeNull();
  await fixture.sink.discardPartial(filesystem);
  const version = await makeTree();
  await fixture.transfer(null, version);
  expect(await fixture.sink.resumeState(filesystem)).toBeNull();
});

test('a full transfer cut in the middle sends only the rest', async () => {
  const version = await makeTree();
  const stream = await fixture.stream(null, version);
  const half = Math.round(stream.length / 2);
  await receiveCut(null, version, stream, half);
  expect(await fixture.sink.filesystemVersions(filesystem)).toEqual([]);
  expect(readdirSync(join(fixture.copy, 'snapshots'))).toEqual([]);
  const state = (await fixture.sink.resumeState(filesystem))!;
  expect(state).toMatchObject({ fromGuid: null, toGuid: version.guid });
  const transfer = await fixture.offer(null, version, state.token);
  expect(transfer.resumed).toBe(true);
  const rest = await collect(transfer.bytes);
  // At most the file that was cut, the one before it, and padding come again.
  expect(rest.length).toBeLessThan(stream.length - half + 3 * fileBytes);
  expect(transfer.estimatedBytes).toBeLessThan(rest.length * 1.1);
  await fixture.receive(null, version, lend(rest), true);
  expect(describeTree(fixture.copied(version))).toEqual(describeTree(fixture.sent(version)));
  expect(fixture.staging()).toEqual([]);
});

test('an incremental transfer does so too, and its base stays as it is', async () => {
  const one = await makeTree();
  await fixture.transfer(null, one);
  const before = describeTree(fixture.copied(one));
  for (let i = 10; i < 50; i++)
    writeFileSync(at(`d/${String(i).padStart(3, '0')}`), Buffer.alloc(fileBytes, `changed ${i} `));
  unlinkSync(at('d/003'));
  mkdirSync(at('new'));
  const two = await fixture.snapshot();
  const stream = await fixture.stream(one, two);
  const cut = Math.round(stream.length * 0.7);
  await receiveCut(one, two, stream, cut);
  expect(describeTree(fixture.copied(one))).toEqual(before);
  expect(await fixture.sink.resumeState(filesystem)).toMatchObject({ fromGuid: one.guid, toGuid: two.guid });
  const rest = await collect((await fixture.offer(one, two, await token())).bytes);
  expect(rest.length).toBeLessThan(stream.length - cut + 3 * fileBytes);
  await fixture.receive(one, two, lend(rest), true);
  expect(describeTree(fixture.copied(two))).toEqual(describeTree(fixture.sent(two)));
  expect(describeTree(fixture.copied(one))).toEqual(before);
});

test('cut at random points again and again, it arrives, and no file travels more than its share', async () => {
  const seed = Date.now() % 1_000_000;
  const next = seededRandom(seed);
  const version = await makeTree();
  const whole = (await fixture.stream(null, version)).length;
  let received = 0;
  let cuts = 0;
  for (;;) {
    const resumeToken = await token();
    // A sink that was started anew remembers nothing.
    const sink = directorySink({ locate: () => fixture.copy });
    const transfer = await fixture.offer(null, version, resumeToken);
    expect(transfer.resumed, `seed ${seed}`).toBe(resumeToken !== undefined);
    const bytes = await collect(transfer.bytes);
    const length = Math.round(next() * bytes.length * (cuts < 3 ? 0.9 : 1.3));
    received += Math.min(length, bytes.length);
    const request = { filesystem, from: null, to: version, format: 'directory', resumed: transfer.resumed };
    if (length >= bytes.length) {
      await sink.receive(request, lend(bytes));
      break;
    }
    await failure(sink.receive(request, cutAfter(bytes, length)));
    expect(await fixture.sink.filesystemVersions(filesystem), `seed ${seed}`).toEqual([]);
    cuts++;
  }
  expect(describeTree(fixture.copied(version)), `seed ${seed}`).toEqual(describeTree(fixture.sent(version)));
  // Each cut costs the list until it has arrived once, the directories, and two files at most.
  expect(received, `seed ${seed}, ${cuts} cuts`).toBeLessThan(whole + cuts * (2 * fileBytes + 50_000));
}, 60_000);

test('cut inside the list, nothing is kept', async () => {
  const version = await makeTree();
  const stream = await fixture.stream(null, version);
  for (const length of [0, 100, 512, 2000]) {
    await receiveCut(null, version, stream, length);
    expect(await fixture.sink.resumeState(filesystem)).toBeNull();
    expect(fixture.staging()).toEqual([]);
  }
});

describe('a partial receive', () => {
  let version: FilesystemVersion;
  let stream: Buffer;
  let partial: string;
  beforeEach(async () => {
    version = await makeTree();
    stream = await fixture.stream(null, version);
    partial = join(fixture.copy, 'staging/receive');
    await receiveCut(null, version, stream, Math.round(stream.length / 2));
  });

  const fresh = (): ReturnType<typeof directorySink> => directorySink({ locate: () => fixture.copy });
  const next = async (): Promise<number> => {
    const state = (await fresh().resumeState(filesystem))!;
    return (JSON.parse(Buffer.from(state.token, 'base64url').toString()) as { next: number }).next;
  };

  test('can be discarded', async () => {
    await fixture.sink.discardPartial(filesystem);
    expect(await fixture.sink.resumeState(filesystem)).toBeNull();
    expect(fixture.staging()).toEqual([]);
  });

  test('counts its files only up to one that is damaged, cut or gone', async () => {
    const whole = await next();
    expect(whole).toBeGreaterThan(20);
    writeFileSync(join(partial, 'tree/d/015'), Buffer.alloc(fileBytes, 'damaged'));
    expect(await next()).toBe(15);
    truncateSync(join(partial, 'tree/d/010'), 5);
    expect(await next()).toBe(10);
    unlinkSync(join(partial, 'tree/d/004'));
    expect(await next()).toBe(4);
    const transfer = await fixture.offer(null, version, (await fresh().resumeState(filesystem))!.token);
    const request = { filesystem, from: null, to: version, format: 'directory', resumed: true };
    await fresh().receive(request, transfer.bytes);
    expect(describeTree(fixture.copied(version))).toEqual(describeTree(fixture.sent(version)));
  });

  test('without a sound list is no longer one', async () => {
    truncateSync(join(partial, 'list.jsonl'), 1000);
    expect(await fresh().resumeState(filesystem)).toBeNull();
    expect(fixture.staging()).toEqual([]);
  });

  test('gives way to a transfer from the beginning, also of another version', async () => {
    writeFileSync(at('more'), 'x');
    const other = await fixture.snapshot();
    await fixture.transfer(null, other);
    expect(describeTree(fixture.copied(other))).toEqual(describeTree(fixture.sent(other)));
    expect(await fixture.sink.resumeState(filesystem)).toBeNull();
    expect(fixture.staging()).toEqual([]);
  });

  test('survives a transfer that is refused before its first content', async () => {
    const whole = await next();
    expect(await failure(fixture.receive(null, version, lend(stream.subarray(0, 1000))))).toMatchObject({
      code: 'STREAM_TRUNCATED',
    });
    expect(await next()).toBe(whole);
  });

  test('is discarded when what it starts from is gone', async () => {
    await fixture.transfer(null, version);
    writeFileSync(at('d/000'), 'changed');
    writeFileSync(at('d/001'), Buffer.alloc(500_000));
    const two = await fixture.snapshot();
    const later = await fixture.stream(version, two);
    await receiveCut(version, two, later, later.length - 100_000);
    expect(await fixture.sink.resumeState(filesystem)).toMatchObject({ fromGuid: version.guid });
    rmSync(fixture.copied(version), { recursive: true });
    expect(await fresh().resumeState(filesystem)).toBeNull();
    expect(fixture.staging()).toEqual([]);
  });
});

test('a receiver killed with kill -9 goes on from what had arrived', async () => {
  const version = await makeTree();
  const stream = await fixture.stream(null, version);
  const program = join(import.meta.dirname, '../../fixtures/programs/receive-stream.ts');
  const text = JSON.stringify({ copy: fixture.copy, from: null, to: version }, (_, value: unknown) =>
    typeof value === 'bigint' ? String(value) : value,
  );
  mkdirSync(join(fixture.root, 'copies'));
  const child = spawn(process.execPath, ['--import', 'tsx', program, text], { stdio: ['pipe', 'ignore', 'inherit'] });
  child.stdin.on('error', () => undefined);
  child.stdin.write(stream.subarray(0, Math.round(stream.length * 0.8)));
  const tree = join(fixture.copy, 'staging/receive/tree/d');
  // It has everything up to here, so what is awaited comes without anything more being sent.
  while (!exists(join(tree, '030'))) await new Promise((resolve) => setImmediate(resolve));
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await gone;
  expect(await fixture.sink.filesystemVersions(filesystem)).toEqual([]);
  const state = (await fixture.sink.resumeState(filesystem))!;
  const rest = await collect((await fixture.offer(null, version, state.token)).bytes);
  expect(rest.length).toBeLessThan(stream.length - 25 * fileBytes);
  await fixture.receive(null, version, lend(rest), true);
  expect(describeTree(fixture.copied(version))).toEqual(describeTree(fixture.sent(version)));
  expect(fixture.staging()).toEqual([]);
}, 60_000);

function exists(path: string): boolean {
  try {
    return readdirSync(join(path, '..')).includes(path.slice(path.lastIndexOf('/') + 1));
  } catch {
    return false;
  }
}

import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { FilesystemVersion } from '../../../src/dataset.ts';
import { directoryDestroyer } from '../../../src/handlers/directory/destroy.ts';
import { openStore } from '../../../src/handlers/directory/store.ts';
import { verifySnapshot } from '../../../src/handlers/directory/verify.ts';
import { executeRetention } from '../../../src/retention/execute-retention.ts';
import { destroyedBy, planRetention } from '../../../src/retention/plan-retention.ts';
import type { SnapshotDestroyer } from '../../../src/snapshot-destroyer.ts';
import {
  childrenAlive,
  contextWith,
  describeTree,
  DirectoryFixture,
  failure,
  filesystem,
} from '../../support/directory-fixture.ts';
import { seededBytes } from '../../support/recorded.ts';

let fixture: DirectoryFixture;
let source: SnapshotDestroyer;
let copy: SnapshotDestroyer;
let taken: FilesystemVersion[];

/** Four snapshots, each with a file of its own and one that changes. */
beforeEach(async () => {
  fixture = new DirectoryFixture();
  source = directoryDestroyer(fixture.source);
  copy = directoryDestroyer(fixture.copy);
  taken = [];
  writeFileSync(join(fixture.source, 'same'), 'same');
  for (let index = 0; index < 4; index++) {
    mkdirSync(join(fixture.source, `folder-${index}`));
    writeFileSync(join(fixture.source, `folder-${index}/own`), `own ${index}`);
    writeFileSync(join(fixture.source, 'changing'), `content ${index}`);
    taken.push(await fixture.snapshot());
  }
});

afterEach(async () => {
  expect(childrenAlive()).toEqual([]);
  await fixture.cleanup();
});

const names = async (of: SnapshotDestroyer): Promise<string[]> =>
  (await of.list()).versions.map(({ type, name }) => (type === 'bookmark' ? '#' : '@') + name);

async function replicateAll(): Promise<void> {
  for (const [index, version] of taken.entries()) await fixture.transfer(taken[index - 1] ?? null, version);
}

test('snapshots go, with all their files, and the others stay whole', async () => {
  const [first, second, third, fourth] = taken as [
    FilesystemVersion,
    FilesystemVersion,
    FilesystemVersion,
    FilesystemVersion,
  ];
  const before = [second, fourth].map((version) => describeTree(fixture.sent(version)));
  const outcomes = await source.destroy([first, third]);
  expect(outcomes).toEqual(
    [first, third].map((version) => ({
      version: expect.objectContaining(version) as unknown,
      result: 'destroyed',
      error: null,
    })),
  );
  expect(await names(source)).toEqual([`@${second.name}`, `@${fourth.name}`]);
  expect([second, fourth].map((version) => describeTree(fixture.sent(version)))).toEqual(before);
  const root = join(fixture.source, '.snapferry');
  expect(readdirSync(join(root, 'trash'))).toEqual([]);
  expect(readdirSync(join(root, 'snapshots')).sort()).toEqual([second.name, fourth.name].sort());
  expect(readdirSync(join(root, 'manifests'))).toHaveLength(4);
  expect((await verifySnapshot(fixture.source, fourth.name)).damaged).toEqual([]);
  // The next one is taken and sent as ever.
  writeFileSync(join(fixture.source, 'changing'), 'after');
  const next = await fixture.snapshot();
  await fixture.transfer(null, second);
  await fixture.transfer(second, next);
  expect(describeTree(fixture.copied(next))).toEqual(describeTree(fixture.sent(next)));
});

test('what is another snapshot, gone or a bookmark is told apart', async () => {
  const [first, second, third] = taken as [FilesystemVersion, FilesystemVersion, FilesystemVersion];
  await source.destroy([second]);
  const outcomes = await source.destroy([{ ...first, guid: 4711n }, second, { ...third, type: 'bookmark' }, third]);
  expect(outcomes.map(({ result }) => result)).toEqual(['refused', 'gone', 'refused', 'destroyed']);
  expect(outcomes[0]!.error!.message).toContain('it is another snapshot now');
  expect(await names(source)).toEqual([`@${first.name}`, `@${taken[3]!.name}`]);
});

test('a name that is a path leads nowhere', async () => {
  const outcomes = await source.destroy([{ ...taken[0]!, name: '../snapshots' }]);
  expect(outcomes[0]).toMatchObject({ result: 'failed', error: { code: 'INVALID_REQUEST' } });
  expect(await names(source)).toHaveLength(4);
});

test('the cursor of a job is known, and its bookmark outlives the snapshot', async () => {
  await fixture.transfer(null, taken[0]!);
  await fixture.handler.transferCompleted!({ filesystem, version: taken[0]!, jobId: 'offsite' }, contextWith());
  expect((await source.list()).cursors).toEqual([
    { owner: 'offsite', guid: taken[0]!.guid, createTXG: taken[0]!.createTXG },
  ]);
  expect((await source.destroy([taken[0]!]))[0]!.result).toBe('destroyed');
  const { versions } = await source.list();
  const bookmark = versions.find(({ type }) => type === 'bookmark')!;
  expect(bookmark.guid).toBe(taken[0]!.guid);
  await fixture.transfer(bookmark, taken[1]!);
  expect(describeTree(fixture.copied(taken[1]!))).toEqual(describeTree(fixture.sent(taken[1]!)));
});

describe('a copy', () => {
  test('tells when it was received by its own clock, whatever the sender says', async () => {
    const begin = Date.now();
    await replicateAll();
    const { versions } = await copy.list();
    expect(versions.map(({ isReceived }) => isReceived)).toEqual([true, true, true, true]);
    for (const { receivedAt } of versions) {
      // The clock of the file system may be a tick behind.
      expect(Date.parse(receivedAt!)).toBeGreaterThan(begin - 1000);
      expect(Date.parse(receivedAt!)).toBeLessThan(Date.now() + 1000);
    }
    const path = join(fixture.copy, 'manifests', `${taken[0]!.name}.json`);
    utimesSync(path, new Date(0), new Date('2026-01-01T00:00:00Z'));
    expect((await copy.list()).versions[0]!.receivedAt).toBe('2026-01-01T00:00:00.000Z');
    expect((await source.list()).versions[0]).toMatchObject({ isReceived: false, receivedAt: null });
  });

  test('is pruned by a plan, and goes on receiving', async () => {
    await replicateAll();
    const plan = planRetention({
      ...(await copy.list()),
      rules: [{ type: 'last_n', count: 2, regex: null }],
      others: 'keep',
      now: new Date(),
    });
    expect(destroyedBy(plan).map(({ name }) => name)).toEqual([taken[0]!.name, taken[1]!.name]);
    expect((await executeRetention(plan, copy)).ok).toBe(true);
    expect(await names(copy)).toEqual([`@${taken[2]!.name}`, `@${taken[3]!.name}`]);
    writeFileSync(join(fixture.source, 'changing'), 'after');
    const next = await fixture.snapshot();
    await fixture.transfer(taken[3]!, next);
    expect(describeTree(fixture.copied(next))).toEqual(describeTree(fixture.sent(next)));
  });

  test('holds what an interrupted transfer starts from', async () => {
    await fixture.transfer(null, taken[0]!);
    writeFileSync(join(fixture.source, 'large'), seededBytes('large', 2_000_000));
    const next = await fixture.snapshot();
    const stream = await fixture.stream(taken[0]!, next);
    const cut = async function* (): AsyncGenerator<Uint8Array> {
      yield* [stream.subarray(0, stream.length - 1000)];
      await Promise.reject(new Error('the line is dead'));
    };
    await expect(fixture.receive(taken[0]!, next, cut())).rejects.toThrow();
    expect(await fixture.sink.resumeState(filesystem)).not.toBeNull();
    expect((await copy.list()).holds).toEqual([
      { guid: taken[0]!.guid, why: 'for an interrupted transfer that starts from it' },
    ]);
    expect((await source.list()).holds).toEqual([]);
  });
});

test('a snapshot that is destroyed while it is sent: the transfer fails, and nothing of it is committed', async () => {
  for (let index = 0; index < 40; index++)
    writeFileSync(join(fixture.source, `large-${index}`), seededBytes(`l${index}`, 1_000_000));
  const large = await fixture.snapshot();
  writeFileSync(join(fixture.source, 'changing'), 'newest');
  await fixture.snapshot();
  const { bytes } = await fixture.offer(null, large);
  const disturbed = async function* (): AsyncGenerator<Uint8Array> {
    let isDestroyed = false;
    for await (const piece of bytes) {
      yield piece instanceof Uint8Array ? piece : piece.subarray();
      if (isDestroyed) continue;
      isDestroyed = true;
      expect((await source.destroy([large]))[0]!.result).toBe('destroyed');
    }
  };
  expect((await failure(fixture.receive(null, large, disturbed()))).code).toBe('SOURCE_FAILED');
  expect(await names(copy)).toEqual([]);
});

test('somebody at work in the store: nothing is destroyed', async () => {
  const store = await openStore(fixture.source);
  await store.withLock(async () => {
    expect((await failure(source.destroy([taken[0]!]))).code).toBe('BUSY');
  });
  expect(await names(source)).toHaveLength(4);
});

test('what a crash left in the trash goes at the next run, and a cancelled run destroys nothing', async () => {
  const left = join(fixture.source, '.snapferry/trash/left');
  mkdirSync(join(left, 'closed'), { recursive: true });
  writeFileSync(join(left, 'closed/file'), 'left');
  chmodSync(join(left, 'closed'), 0o500);
  const controller = new AbortController();
  const cancelled = source.destroy([taken[0]!], controller.signal);
  controller.abort();
  const outcome = await cancelled.catch((error: unknown) => [{ result: 'failed', error }]);
  expect(outcome[0]).toMatchObject({ result: 'failed', error: { code: 'CANCELLED' } });
  expect(await names(source)).toHaveLength(4);
  await source.destroy([]);
  expect(existsSync(left)).toBe(false);
});

test('no store, nothing to prune', async () => {
  expect((await failure(copy.list())).code).toBe('DATASET_NOT_FOUND');
  expect(readFileSync(join(fixture.source, 'same'), 'utf8')).toBe('same');
});

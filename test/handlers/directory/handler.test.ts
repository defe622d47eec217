import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { FilesystemVersion } from '../../../src/dataset.ts';
import { directoryHandler } from '../../../src/handlers/directory/handler.ts';
import { contextWith, DirectoryFixture, failure, filesystem } from '../../support/directory-fixture.ts';

let fixture: DirectoryFixture;
beforeEach(() => {
  fixture = new DirectoryFixture();
});
afterEach(() => fixture.cleanup());

const versions = (): Promise<FilesystemVersion[]> => fixture.handler.filesystemVersions({ filesystem }, contextWith());
const bookmarks = async (): Promise<FilesystemVersion[]> =>
  (await versions()).filter(({ type }) => type === 'bookmark');

describe('filesystems', () => {
  const handler = directoryHandler({
    datasets: [['a'], ['a', 'b'], ['ab'], ['c', 'd']].map((path) => ({ path, directory: '/nonexistent' })),
  });
  test.each<[readonly string[] | null, readonly string[]]>([
    [null, ['a', 'a/b', 'ab', 'c/d']],
    [['a'], ['a', 'a/b']],
    [['/a/'], ['a', 'a/b']],
    [
      ['a/b', 'c'],
      ['a/b', 'c/d'],
    ],
    [['b'], []],
    [[], []],
  ])('at or below %j are %j', async (roots, expected) => {
    expect((await handler.filesystems({ roots }, contextWith())).map((path) => path.join('/'))).toEqual(expected);
  });
});

test('versions of a directory that has no snapshot yet are none', async () => {
  expect(await versions()).toEqual([]);
});

test('an unknown dataset, and one whose directory is gone, are not found', async () => {
  const version = await fixture.snapshot();
  const other = { filesystem: ['other'], version, jobId: 'j' };
  const codes = [
    fixture.handler.filesystemVersions(other, contextWith()),
    fixture.handler.initialTransfer(other, contextWith()),
    fixture.handler.transferCompleted!(other, contextWith()),
  ].map(async (promise) => (await failure(promise)).code);
  expect(await Promise.all(codes)).toEqual(codes.map(() => 'DATASET_NOT_FOUND'));
  rmSync(fixture.source, { recursive: true });
  expect(await failure(versions())).toMatchObject({ code: 'DATASET_NOT_FOUND' });
});

test('a received copy can be sent on', async () => {
  mkdirSync(join(fixture.source, 'd'));
  writeFileSync(join(fixture.source, 'd/file'), 'x');
  const version = await fixture.snapshot();
  await fixture.transfer(null, version);
  const handler = directoryHandler({ datasets: [{ path: filesystem, directory: fixture.copy }] });
  const [copied] = await handler.filesystemVersions({ filesystem }, contextWith());
  const { bytes } = await handler.initialTransfer({ filesystem, version: copied! }, contextWith());
  let length = 0;
  for await (const piece of bytes) length += piece.length;
  expect(length).toBeGreaterThan(1024);
});

describe('transferCompleted', () => {
  const completed = (version: FilesystemVersion, jobId = 'job'): Promise<void> =>
    fixture.handler.transferCompleted!({ filesystem, version, jobId }, contextWith());

  test('moves the cursor of its job forward, and never back', async () => {
    const one = await fixture.snapshot();
    const two = await fixture.snapshot();
    await completed(one);
    await completed(one);
    expect(await bookmarks()).toMatchObject([
      { name: 'snapferry_cursor_job', guid: one.guid, createTXG: one.createTXG },
    ]);
    await completed(two);
    await completed(one);
    await completed(one, 'other.job:2');
    expect(await bookmarks()).toMatchObject([
      { name: 'snapferry_cursor_other.job:2', guid: one.guid },
      { name: 'snapferry_cursor_job', guid: two.guid },
    ]);
  });

  test('of an unknown version is refused', async () => {
    const one = await fixture.snapshot();
    expect(await failure(completed({ ...one, guid: one.guid ^ 1n }))).toMatchObject({ code: 'VERSION_NOT_FOUND' });
  });

  test.each(['', '../x', 'a/b', '-x', '.x', 'a b', 'a@b', 'a\n', 'ö', 'x'.repeat(300)])(
    'with the job id %j is refused',
    async (jobId) => {
      const one = await fixture.snapshot();
      expect(await failure(completed(one, jobId))).toMatchObject({ code: 'INVALID_REQUEST' });
      expect(await bookmarks()).toEqual([]);
    },
  );
});

import { describe, expect, test } from 'vitest';
import type { DatasetPath } from '../../src/dataset.ts';
import { SnapferryError } from '../../src/errors.ts';
import type { TestBackend } from './backend.ts';
import { eachSession } from './backend-session.ts';
import type { SourceClient, SourceWay } from './backend-session.ts';

const u64Max = 2n ** 64n - 1n;

/** Paths that no backend may act on. */
export const hostilePaths: readonly DatasetPath[] = [
  [],
  [''],
  ['.'],
  ['..'],
  ['data', '..', 'data'],
  ['../../etc'],
  ['/etc'],
  ['data\0'],
  ['data\n'],
  ['x'.repeat(256)],
  Array.from({ length: 3000 }, () => 'x'),
];

/** What a source has, and what it says of what it has not. */
export function describeListings(name: string, makeBackend: () => Promise<TestBackend>, way: SourceWay): void {
  describe(`${name}: what is there`, () => {
    const session = eachSession(makeBackend, way);

    test('datasets, all or those at or below a root', async () => {
      const { filesystem } = session().backend;
      const client = await session().connected();
      expect(await client.filesystems({ roots: null })).toContainEqual(filesystem);
      expect(await client.filesystems({ roots: [filesystem.join('/')] })).toEqual([filesystem]);
      expect(await client.filesystems({ roots: [filesystem[0]!] })).toContainEqual(filesystem);
      expect(await client.filesystems({ roots: [filesystem[0]!.slice(0, -1)] })).toEqual([]);
      expect(await client.filesystems({ roots: [`${filesystem.join('/')}/below`] })).toEqual([]);
      expect(await client.filesystems({ roots: [] })).toEqual([]);
    });

    test('versions, oldest first, each as it was made', async () => {
      const { backend } = session();
      const client = await session().connected();
      const versions = async () => client.filesystemVersions({ filesystem: backend.filesystem });
      expect(await versions()).toEqual([]);
      // Not in the order of their names.
      const made = [await backend.snapshot('b', 1), await backend.snapshot('c', 2), await backend.snapshot('a', 3)];
      const found = await versions();
      expect(found).toEqual(made);
      expect(found.map((version) => version.name)).toEqual(['b', 'c', 'a']);
      expect(new Set(found.map(({ guid }) => guid)).size).toBe(3);
      for (const { guid, type } of found) {
        expect(type).toBe('snapshot');
        expect(guid > 0n && guid <= u64Max, `${guid} is a u64`).toBe(true);
      }
      for (const [index, { createTXG }] of found.slice(1).entries())
        expect(createTXG > found[index]!.createTXG).toBe(true);
    });

    test('a bookmark has the guid of its snapshot and stays when that goes', async () => {
      const { backend } = session();
      const client = await session().connected();
      const one = await backend.snapshot('one', 1);
      const two = await backend.snapshot('two', 2);
      const bookmark = await backend.bookmark(one, 'mark');
      expect(bookmark).toMatchObject({ type: 'bookmark', name: 'mark', guid: one.guid, createTXG: one.createTXG });
      await backend.destroy(one);
      expect(await client.filesystemVersions({ filesystem: backend.filesystem })).toEqual([bookmark, two]);
    });

    test('a dataset that is not there', async () => {
      const version = await session().backend.snapshot('one', 1);
      const client = await session().connected();
      for (const call of callsOf(client, ['nowhere'], version)) {
        await expect(call()).rejects.toMatchObject({
          code: session().code('DATASET_NOT_FOUND'),
          connectionDead: false,
          message: expect.stringContaining('nowhere') as string,
        });
      }
    });

    test('versions that are not there', async () => {
      const { filesystem, ...backend } = session().backend;
      const one = await backend.snapshot.call(session().backend, 'one', 1);
      const unknown = { ...one, name: 'unknown', guid: one.guid ^ 1n };
      const hostile = { ...unknown, name: '../../one' };
      const client = await session().connected();
      const calls = [unknown, hostile].flatMap((version) => [
        ...callsOf(client, filesystem, version).slice(1),
        () => client.incrementalTransfer({ filesystem, from: version, to: one }),
        () => client.incrementalTransfer({ filesystem, from: one, to: version }),
      ]);
      for (const call of calls) {
        const error = await failureOf(call);
        expect([session().code('VERSION_NOT_FOUND'), 'INVALID_REQUEST']).toContain(error.code);
        expect(error.connectionDead).toBe(false);
      }
    });

    test('a bookmark is nothing that can be sent', async () => {
      const { backend } = session();
      const { filesystem } = backend;
      const one = await backend.snapshot('one', 1);
      const bookmark = await backend.bookmark(one, 'mark');
      await backend.destroy(one);
      const client = await session().connected();
      for (const version of [bookmark, one]) {
        await expect(client.initialTransfer({ filesystem, version })).rejects.toMatchObject({
          code: session().code('VERSION_NOT_FOUND'),
        });
      }
    });

    test('names that would lead elsewhere are refused, and the next call works', async () => {
      const { filesystem } = session().backend;
      const version = await session().backend.snapshot('one', 1);
      const client = await session().connected();
      for (const path of hostilePaths) {
        for (const call of callsOf(client, path, version)) {
          const error = await failureOf(call);
          expect(['DATASET_NOT_FOUND', 'INVALID_REQUEST', 'ACCESS_DENIED', session().code('')]).toContain(error.code);
          expect(error.connectionDead).toBe(false);
        }
      }
      expect(await client.filesystemVersions({ filesystem })).toEqual([version]);
    });

    /** Every call that names a dataset; in version 1, those that exist there. */
    function callsOf(
      client: SourceClient,
      filesystem: DatasetPath,
      version: Awaited<ReturnType<TestBackend['snapshot']>>,
    ) {
      const calls: (() => Promise<unknown>)[] = [
        () => client.filesystemVersions({ filesystem }),
        () => client.initialTransfer({ filesystem, version }),
      ];
      if (way.version === 1) return calls;
      const { handler } = session().backend;
      if (handler.transferEstimate !== undefined) {
        calls.push(() => client.transferEstimate({ filesystem, from: null, to: version }));
      }
      if (handler.transferCompleted !== undefined) {
        calls.push(() => client.transferCompleted({ filesystem, version, jobId: 'job' }));
      }
      return calls;
    }
  });
}

async function failureOf(call: () => Promise<unknown>): Promise<SnapferryError> {
  const error = await call().then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(SnapferryError);
  return error as SnapferryError;
}

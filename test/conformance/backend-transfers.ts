import { describe, expect, test } from 'vitest';
import { contentBytes, type TestBackend } from './backend.ts';
import { collected, eachSession, passing } from './backend-session.ts';
import type { SourceWay } from './backend-session.ts';

/** Whole transfers. */
export function describeTransfers(name: string, makeBackend: () => Promise<TestBackend>, way: SourceWay): void {
  describe(`${name}: transfers`, () => {
    const session = eachSession(makeBackend, way);

    test('the first one, of a snapshot that is not the oldest', async () => {
      const { backend } = session();
      await backend.snapshot('one', 1);
      const two = await backend.snapshot('two', 2);
      expect(await backend.sink.filesystemVersions(backend.filesystem)).toBeNull();
      const { bytes } = await session().transfer({ from: null, to: two });
      expect(bytes).toBeGreaterThanOrEqual(contentBytes);
      await session().expectTarget(two);
      expect(await backend.sink.resumeState(backend.filesystem)).toBeNull();
    });

    test('step by step, and over a step left out', async () => {
      const { backend } = session();
      const versions = [];
      for (const seed of [1, 2, 3, 4]) versions.push(await backend.snapshot(`v${seed}`, seed));
      const [one, two, , four] = versions;
      await session().transfer({ from: null, to: one! });
      await session().transfer({ from: one!, to: two! });
      await session().expectTarget(one!, two!);
      await session().transfer({ from: two!, to: four! });
      await session().expectTarget(one!, two!, four!);
      const created = (await backend.sink.filesystemVersions(backend.filesystem))!.map(({ createTXG }) => createTXG);
      expect(created[0]! < created[1]! && created[1]! < created[2]!).toBe(true);
    });

    test('from a bookmark whose snapshot is gone', async () => {
      const { backend } = session();
      const one = await backend.snapshot('one', 1);
      const before = await backend.sourceFingerprint(one);
      await session().transfer({ from: null, to: one });
      const bookmark = await backend.bookmark(one, 'mark');
      const two = await backend.snapshot('two', 2);
      await backend.destroy(one);
      await session().transfer({ from: bookmark, to: two });
      expect(await session().target()).toEqual([
        { name: 'one', guid: one.guid, content: before },
        { name: 'two', guid: two.guid, content: await backend.sourceFingerprint(two) },
      ]);
    });

    test('of a snapshot that is the same as the one before', async () => {
      const { backend } = session();
      const one = await backend.snapshot('one', 1);
      const same = await backend.snapshot('same', 1);
      await session().transfer({ from: null, to: one });
      await session().transfer({ from: one, to: same });
      await session().expectTarget(one, same);
    });

    test('say what they are, and their size about right', async () => {
      const { backend } = session();
      const { filesystem } = backend;
      const one = await backend.snapshot('one', 1);
      const two = await backend.snapshot('two', 2);
      const client = await session().connected();
      for (const step of [
        { from: null, to: one },
        { from: one, to: two },
      ]) {
        const estimate = await client.transferEstimate({ filesystem, ...step });
        const transfer = await session().offer(client, step);
        const { byteLength } = await collected(transfer.bytes);
        expect(transfer.format).toBe(way.version === 1 ? null : backend.format);
        expect(transfer.resumed).toBe(false);
        for (const guess of [estimate, transfer.estimatedBytes]) {
          if (way.version === 1) expect(guess).toBeNull();
          if (guess === null) continue;
          expect(guess).toBeGreaterThan(byteLength / 2);
          expect(guess).toBeLessThan(byteLength * 2);
        }
      }
    });

    // Behind a wire a piece is only lent, so there this is not asked for.
    if (!way.isWire) {
      test('the source gives its pieces away: none changes afterwards', async () => {
        const one = await session().backend.snapshot('one', 1);
        const { bytes } = await session().offer(await session().connected(), { from: null, to: one });
        const given: { piece: Uint8Array; was: Buffer }[] = [];
        await collected(passing(bytes, (piece) => given.push({ piece, was: Buffer.from(piece) })));
        for (const { piece, was } of given) expect(was.equals(piece)).toBe(true);
      });
    }

    test('two readers of one dataset at once get the same', async () => {
      const { backend } = session();
      const one = await backend.snapshot('one', 1);
      const two = await backend.snapshot('two', 2);
      const steps = [
        { from: null, to: one },
        { from: null, to: two },
        { from: one, to: two },
      ];
      const alone = [];
      for (const step of steps) alone.push(await session().wholeBytes(step));
      expect(await Promise.all(steps.map((step) => session().wholeBytes(step)))).toEqual(alone);
    });

    test('completed, told once or twice or late, changes no snapshot', async () => {
      const { backend } = session();
      const { filesystem } = backend;
      const one = await backend.snapshot('one', 1);
      const two = await backend.snapshot('two', 2);
      const client = await session().connected();
      for (const version of [one, one, two, one]) {
        await client.transferCompleted({ filesystem, version, jobId: 'job' });
        const versions = await client.filesystemVersions({ filesystem });
        expect(versions.filter(({ type }) => type === 'snapshot')).toEqual([one, two]);
      }
      const bookmarks = async () =>
        (await client.filesystemVersions({ filesystem })).filter(({ type }) => type === 'bookmark');
      const before = await bookmarks();
      await client.transferCompleted({ filesystem, version: two, jobId: 'job' });
      expect(await bookmarks()).toEqual(before);
    });
  });
}

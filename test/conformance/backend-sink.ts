import { describe, expect, test } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import type { TransferBytes } from '../../src/sink.ts';
import { hostilePaths } from './backend-listings.ts';
import type { TestBackend } from './backend.ts';
import { collected, eachSession, sourceWays } from './backend-session.ts';

/** What a sink promises whatever the bytes come from. */
export function describeSink(name: string, makeBackend: () => Promise<TestBackend>): void {
  describe(`${name}: the sink`, () => {
    const session = eachSession(makeBackend, sourceWays[0]!);

    test('knows nothing of a dataset that is not there', async () => {
      const { sink, filesystem } = session().backend;
      expect(await sink.filesystemVersions(filesystem)).toBeNull();
      expect(await sink.resumeState(filesystem)).toBeNull();
      await sink.discardPartial(filesystem);
      expect(await sink.filesystemVersions(filesystem)).toBeNull();
    });

    test('makes parents, once or twice, and no dataset', async () => {
      const { sink, filesystem } = session().backend;
      await sink.createParents(filesystem);
      await sink.createParents(filesystem);
      expect(await sink.filesystemVersions(filesystem)).toBeNull();
    });

    test('refuses paths that would lead elsewhere, and lets go of the source', async () => {
      const { backend } = session();
      const to = await backend.snapshot('one', 1);
      for (const filesystem of hostilePaths) {
        const bytes = watched([]);
        const request = { filesystem, from: null, to, format: backend.format, resumed: false };
        const calls = [
          () => backend.sink.filesystemVersions(filesystem),
          () => backend.sink.resumeState(filesystem),
          () => backend.sink.discardPartial(filesystem),
          () => backend.sink.createParents(filesystem),
          () => backend.sink.receive(request, bytes),
        ];
        for (const call of calls) await expect(call()).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
        expect(bytes.isLetGo(), JSON.stringify(filesystem).slice(0, 100)).toBe(true);
      }
    });

    test.each(['', '.', '..', '../escaped', '/etc', 'a/b', '-rf', 'a@b', 'a#b', 'a\nb', 'a\0b', 'x'.repeat(300)])(
      'refuses a snapshot named %j',
      async (versionName) => {
        const { backend } = session();
        const { filesystem, sink } = backend;
        const one = await backend.snapshot('one', 1);
        const { bytes, format, resumed } = await session().offer(await session().connected(), { from: null, to: one });
        await sink.createParents(filesystem);
        const request = { filesystem, from: null, to: { ...one, name: versionName }, format, resumed };
        await expect(sink.receive(request, bytes)).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
        expect((await sink.filesystemVersions(filesystem)) ?? []).toEqual([]);
        await session().transfer({ from: null, to: one });
        await session().expectTarget(one);
      },
    );

    test('refuses a stream of another format, whatever it is called', async () => {
      const { backend } = session();
      const { filesystem, sink } = backend;
      const one = await backend.snapshot('one', 1);
      await sink.createParents(filesystem);
      const request = { filesystem, from: null, to: one, resumed: false };
      const announced = watched([Buffer.from('foreign')]);
      await expect(sink.receive({ ...request, format: 'foreign' }, announced)).rejects.toMatchObject({
        code: 'STREAM_FORMAT_MISMATCH',
      });
      expect(announced.isLetGo()).toBe(true);
      // A version-1 peer announces none.
      for (const format of [null, backend.format]) {
        for (const content of [Buffer.alloc(0), Buffer.from('foreign\n'), Buffer.alloc(100_000, 'foreign\n')]) {
          const bytes = watched([content]);
          await expect(sink.receive({ ...request, format }, bytes)).rejects.toBeInstanceOf(SnapferryError);
          expect(bytes.isLetGo()).toBe(true);
        }
      }
      await session().transfer({ from: null, to: one });
      await session().expectTarget(one);
    });

    test('refuses what does not fit what it has: a base it lacks, a version it has, the stream of another step', async () => {
      const { backend } = session();
      const one = await backend.snapshot('one', 1);
      const two = await backend.snapshot('two', 2);
      const three = await backend.snapshot('three', 3);
      const client = await session().connected();
      await session().transfer({ from: null, to: one });
      await expect(session().transfer({ from: two, to: three })).rejects.toBeInstanceOf(SnapferryError);
      await expect(session().transfer({ from: null, to: one })).rejects.toBeInstanceOf(SnapferryError);
      for (const step of [
        { from: null, to: two },
        { from: two, to: three },
        { from: one, to: three },
      ]) {
        const transfer = await session().offer(client, step);
        await expect(session().receive({ from: one, to: two }, transfer)).rejects.toBeInstanceOf(SnapferryError);
      }
      await session().expectTarget(one);
      await session().transfer({ from: one, to: two });
      await session().expectTarget(one, two);
    });

    test('two receives of one step at once: one is refused, or both are in turn, and nothing is mixed', async () => {
      const { backend } = session();
      const step = { from: null, to: await backend.snapshot('one', 1) };
      const outcomes = await Promise.allSettled([session().transfer(step), session().transfer(step)]);
      expectOneRefused(outcomes);
      await session().expectTarget(step.to);
    });

    test('two receives of different steps at once: each is whole or not at all', async () => {
      const { backend } = session();
      const one = await backend.snapshot('one', 1);
      const two = await backend.snapshot('two', 2);
      const outcomes = await Promise.allSettled([one, two].map((to) => session().transfer({ from: null, to })));
      await session().idle();
      const whole = [one, two].filter((_, index) => outcomes[index]!.status === 'fulfilled');
      expect(whole.length).toBeGreaterThan(0);
      const expected = await Promise.all(whole.map((version) => backend.sourceFingerprint(version)));
      const found = await session().target();
      expect(found.map(({ guid }) => guid).sort()).toEqual(whole.map(({ guid }) => guid).sort());
      for (const { content } of found) expect(expected).toContainEqual(content);
    });

    test('a refused receive does not disturb the one that is under way', async () => {
      const { backend } = session();
      const step = { from: null, to: await backend.snapshot('one', 1) };
      const whole = await collected((await session().offer(await session().connected(), step)).bytes);
      const transfer = await session().offer(await session().connected(), step);
      await backend.sink.createParents(backend.filesystem);
      let second: Promise<unknown> = Promise.resolve();
      const bytes = (async function* (): TransferBytes {
        yield whole.subarray(0, whole.length >> 1);
        second = session()
          .transfer(step)
          .catch((error: unknown) => error);
        const answer = await second;
        expect(answer).toMatchObject({ code: 'BUSY' });
        yield whole.subarray(whole.length >> 1);
      })();
      await session().receive(step, transfer, bytes);
      await transfer.bytes[Symbol.asyncIterator]().return?.();
      await session().expectTarget(step.to);
    });
  });
}

function expectOneRefused(outcomes: readonly PromiseSettledResult<unknown>[]): void {
  const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
  expect(refused).toHaveLength(1);
  expect(refused[0]!.reason).toBeInstanceOf(SnapferryError);
  expect(['BUSY', 'INVALID_REQUEST']).toContain((refused[0]!.reason as SnapferryError).code);
}

/** Bytes that know whether whoever took them has read them to their end or let go of them. */
function watched(pieces: readonly Uint8Array[]): TransferBytes & { isLetGo(): boolean } {
  let isLetGo = false;
  const rest = [...pieces];
  const end = () => {
    isLetGo = true;
    return Promise.resolve({ done: true as const, value: undefined });
  };
  const next = () => {
    const value = rest.shift();
    return value === undefined ? end() : Promise.resolve({ done: false as const, value });
  };
  return { [Symbol.asyncIterator]: () => ({ next, return: end }), isLetGo: () => isLetGo };
}

import { describe, expect, test } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import type { TestBackend } from './backend.ts';
import { broken, eachSession } from './backend-session.ts';
import type { SourceWay } from './backend-session.ts';

/** Transfers that are left, cancelled or cut. */
export function describeInterruptions(name: string, makeBackend: () => Promise<TestBackend>, way: SourceWay): void {
  describe(`${name}: interruptions`, () => {
    const session = eachSession(makeBackend, way);

    test.each(['a signal', 'leaving', 'leaving before the first piece'] as const)(
      '%s stops the source, and it can be asked again',
      async (means) => {
        const { backend } = session();
        const one = await backend.snapshot('one', 1);
        const step = { from: null, to: one };
        const client = await session().connected();
        const abort = new AbortController();
        const { bytes } = await session().offer(client, step, {}, { signal: abort.signal });
        const iterator = bytes[Symbol.asyncIterator]();
        if (means !== 'leaving before the first piece') await iterator.next();
        if (means === 'a signal') {
          abort.abort();
          await expect(readOn(iterator)).rejects.toMatchObject({ code: 'CANCELLED' });
        } else {
          await iterator.return?.();
        }
        await session().idle();
        const { filesystem } = backend;
        if (way.version === 2) expect(await client.filesystemVersions({ filesystem })).toEqual([one]);
        await session().transfer(step);
        await session().expectTarget(one);
      },
    );

    test('a request that is cancelled before it is made is not carried out', async () => {
      const one = await session().backend.snapshot('one', 1);
      const signal = AbortSignal.abort();
      const client = await session().connected();
      const asked = async (): Promise<void> => {
        const { bytes } = await session().offer(client, { from: null, to: one }, {}, { signal });
        await readOn(bytes[Symbol.asyncIterator]());
      };
      await expect(asked()).rejects.toMatchObject({ code: 'CANCELLED' });
      await session().idle();
    });

    const failures: readonly [string, string, () => void][] = [
      [
        'a cut connection',
        'BUSY',
        () => {
          throw new SnapferryError('BUSY', 'the source fails here');
        },
      ],
      // Whatever the sink calls it; that it does not take it for whole is what counts.
      ['an end that comes too early', expect.any(String) as string, () => undefined],
    ];
    test.each(failures)('%s leaves the target as it was, at whatever byte', async (_, code, fail) => {
      const { backend } = session();
      const one = await backend.snapshot('one', 1);
      const two = await backend.snapshot('two', 2);
      for (const step of [
        { from: null, to: one },
        { from: one, to: two },
      ]) {
        const before = await session().target();
        const whole = await session().wholeBytes(step);
        for (const good of [0, 700, Math.floor(whole / 2), whole - 1]) {
          await backend.sink.createParents(backend.filesystem);
          const transfer = await session().offer(await session().connected(), step);
          const received = session().receive(step, transfer, broken(transfer.bytes, good, fail));
          await expect(received, `after ${good} of ${whole} bytes`).rejects.toMatchObject({ code });
          expect(await session().target()).toEqual(before);
          await session().idle();
          await backend.sink.discardPartial(backend.filesystem);
        }
        await session().transfer(step);
      }
      await session().expectTarget(one, two);
    });

    test('a receive that is cancelled lets go of the source and leaves the target as it was', async () => {
      const { backend } = session();
      const one = await backend.snapshot('one', 1);
      const two = await backend.snapshot('two', 2);
      await session().transfer({ from: null, to: one });
      const before = await session().target();
      const step = { from: one, to: two };
      const whole = await session().wholeBytes(step);
      for (const good of [0, Math.floor(whole / 2)]) {
        const transfer = await session().offer(await session().connected(), step);
        const abort = new AbortController();
        if (good === 0) abort.abort();
        const bytes = cancelling(transfer.bytes, good, abort);
        await expect(session().receive(step, transfer, bytes, abort.signal)).rejects.toMatchObject({
          code: 'CANCELLED',
        });
        await session().idle();
        expect(await session().target()).toEqual(before);
      }
      await backend.sink.discardPartial(backend.filesystem);
      await session().transfer(step);
      await session().expectTarget(one, two);
    });

    test('a commit that fails leaves the target as it was, and the next one succeeds', async () => {
      const { backend } = session();
      const one = await backend.snapshot('one', 1);
      const two = await backend.snapshot('two', 2);
      for (const step of [
        { from: null, to: one },
        { from: one, to: two },
      ]) {
        const before = await session().target();
        const repair = await backend.breakCommit(step.to);
        await expect(session().transfer(step)).rejects.toBeInstanceOf(SnapferryError);
        await session().idle();
        expect(await session().target()).toEqual(before);
        await repair();
        await session().transfer(step, (await backend.sink.resumeState(backend.filesystem))?.token);
      }
      await session().expectTarget(one, two);
    });
  });
}

async function readOn(iterator: AsyncIterator<unknown>): Promise<void> {
  while ((await iterator.next()).done !== true);
}

/** Aborts once `good` bytes have gone through, and goes on. */
async function* cancelling(
  bytes: Parameters<typeof broken>[0],
  good: number,
  abort: AbortController,
): ReturnType<typeof broken> {
  let count = 0;
  for await (const piece of bytes) {
    yield piece;
    count += piece.byteLength;
    if (count >= good) abort.abort();
  }
}

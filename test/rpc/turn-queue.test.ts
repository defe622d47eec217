import { describe, expect, test } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import { TurnQueue, type Turn, type TurnRequest } from '../../src/rpc/turn-queue.ts';
import { turn as settled } from '../support/transfers.ts';

/** A queue, and what was written through it. */
function queueOf(aheadMax: number) {
  const written: string[] = [];
  const queue = new TurnQueue(aheadMax);
  const enter = (doing: string, more: Partial<TurnRequest> = {}): Turn | Promise<Turn> =>
    queue.enter({ exclusive: false, signal: undefined, doing, begin: () => written.push(doing), ...more });
  return { queue, written, enter };
}

describe('a TurnQueue', () => {
  test('lets requests be written at once, and their answers be read one after the other', async () => {
    const { written, enter } = queueOf(9);
    const [first, second, third] = [await enter('a'), await enter('b'), await enter('c')];
    expect(written).toEqual(['a', 'b', 'c']);
    expect(first.ready).toBeNull();
    const order: string[] = [];
    void second.ready!.then(() => order.push('b'));
    void third.ready!.then(() => order.push('c'));
    await settled();
    expect(order).toEqual([]);
    first.release();
    await settled();
    expect(order).toEqual(['b']);
    second.release();
    await third.ready;
    expect(order).toEqual(['b', 'c']);
  });

  test('lets no more than it may be under way, and who waits in in the order they came', async () => {
    const { written, enter } = queueOf(2);
    const first = await enter('a');
    await enter('b');
    const waiting = [enter('c'), enter('d')];
    first.release();
    first.release();
    await settled();
    expect(written).toEqual(['a', 'b', 'c']);
    (await waiting[0]!).release();
    await waiting[1];
    expect(written).toEqual(['a', 'b', 'c', 'd']);
  });

  test('lets nobody past those who wait', async () => {
    const { written, enter } = queueOf(9);
    const first = await enter('a');
    const alone = enter('alone', { alone: true });
    const behind = enter('b');
    await settled();
    expect(written).toEqual(['a']);
    first.release();
    await alone;
    await behind;
    expect(written).toEqual(['a', 'alone', 'b']);
  });

  test('writes nothing behind an exclusive one until it is over', async () => {
    const { written, enter } = queueOf(9);
    const transfer = await enter('transfer', { exclusive: true });
    const behind = enter('b');
    await settled();
    expect(written).toEqual(['transfer']);
    transfer.release();
    (await behind).release();
    expect(written).toEqual(['transfer', 'b']);
  });

  test.each([0, 1, 2])(
    'one that is cancelled while it waits is never written, the others are (%i)',
    async (cancelled) => {
      const { written, enter } = queueOf(1);
      const first = await enter('a');
      const aborts = ['b', 'c', 'd'].map(() => new AbortController());
      const waiting = ['b', 'c', 'd'].map((doing, index) => enter(doing, { signal: aborts[index]!.signal }));
      aborts[cancelled]!.abort();
      await expect(waiting[cancelled]).rejects.toMatchObject({ code: 'CANCELLED' });
      const others = waiting.filter((_, index) => index !== cancelled);
      first.release();
      for (const other of others) (await other).release();
      expect(written).toEqual(['a', ...['b', 'c', 'd'].filter((_, index) => index !== cancelled)]);
    },
  );

  test('one that waits to be alone and is cancelled holds up nobody any more', async () => {
    const { written, enter } = queueOf(9);
    await enter('a');
    const abort = new AbortController();
    const alone = enter('alone', { alone: true, signal: abort.signal });
    const behind = enter('b');
    abort.abort();
    await expect(alone).rejects.toMatchObject({ code: 'CANCELLED' });
    await behind;
    expect(written).toEqual(['a', 'b']);
  });

  test('is idle when nothing is under way and nobody waits', async () => {
    const { queue, enter } = queueOf(1);
    expect(queue.isIdle).toBe(true);
    const first = await enter('a');
    expect(queue.isIdle).toBe(false);
    const second = enter('b');
    first.release();
    expect(queue.isIdle).toBe(false);
    (await second).release();
    expect(queue.isIdle).toBe(true);
  });

  test('that has failed rejects who waits and who comes, and writes nothing for them', async () => {
    const { queue, written, enter } = queueOf(1);
    const first = await enter('a');
    const waiting = [enter('b'), enter('c')];
    const failure = new SnapferryError('CONNECTION_LOST', 'gone');
    queue.fail(failure);
    for (const one of waiting) await expect(one).rejects.toBe(failure);
    expect(() => enter('d')).toThrow(failure);
    first.release();
    await settled();
    expect(written).toEqual(['a']);
  });

  test('refuses what was cancelled before', () => {
    const { written, enter } = queueOf(1);
    expect(() => enter('a', { signal: AbortSignal.abort() })).toThrow('a was cancelled');
    expect(written).toEqual([]);
  });
});

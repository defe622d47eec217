import { describe, expect, test } from 'vitest';
import { RequestQueue } from '../../src/rpc/request-queue.ts';
import { turn } from '../support/transfers.ts';

/** Whether nothing has to be waited for, or no more, when nothing else happens by itself. */
async function isSettled(promise: Promise<unknown> | null): Promise<boolean> {
  if (promise === null) return true;
  let settled = false;
  void promise.then(() => (settled = true));
  await turn();
  return settled;
}

describe('a RequestQueue', () => {
  test('gives what it was given, in order, and null at the end', async () => {
    const queue = new RequestQueue<string>(9, 9);
    await queue.push('a', 1);
    await queue.push('b', 0);
    queue.end();
    expect([await queue.next(), await queue.next(), await queue.next(), await queue.next()]).toEqual([
      'a',
      'b',
      null,
      null,
    ]);
  });

  test('wakes who waits, for an item and for the end', async () => {
    const queue = new RequestQueue<string>(9, 9);
    const first = queue.next();
    expect(await isSettled(first)).toBe(false);
    await queue.push('a', 1);
    expect(await first).toBe('a');
    const second = queue.next();
    expect(await isSettled(second)).toBe(false);
    queue.end();
    expect(await second).toBeNull();
  });

  test('has no room for another once it has as many as it may', async () => {
    const queue = new RequestQueue<number>(3, 1000);
    expect(await isSettled(queue.push(1, 1))).toBe(true);
    expect(await isSettled(queue.push(2, 1))).toBe(true);
    const third = queue.push(3, 1);
    expect(await isSettled(third)).toBe(false);
    expect(await queue.next()).toBe(1);
    expect(await isSettled(third)).toBe(true);
    expect(await isSettled(queue.push(4, 1))).toBe(false);
  });

  test('has none once its items have more bytes than they may, and again when they are taken', async () => {
    const queue = new RequestQueue<string>(100, 10);
    expect(await isSettled(queue.push('six', 6))).toBe(true);
    expect(await isSettled(queue.push('four', 4))).toBe(true);
    const surplus = queue.push('one', 1);
    expect(await isSettled(surplus)).toBe(false);
    expect(await queue.next()).toBe('six');
    expect(await isSettled(surplus)).toBe(true);
    const large = queue.push('large', 1000);
    expect(await isSettled(large)).toBe(false);
    expect(await queue.next()).toBe('four');
    expect(await queue.next()).toBe('one');
    expect(await isSettled(large)).toBe(false);
    expect(await queue.next()).toBe('large');
    expect(await isSettled(large)).toBe(true);
  });
});

import { setImmediate as nextTurn } from 'node:timers/promises';
import { Uint8ArrayList } from 'uint8arraylist';
import { describe, expect, test } from 'vitest';
import { gathered } from '../../src/rpc/gathered.ts';

const piece = (text: string): Uint8Array => Buffer.from(text);
const textOf = (result: IteratorResult<Uint8ArrayList>): string | null =>
  result.done === true ? null : Buffer.from(result.value.subarray()).toString();

/** A source that says what was asked of it. */
function observed(pieces: Iterable<Uint8Array | Uint8ArrayList | Error>) {
  const seen = { asked: 0, closed: 0 };
  const left = [...pieces];
  const next = async (): Promise<IteratorResult<Uint8Array | Uint8ArrayList>> => {
    seen.asked++;
    await Promise.resolve();
    const value = left.shift();
    if (value === undefined) return { done: true, value: undefined };
    if (value instanceof Error) throw value;
    return { done: false, value };
  };
  const close = (): Promise<IteratorReturnResult<undefined>> => {
    seen.closed++;
    return Promise.resolve({ done: true, value: undefined });
  };
  return { seen, source: { [Symbol.asyncIterator]: () => ({ next, return: close }) } };
}

const never = new AbortController().signal;

describe('gathered', () => {
  test('hands out the first piece at once, and then what has come meanwhile', async () => {
    const { source, seen } = observed(['a', 'b', 'c', 'd'].map(piece));
    const batches = gathered(source, { bytesMax: 100, signal: never });
    expect(seen.asked).toBe(0);
    expect(textOf(await batches.next())).toBe('a');
    await nextTurn();
    expect(textOf(await batches.next())).toBe('bcd');
    expect(textOf(await batches.next())).toBeNull();
    expect(textOf(await batches.next())).toBeNull();
    expect(seen).toEqual({ asked: 5, closed: 0 });
  });

  test('copies nothing, and takes lists as well', async () => {
    const [first, second] = [piece('first'), piece('second')];
    const { source } = observed([new Uint8ArrayList(first, second)]);
    const { value } = (await gathered(source, { bytesMax: 1, signal: never }).next()) as { value: Uint8ArrayList };
    expect([...value].map((bytes) => bytes.buffer)).toEqual([first.buffer, second.buffer]);
  });

  test('reads ahead up to the bound and goes on when its batch was taken', async () => {
    const { source, seen } = observed(Array.from({ length: 100 }, () => piece('1234')));
    const batches = gathered(source, { bytesMax: 10, signal: never });
    await batches.next();
    await nextTurn();
    expect(seen.asked).toBe(4);
    await nextTurn();
    expect(seen.asked).toBe(4);
    expect(textOf(await batches.next())).toBe('123412341234');
    await nextTurn();
    expect(seen.asked).toBe(7);
    let bytes = 16;
    for await (const batch of batches) bytes += batch.byteLength;
    expect(bytes).toBe(400);
  });

  test('empty pieces are nothing', async () => {
    const { source } = observed(['', '', 'a', ''].map(piece));
    const batches = gathered(source, { bytesMax: 10, signal: never });
    expect(textOf(await batches.next())).toBe('a');
    expect(textOf(await batches.next())).toBeNull();
  });

  test('what came before a failure comes out first', async () => {
    const { source } = observed([piece('a'), piece('b'), new Error('the disk is gone')]);
    const batches = gathered(source, { bytesMax: 10, signal: never });
    expect(textOf(await batches.next())).toBe('a');
    await nextTurn();
    expect(textOf(await batches.next())).toBe('b');
    await expect(batches.next()).rejects.toThrow('the disk is gone');
    await expect(batches.next()).rejects.toThrow('the disk is gone');
  });

  test('a signal ends it at once, and closes a source that hangs', async () => {
    const abort = new AbortController();
    let closed = 0;
    const next = (): Promise<never> => new Promise(() => undefined);
    const close = (): Promise<never> => {
      closed++;
      return next();
    };
    const source = { [Symbol.asyncIterator]: () => ({ next, return: close }) };
    const batches = gathered(source, { bytesMax: 10, signal: abort.signal });
    const taken = batches.next();
    abort.abort();
    await expect(taken).rejects.toMatchObject({ code: 'CANCELLED' });
    await expect(batches.next()).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(closed).toBe(1);
  });

  test('a signal that has fired already lets nothing be read', async () => {
    const { source, seen } = observed([piece('a')]);
    const batches = gathered(source, { bytesMax: 10, signal: AbortSignal.abort() });
    await expect(batches.next()).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(seen).toEqual({ asked: 0, closed: 1 });
  });

  test('is not cancelled any more once the source has ended', async () => {
    const abort = new AbortController();
    const { source } = observed([piece('a'), piece('b')]);
    const batches = gathered(source, { bytesMax: 10, signal: abort.signal });
    expect(textOf(await batches.next())).toBe('a');
    await nextTurn();
    abort.abort();
    expect(textOf(await batches.next())).toBe('b');
    expect(textOf(await batches.next())).toBeNull();
  });

  test('leaving it closes the source once, whatever its close throws', async () => {
    let closed = 0;
    const close = (): never => {
      closed++;
      throw new Error('cannot close');
    };
    const next = () => Promise.resolve({ done: false as const, value: piece('a') });
    const batches = gathered(
      { [Symbol.asyncIterator]: () => ({ next, return: close }) },
      { bytesMax: 3, signal: never },
    );
    for await (const batch of batches) if (batch.byteLength > 0) break;
    await batches.return?.();
    await nextTurn();
    expect(closed).toBe(1);
    expect(textOf(await batches.next())).toBeNull();
  });
});

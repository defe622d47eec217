import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import { Outbox } from '../../src/rpc/outbox.ts';
import { memoryPair } from '../../src/transport/memory.ts';
import { moment, type Moment } from '../support/server-fixture.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
});
afterEach(() => {
  vi.useRealTimers();
});

const stalledMsMax = 1000;

/** An outbox whose stream takes each write when it is told to. */
function held() {
  const taken: string[] = [];
  const writes: Moment[] = [];
  const stalled: SnapferryError[] = [];
  let failure: SnapferryError | null = null;
  const [stream] = memoryPair();
  const write = (bytes: { subarray: () => Uint8Array }): Promise<void> => {
    taken.push(Buffer.from(bytes.subarray()).toString());
    const taking = moment();
    writes.push(taking);
    return taking.promise;
  };
  const outbox = new Outbox(
    { ...stream, description: 'the stream', write },
    {
      stalledMsMax,
      failure: () => failure,
      onFailed: (cause) => cause as SnapferryError,
      onStalled: (error) => stalled.push(error),
    },
  );
  const send = (text: string): Promise<void> => outbox.send(Buffer.from(text));
  return { outbox, send, taken, writes, stalled, fail: (error: SnapferryError) => (failure = error) };
}

describe('an Outbox', () => {
  test('gives the stream one write after the other', async () => {
    const { outbox, send, taken, writes } = held();
    const sent = [send('a'), send('bc'), send('d')];
    expect([taken, outbox.queued, outbox.sentCount]).toEqual([['a'], 3, 0]);
    writes[0]!.resolve();
    await sent[0];
    await vi.waitFor(() => expect(taken).toEqual(['a', 'bc']));
    expect([outbox.queued, outbox.sentCount, outbox.sentBytes]).toEqual([2, 1, 3]);
    writes[1]!.resolve();
    await sent[1];
    await vi.waitFor(() => expect(taken).toEqual(['a', 'bc', 'd']));
    writes[2]!.resolve();
    await outbox.flushed;
    expect([outbox.queued, outbox.sentCount, outbox.sentBytes]).toEqual([0, 3, 4]);
  });

  test('gives it nothing of a connection that is dead, and fails with the cause', async () => {
    const { outbox, send, taken, fail } = held();
    const cause = new SnapferryError('CONNECTION_LOST', 'gone');
    fail(cause);
    await expect(send('a')).rejects.toBe(cause);
    expect([taken, outbox.sentBytes, outbox.queued]).toEqual([[], 0, 0]);
    await outbox.flushed;
  });

  test('calls a peer stalled that takes nothing and says nothing, and says so once', async () => {
    const { outbox, send, stalled } = held();
    void send('a');
    await vi.advanceTimersByTimeAsync(stalledMsMax);
    expect(stalled).toEqual([]);
    await vi.advanceTimersByTimeAsync(10 * stalledMsMax);
    expect(stalled).toHaveLength(1);
    expect(stalled[0]).toMatchObject({
      code: 'TIMEOUT',
      message: 'the stream took none of what was written to it for 1000 ms, and nothing was heard from it',
    });
    outbox.stop();
    expect(vi.getTimerCount()).toBe(0);
  });

  test.each(['is heard', 'takes the next'])('not one that %s now and then', async (how) => {
    const { outbox, send, writes, stalled } = held();
    void send('a');
    for (let count = 0; count < 20; count++) {
      await vi.advanceTimersByTimeAsync(stalledMsMax);
      if (how === 'is heard') {
        outbox.heard();
        continue;
      }
      void send('more');
      writes.at(-1)!.resolve();
      await vi.advanceTimersByTimeAsync(0);
    }
    expect(stalled).toEqual([]);
    await vi.advanceTimersByTimeAsync(2 * stalledMsMax);
    expect(stalled).toHaveLength(1);
  });

  test('watches nothing when nothing is left to be taken', async () => {
    const { send, writes, stalled } = held();
    const sent = send('a');
    expect(vi.getTimerCount()).toBe(1);
    writes[0]!.resolve();
    await sent;
    await vi.advanceTimersByTimeAsync(stalledMsMax);
    expect(vi.getTimerCount()).toBe(0);
    await vi.advanceTimersByTimeAsync(10 * stalledMsMax);
    expect(stalled).toEqual([]);
  });
});

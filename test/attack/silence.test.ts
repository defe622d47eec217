import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { ByteStreamRPC } from '../../src/rpc/byte-stream-rpc.ts';
import type { RequestContext, RPCHandler } from '../../src/rpc/interfaces.ts';
import { memoryPair } from '../../src/transport/memory.ts';
import { besieged, greeted, lured, nextId, trapped, type HostilePeer } from '../support/hostile-peer.ts';
import { bytesOf } from '../support/recorded.ts';
import { chunkOf, controlOf, messageOf } from '../support/scripted-peer.ts';
import { answerTo, idOf, request } from '../support/scripted-session.ts';
import { filesystem, sessionHandler } from '../support/session.ts';
import { initial } from '../support/transfers.ts';

// Time is the test's own here: hours pass in milliseconds, and nothing depends on how fast the machine is.
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'Date'] });
});
afterEach(() => {
  vi.useRealTimers();
});

const second = 1000;
const hour = 3600 * second;
const heartbeatMs = 5 * second;
const clientIdentity = 'mallory';
const options = { clientIdentity, handler: sessionHandler([]), heartbeatMs };
const ask = { filesystem };

async function outcome(promise: Promise<unknown>): Promise<unknown> {
  return promise.catch((error: unknown) => error);
}

/** Lets so much time pass, in steps in which everything that is due happens. */
async function pass(ms: number): Promise<void> {
  const stepMs = Math.max(1, Math.min(second, ms));
  for (let passed = 0; passed < ms; passed += stepMs) {
    await vi.advanceTimersByTimeAsync(stepMs);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Whether a promise is settled after `ms`, and not a second before. */
async function settlesAfter(promise: Promise<unknown>, ms: number): Promise<unknown> {
  const state = { isSettled: false };
  const settled = (): void => {
    state.isSettled = true;
  };
  promise.then(settled, settled);
  await pass(ms - second);
  expect(state.isSettled).toBe(false);
  await pass(2 * second);
  expect(state.isSettled).toBe(true);
  return outcome(promise);
}

const header = messageOf({ Type: 0x11, Id: idOf(1) });

describe('a silent requester (scenario 10)', () => {
  test.each([
    ['before its hello', Buffer.alloc(0), 10 * second],
    ['in the middle of a length', Buffer.from([40]), 10 * second],
    ['in the middle of its hello', chunkOf(Buffer.from('{"Type":1,')), 10 * second],
  ])('%s is let go', async (_, bytes, ms) => {
    const { peer, served } = besieged(options);
    await peer.send(bytes);
    expect(await settlesAfter(served, ms)).toMatchObject({ code: 'TIMEOUT' });
    await peer.ended();
  });

  test.each([
    ['between header and body', header, 30 * second],
    ['in the middle of a body', Buffer.concat([header, chunkOf(Buffer.from('{"File'))]), 30 * second],
    ['between requests', Buffer.alloc(0), hour / 2],
  ])('%s is let go, in version 1', async (_, bytes, ms) => {
    const { peer, served } = await greeted(options, { MaxVersion: 1 });
    await peer.send(bytes);
    expect(await settlesAfter(served, ms)).toMatchObject({ code: 'TIMEOUT' });
    await peer.ended();
  });

  test.each([
    ['between header and body', header],
    ['in the middle of a body', Buffer.concat([header, chunkOf(Buffer.from('{"File'))])],
    ['between requests', Buffer.alloc(0)],
    ['while its request is handled', request(0x11, idOf(1), ask)],
  ])('%s is dead after three heartbeats, in version 2, and its handler told', async (what, bytes) => {
    const contexts: RequestContext[] = [];
    const handler: RPCHandler = {
      ...sessionHandler([]),
      filesystemVersions: (_, context) => {
        contexts.push(context);
        return new Promise(() => undefined);
      },
    };
    const { peer, served } = await greeted({ ...options, handler });
    await peer.send(bytes);
    expect(await settlesAfter(served, 3 * heartbeatMs + heartbeatMs / 2)).toMatchObject({ code: 'PEER_SILENT' });
    expect(contexts.map(({ signal }) => signal.aborted)).toEqual(what === 'while its request is handled' ? [true] : []);
    await peer.ended();
  });

  test.each([
    ['a header, chunk by chunk', chunkOf(Buffer.from(' ')), chunkOf(Buffer.from(' '))],
    ['a chunk, byte by byte', chunkOf(Buffer.alloc(1000)).subarray(0, 4), Buffer.from(' ')],
  ])('one that gives %s is let go, though never silent', async (_, first, next) => {
    const { peer, served } = await greeted(options);
    const state = { isOver: false };
    void served.then(() => (state.isOver = true));
    await peer.send(first);
    for (let seconds = 0; !state.isOver; seconds++) {
      expect(seconds).toBeLessThan(33);
      await peer.send(next);
      await pass(second);
    }
    expect(await served).toMatchObject({ code: 'TIMEOUT' });
  });
});

describe('a silent responder (scenario 10)', () => {
  test('before it answers the hello', async () => {
    const { peer, connecting } = lured({ heartbeatMs });
    expect(await settlesAfter(connecting, 10 * second)).toMatchObject({ code: 'TIMEOUT' });
    await peer.ended();
  });

  test('in the middle of a banner: what came is quoted', async () => {
    const { peer, connecting } = lured({ heartbeatMs });
    await peer.send(Buffer.from('Your password has expired.\nNew password: '));
    await pass(2 * second);
    expect(await outcome(connecting)).toMatchObject({ code: 'CONNECT_FAILED' });
    expect(((await outcome(connecting)) as Error).message).toContain('Your password has expired.');
  });

  type Speak = (peer: HostilePeer, id: number[]) => Promise<unknown>;
  const phases: [string, Speak][] = [
    ['before an answer', () => Promise.resolve()],
    ['in the middle of a header', (peer) => peer.send(chunkOf(Buffer.from('{"RequestId":')))],
    ['in the middle of a length', (peer) => peer.send(Buffer.from([10]))],
    ['between header and stream', (peer, id) => peer.send(answerTo(id, { ResponseType: 0x20 }))],
    [
      'in mid-stream',
      (peer, id) => peer.send(Buffer.concat([answerTo(id, { ResponseType: 0x20 }), chunkOf(Buffer.from('hel'))])),
    ],
    [
      'before the trailer',
      (peer, id) => peer.send(Buffer.concat([answerTo(id, { ResponseType: 0x20 }), messageOf('hello')])),
    ],
    ['in the middle of a control chunk', (peer) => peer.send(controlOf({ Progress: {} }).subarray(0, 9))],
  ];

  test.each(phases)('%s is dead after three heartbeats, and every call with it', async (_, speak) => {
    const { peer, client } = await trapped({ heartbeatMs });
    const asked = client.initialTransfer(initial).then(bytesOf);
    const behind = outcome(client.filesystemVersions(ask));
    await speak(peer, await nextId(peer));
    expect(await settlesAfter(asked, 3 * heartbeatMs + heartbeatMs / 2)).toMatchObject({ code: 'PEER_SILENT' });
    expect(await behind).toMatchObject({ code: 'PEER_SILENT' });
    await peer.ended();
  });

  test('after it was given the roles by PullMe', async () => {
    const { peer, client } = await trapped({ heartbeatMs });
    const pushed = client.pullMe({ initialReplicationPolicy: 'all' }, sessionHandler([]));
    await peer.send(answerTo(await nextId(peer), { ResponseType: 1 }));
    expect(await settlesAfter(pushed, 3 * heartbeatMs + heartbeatMs / 2)).toMatchObject({ code: 'PEER_SILENT' });
  });

  test('a requester that asked to be pulled from, and answers nothing', async () => {
    const failures: unknown[] = [];
    const handler = sessionHandler([], async (client) => {
      failures.push(await outcome(client.filesystems({ roots: null })));
      throw failures[0] as Error;
    });
    const { peer, served } = await greeted({ ...options, handler });
    await peer.send(request(0x20, idOf(1), { InitialReplPolicy: 'all' }));
    expect(await settlesAfter(served, 3 * heartbeatMs + heartbeatMs / 2)).toMatchObject({ code: 'PEER_SILENT' });
    expect(failures).toMatchObject([{ code: 'PEER_SILENT' }]);
  });

  /** Says every second that it is alive, and nothing else, while time passes. */
  async function passAlive(peer: HostilePeer, ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += second) {
      await peer.send(controlOf());
      await pass(second);
    }
  }

  test('that is alive and does not answer a cancelled call costs the connection, not the caller', async () => {
    const { peer, client } = await trapped({ heartbeatMs });
    const asked = outcome(client.filesystemVersions(ask, { timeoutMs: 2 * second }));
    const behind = outcome(client.filesystemVersions(ask));
    await passAlive(peer, 3 * second);
    expect(await asked).toMatchObject({ code: 'TIMEOUT', connectionDead: false });
    await passAlive(peer, 30 * second);
    expect(await behind).toMatchObject({ code: 'TIMEOUT', connectionDead: true });
  });

  test('that streams on after a cancel loses the connection', async () => {
    const { peer, client } = await trapped({ heartbeatMs });
    const asked = client.initialTransfer(initial);
    await peer.send(answerTo(await nextId(peer), { ResponseType: 0x20 }));
    await (await asked).bytes[Symbol.asyncIterator]().return?.();
    const behind = client.filesystemVersions(ask);
    const state = { isOver: false };
    const settled = (): void => {
      state.isOver = true;
    };
    behind.then(settled, settled);
    for (let seconds = 0; !state.isOver; seconds++) {
      expect(seconds).toBeLessThan(33);
      for (let pieces = 0; pieces < 10; pieces++) await peer.send(chunkOf(Buffer.alloc(10_000)));
      await pass(second);
    }
    expect(await outcome(behind)).toMatchObject({ code: 'TIMEOUT', connectionDead: true });
  });

  test('that does not answer a goodbye is left after ten seconds', async () => {
    const { peer, client } = await trapped({ heartbeatMs });
    const state = { isClosed: false };
    const closing = client.close().then(() => (state.isClosed = true));
    await passAlive(peer, 9 * second);
    expect(state.isClosed).toBe(false);
    await passAlive(peer, 2 * second);
    await closing;
  });
});

describe('a slow consumer is not a silent one (scenario 11)', () => {
  test('that stalls for an hour, heartbeats alive, gets its whole transfer', async () => {
    const [near, far] = memoryPair();
    const content = Buffer.alloc(1024 * 1024, 7);
    const handler: RPCHandler = {
      ...sessionHandler([]),
      initialTransfer: () =>
        Promise.resolve({
          format: null,
          estimatedBytes: null,
          resumed: false,
          bytes: (async function* () {
            for (let at = 0; at < content.length; at += 65_536) {
              await Promise.resolve();
              yield content.subarray(at, at + 65_536);
            }
          })(),
        }),
    };
    const served = ByteStreamRPC.listen(far, { ...options, handler });
    const client = await ByteStreamRPC.connect(near, { heartbeatMs });
    const { bytes } = await client.initialTransfer(initial);
    let count = 0;
    for await (const piece of bytes) {
      if (count === 0) await pass(hour);
      count += piece.byteLength;
    }
    expect(count).toBe(content.length);
    expect(await client.filesystems({ roots: null })).toEqual([filesystem]);
    await client.close();
    await served;
  });
});

describe('a clock that jumps (scenario 13)', () => {
  test.each([
    ['forward ten hours', 10 * hour],
    ['back ten hours', -10 * hour],
  ])('%s kills nothing', async (_, ms) => {
    const [near, far] = memoryPair();
    const served = ByteStreamRPC.listen(far, options);
    const client = await ByteStreamRPC.connect(near, { heartbeatMs });
    const transfer = await client.initialTransfer(initial);
    vi.setSystemTime(Date.now() + ms);
    await pass(heartbeatMs);
    expect(await bytesOf(transfer)).toHaveLength(300);
    vi.setSystemTime(Date.now() + ms);
    const asked = client.filesystems({ roots: null }, { timeoutMs: 5 * second });
    vi.setSystemTime(Date.now() + ms);
    expect(await asked).toEqual([filesystem]);
    await pass(10 * heartbeatMs);
    expect(await client.filesystemVersions(ask)).toHaveLength(2);
    await client.close();
    await served;
  });
});

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { SnapferryError } from '../../src/errors.ts';
import { ByteStreamRPC } from '../../src/rpc/byte-stream-rpc.ts';
import { bytesOf, recordedStep, wireOf } from '../support/recorded.ts';
import { chunkOf, controlOf, messageOf, scripted, type ScriptedPeer } from '../support/scripted-peer.ts';
import {
  answerTo,
  idOf,
  nextRequest,
  request,
  scriptedRequester,
  scriptedResponder,
} from '../support/scripted-session.ts';
import { filesystem, sessionHandler } from '../support/session.ts';
import { hang, initial } from '../support/transfers.ts';

const heartbeatMs = 1000;
const heartbeat = controlOf();
const listening = { clientIdentity: 'tester', handler: sessionHandler([]), heartbeatMs };

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** Lets everything happen that needs no clock. */
async function settle(): Promise<void> {
  for (let turns = 0; turns < 5; turns++) await new Promise((resolve) => setImmediate(resolve));
}

async function pass(ms: number, meanwhile: () => void = () => undefined): Promise<void> {
  for (let passed = 0; passed < ms; passed += heartbeatMs) {
    meanwhile();
    await settle();
    await vi.advanceTimersByTimeAsync(Math.min(heartbeatMs, ms - passed));
    await settle();
  }
}

/** How a promise ended so far. */
function watch(promise: Promise<unknown>): { code: string } {
  const state = { code: 'pending' };
  promise.then(
    () => (state.code = 'resolved'),
    (error: unknown) => (state.code = (error as SnapferryError).code),
  );
  return state;
}

function heartbeatsIn(peer: ScriptedPeer): number {
  const bytes = peer.untaken;
  expect(bytes.equals(Buffer.concat(Array.from({ length: bytes.byteLength / 4 }, () => heartbeat)))).toBe(true);
  return bytes.byteLength / 4;
}

describe('in version 2', () => {
  test('both sides say that they are alive when they have nothing else to say', async () => {
    const { peer } = await scriptedResponder({ heartbeatMs });
    await pass(10 * heartbeatMs);
    expect(heartbeatsIn(peer)).toBe(10);
    const { peer: requester } = await scriptedRequester(listening);
    await pass(3 * heartbeatMs, () => requester.send(heartbeat));
    expect(heartbeatsIn(requester)).toBeGreaterThanOrEqual(2);
    peer.abort();
    requester.abort();
  });

  test('a silent peer is declared dead, and everything pending rejects at once', async () => {
    const { client } = await scriptedResponder({ heartbeatMs });
    const pending = [
      client.filesystems({ roots: null }),
      client.initialTransfer(initial),
      client.filesystems({ roots: null }),
    ];
    const states = pending.map(watch);
    await pass(3 * heartbeatMs);
    expect(states.map(({ code }) => code)).toEqual(['pending', 'pending', 'pending']);
    await pass(heartbeatMs);
    expect(states.map(({ code }) => code)).toEqual(['PEER_SILENT', 'PEER_SILENT', 'PEER_SILENT']);
    const later = client.filesystems({ roots: null });
    await expect(later).rejects.toMatchObject({ code: 'PEER_SILENT', retryable: true });
    await expect(later).rejects.toThrow(/^nothing heard from .*, not even 3 heartbeats$/);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('a peer that only sends heartbeats is alive', async () => {
    const { client, peer } = await scriptedResponder({ heartbeatMs });
    const state = watch(client.filesystems({ roots: null }));
    await pass(100 * heartbeatMs, () => peer.send(heartbeat));
    expect(state.code).toBe('pending');
    await pass(4 * heartbeatMs);
    expect(state.code).toBe('PEER_SILENT');
  });

  test('the larger of both counts', async () => {
    const { client } = await scriptedResponder({ heartbeatMs }, { HeartbeatMs: 10 * heartbeatMs });
    const state = watch(client.filesystems({ roots: null }));
    await pass(30 * heartbeatMs);
    expect(state.code).toBe('pending');
    await pass(6 * heartbeatMs);
    expect(state.code).toBe('PEER_SILENT');
  });

  test('a silent sender in mid-stream is noticed, a slow consumer is not silence', async () => {
    const { client, peer } = await scriptedResponder({ heartbeatMs });
    const asked = client.initialTransfer(initial);
    const { id } = (await nextRequest(peer))!;
    peer.send(Buffer.concat([answerTo(id, { ResponseType: 0x20 }), chunkOf(Buffer.from('a'))]));
    const iterator = (await asked).bytes[Symbol.asyncIterator]();
    expect((await iterator.next()).done).toBe(false);
    await pass(100 * heartbeatMs);
    peer.send(chunkOf(Buffer.from('b')));
    expect((await iterator.next()).done).toBe(false);
    const state = watch(iterator.next());
    await pass(4 * heartbeatMs);
    expect(state.code).toBe('PEER_SILENT');
  });

  test('a client with nothing to ask does not mind the silence', async () => {
    const { client, peer } = await scriptedResponder({ heartbeatMs });
    await pass(20 * heartbeatMs);
    const asked = client.filesystems({ roots: null });
    while (peer.untaken.subarray(0, 4).equals(heartbeat)) peer.skip(4);
    const { id } = (await nextRequest(peer))!;
    peer.send(Buffer.concat([answerTo(id, { ResponseType: 0x10 }), messageOf([filesystem])]));
    expect(await asked).toEqual([filesystem]);
    peer.abort();
  });

  test('our server notices, and tells the handler', async () => {
    const hanging = hang();
    const handler = {
      ...sessionHandler([]),
      filesystems: (_: unknown, context: Parameters<typeof hanging.until>[0]) => hanging.until(context),
    };
    const { peer, served } = await scriptedRequester({ ...listening, handler });
    peer.send(request(0x10, idOf(2), { Roots: null }));
    await hanging.begun;
    const state = watch(served);
    await pass(3 * heartbeatMs);
    expect(state.code).toBe('pending');
    await pass(heartbeatMs);
    await hanging.stopped;
    expect(await served).toMatchObject({ code: 'PEER_SILENT' });
    expect(vi.getTimerCount()).toBe(0);
  });
});

test('version 1 has no heartbeats, and no silence', async () => {
  const { stream, peer } = scripted();
  const connecting = ByteStreamRPC.connect(stream, { maximumVersion: 1, heartbeatMs });
  await nextRequest(peer);
  peer.send(wireOf(recordedStep('01-version').server));
  const client = await connecting;
  const state = watch(client.filesystems({ roots: null }));
  await nextRequest(peer);
  await pass(100 * heartbeatMs);
  expect(state.code).toBe('pending');
  expect(peer.untaken).toHaveLength(0);
  client.forceClose();
  await settle();
  expect(state.code).toBe('CANCELLED');
});

describe('waiting has an end', () => {
  test.each([
    ['nothing', ''],
    ['half a length', '5a00'],
    ['half a hello', '5a0000007b'],
  ])('for the answer to a hello, after %s', async (_, hex) => {
    const { stream, peer } = scripted();
    const state = watch(ByteStreamRPC.connect(stream, { limits: { helloMsMax: 5000 } }));
    peer.send(Buffer.from(hex, 'hex'));
    await pass(4000);
    expect(state.code).toBe('pending');
    await pass(1000);
    expect(state.code).toBe('TIMEOUT');
    expect(vi.getTimerCount()).toBe(0);
  });

  test('for the rest of a banner', async () => {
    const { stream, peer } = scripted();
    const state = watch(ByteStreamRPC.connect(stream));
    peer.send(Buffer.from('Password: '));
    await pass(400);
    expect(state.code).toBe('pending');
    await pass(200);
    expect(state.code).toBe('CONNECT_FAILED');
    expect(vi.getTimerCount()).toBe(0);
  });

  test.each([
    ['nothing', Buffer.alloc(0)],
    ['half a length', Buffer.from('32', 'hex')],
  ])('for a hello, after %s', async (_, begun) => {
    const { stream, peer } = scripted();
    const state = watch(ByteStreamRPC.listen(stream, { ...listening, limits: { helloMsMax: 5000 } }));
    peer.send(begun);
    await pass(4000);
    expect(state.code).toBe('pending');
    await pass(1000);
    expect(state.code).toBe('TIMEOUT');
    expect(vi.getTimerCount()).toBe(0);
  });

  test('for the next request', async () => {
    const { peer, served } = await scriptedRequester({ ...listening, limits: { requestWaitMsMax: 60_000 } });
    const state = watch(served);
    await pass(59_000, () => peer.send(heartbeat));
    expect(state.code).toBe('pending');
    await pass(2000, () => peer.send(heartbeat));
    expect(await served).toMatchObject({ code: 'TIMEOUT' });
    expect(vi.getTimerCount()).toBe(0);
  });

  test.each([
    ['a header', messageOf({ Type: 0x10, Id: idOf(2) }).subarray(0, 20)],
    ['a header and nothing else', messageOf({ Type: 0x10, Id: idOf(2) })],
    ['half a body', request(0x10, idOf(2), { Roots: null }).subarray(0, -6)],
  ])('for the rest of a request of which %s has come', async (_, begun) => {
    const limits = { requestReadMsMax: 10_000 };
    const { peer, served } = await scriptedRequester({ ...listening, heartbeatMs: 60_000, limits });
    const state = watch(served);
    peer.send(begun);
    await pass(9000);
    expect(state.code).toBe('pending');
    await pass(2000);
    expect(await served).toMatchObject({ code: 'TIMEOUT', message: expect.stringMatching(/to finish a/) as string });
    expect(vi.getTimerCount()).toBe(0);
  });

  test('for the answer to a call that was cancelled', async () => {
    const { client, peer } = await scriptedResponder({ heartbeatMs });
    const abort = new AbortController();
    const cancelled = watch(client.filesystems({ roots: null }, { signal: abort.signal }));
    const behind = watch(client.filesystems({ roots: null }));
    await settle();
    abort.abort();
    await settle();
    expect(cancelled.code).toBe('CANCELLED');
    await pass(29_000, () => peer.send(heartbeat));
    expect(behind.code).toBe('pending');
    await pass(2000, () => peer.send(heartbeat));
    expect(behind.code).toBe('TIMEOUT');
    await expect(client.filesystems({ roots: null })).rejects.toThrow('Filesystems was cancelled but never answered');
    expect(vi.getTimerCount()).toBe(0);
  });

  test('but none that is left over when a cancelled call was answered after all', async () => {
    const { client, peer } = await scriptedResponder({ heartbeatMs });
    const abort = new AbortController();
    const cancelled = watch(client.filesystems({ roots: null }, { signal: abort.signal }));
    const { id } = (await nextRequest(peer))!;
    abort.abort();
    await settle();
    expect(cancelled.code).toBe('CANCELLED');
    peer.send(Buffer.concat([answerTo(id, { ResponseType: 0x10 }), messageOf([filesystem])]));
    await pass(60_000, () => peer.send(heartbeat));
    const later = client.filesystems({ roots: null });
    later.catch(() => undefined);
    client.forceClose();
    await expect(later).rejects.toMatchObject({ code: 'CANCELLED' });
  });

  test('for the end of a stream that was left', async () => {
    const { client, peer } = await scriptedResponder({ heartbeatMs });
    const asked = client.initialTransfer(initial);
    const { id } = (await nextRequest(peer))!;
    peer.send(Buffer.concat([answerTo(id, { ResponseType: 0x20 }), chunkOf(Buffer.from('a'))]));
    await (await asked).bytes[Symbol.asyncIterator]().return?.();
    const behind = watch(client.filesystems({ roots: null }));
    await pass(31_000, () => peer.send(chunkOf(Buffer.from('more'))));
    expect(behind.code).toBe('TIMEOUT');
    await expect(client.filesystems({ roots: null })).rejects.toThrow(
      'the peer did not end its stream after InitialTransfer was cancelled',
    );
    expect(vi.getTimerCount()).toBe(0);
  });

  test('for the answer to a goodbye', async () => {
    const { client, peer } = await scriptedResponder({ heartbeatMs });
    const state = watch(client.close());
    await pass(9000, () => peer.send(heartbeat));
    expect(state.code).toBe('pending');
    await pass(2000, () => peer.send(heartbeat));
    expect(state.code).toBe('resolved');
    await expect(client.filesystems({ roots: null })).rejects.toMatchObject({ code: 'TIMEOUT' });
    expect(vi.getTimerCount()).toBe(0);
  });

  test('in a queue behind a transfer, when the call has a limit', async () => {
    const { client, peer } = await scriptedResponder({ heartbeatMs });
    const asked = client.initialTransfer(initial);
    const { id } = (await nextRequest(peer))!;
    peer.send(Buffer.concat([answerTo(id, { ResponseType: 0x20 }), chunkOf(Buffer.from('a')), Buffer.alloc(4)]));
    const transfer = await asked;
    const behind = watch(client.filesystems({ roots: null }, { timeoutMs: 3000 }));
    await pass(4000);
    expect(behind.code).toBe('TIMEOUT');
    peer.send(messageOf({ ErrorId: 0, Bytes: 1, Digest: { Algorithm: 'xxh64', Value: 'd24ec4f1a98c6e5b' } }));
    expect(await bytesOf(transfer)).toEqual(Buffer.from('a'));
    client.forceClose();
  });

  test('but a long answer may come slowly, as long as the peer lives', async () => {
    const { client, peer } = await scriptedResponder({ heartbeatMs });
    const asked = client.filesystems({ roots: null });
    const { id } = (await nextRequest(peer))!;
    const body = Buffer.from(JSON.stringify([filesystem]).padEnd(100));
    peer.send(answerTo(id, { ResponseType: 0x10 }));
    let sent = 0;
    await pass(100 * heartbeatMs, () => peer.send(chunkOf(body.subarray(sent, ++sent))));
    peer.send(Buffer.alloc(4));
    expect(await asked).toEqual([filesystem]);
    client.forceClose();
  });
});

describe('a peer to which nothing can be written', () => {
  function deaf() {
    const { stream, peer } = scripted();
    const connecting = ByteStreamRPC.connect({
      description: 'half a pipe',
      source: stream.source,
      write: () => Promise.reject(new Error('EPIPE')),
      end: () => stream.end(),
      abort: (reason) => stream.abort(reason),
      close: () => stream.close(),
      [Symbol.asyncDispose]: () => stream.close(),
    });
    return { connecting, peer };
  }

  test('may still say why', async () => {
    const { connecting, peer } = deaf();
    peer.send(answerTo(Array(16).fill(0) as number[], { ErrorId: 4, Message: 'too old', ResponseType: 0 }));
    await expect(connecting).rejects.toMatchObject({ code: 'PROTOCOL_VERSION', fromPeer: true });
    expect(vi.getTimerCount()).toBe(0);
  });

  test('is let go when it says nothing', async () => {
    const { connecting } = deaf();
    const state = watch(connecting);
    await pass(1000);
    expect(state.code).toBe('pending');
    await pass(2000);
    expect(state.code).toBe('CONNECTION_LOST');
    await expect(connecting).rejects.toThrow('cannot write to half a pipe: EPIPE');
    expect(vi.getTimerCount()).toBe(0);
  });
});

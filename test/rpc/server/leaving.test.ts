import { afterEach, describe, expect, test, vi } from 'vitest';
import type { SnapferryError } from '../../../src/errors.ts';
import { ByteStreamRPC } from '../../../src/rpc/byte-stream-rpc.ts';
import type { RequestContext } from '../../../src/rpc/interfaces.ts';
import type { ReplicationServer } from '../../../src/rpc/server.ts';
import { memoryPair } from '../../../src/transport/memory.ts';
import { answering, collected, connectTo, moment, testServer, transferOf } from '../../support/server-fixture.ts';

const filesystem = ['tank', 'home'];
const version = { type: 'snapshot', name: 'a', guid: 1n, createTXG: 1n, creation: null };
/** Longer than any test: what happens within it happens for another reason than time. */
const longMs = 3_600_000;

let server: ReplicationServer | undefined;
afterEach(async () => {
  await server?.disconnect(0);
  server = undefined;
});

/** A handler whose `filesystems` waits until it is let go. */
function waiting() {
  const [begun, goOn] = [moment<AbortSignal>(), moment()];
  const filesystems = async (_: unknown, { signal }: RequestContext) => {
    begun.resolve(signal);
    await goOn.promise;
    return [['late']];
  };
  return { handler: answering({ filesystems }), begun: begun.promise, goOn: goOn.resolve };
}

describe.each([1, 2] as const)('disconnect towards a version-%i peer', (maximumVersion) => {
  test('lets the request in progress finish, answers the next with Goodbye, and closes', async () => {
    const { handler, begun, goOn } = waiting();
    server = testServer({ handler, goodbyeMs: longMs });
    const { client, session } = await connectTo(server, { maximumVersion });
    const call = client.filesystems({ roots: null });
    await begun;
    const gone = server.disconnect(longMs);
    goOn();
    expect(await call).toEqual([['late']]);
    const next: unknown = await client.filesystemVersions({ filesystem }).catch((error: unknown) => error);
    expect(next).toMatchObject({ code: maximumVersion === 2 ? 'GOODBYE' : 'INTERNAL', fromPeer: true });
    expect((next as Error).message).toContain('shutting down');
    expect((next as SnapferryError).retryable).toBe(maximumVersion === 2);
    await gone;
    expect(await session.closed).toEqual({ kind: 'left' });
  });

  test('cancels the request in progress when the grace runs out', async () => {
    const { handler, begun } = waiting();
    server = testServer({ handler });
    const { client, session } = await connectTo(server, { maximumVersion });
    const call = client.filesystems({ roots: null });
    const signal = await begun;
    void session.disconnect(1);
    await expect(call).rejects.toThrow('shutting down');
    expect(signal.aborted).toBe(true);
    await expect(client.filesystemVersions({ filesystem })).rejects.toThrow('shutting down');
    expect(await session.closed).toEqual({ kind: 'left' });
  });
});

describe('disconnect', () => {
  test('answers everything that was asked ahead with Goodbye', async () => {
    const { handler, begun, goOn } = waiting();
    server = testServer({ handler });
    const { client } = await connectTo(server);
    const first = client.filesystems({ roots: null });
    await begun;
    const ahead = [1, 2, 3].map(() => client.filesystemVersions({ filesystem }).catch((error: unknown) => error));
    const gone = server.disconnect(longMs);
    goOn();
    await first;
    expect(await Promise.all(ahead)).toMatchObject([{ code: 'GOODBYE' }, { code: 'GOODBYE' }, { code: 'GOODBYE' }]);
    await gone;
  });

  test('called again, shortens the grace', async () => {
    const { handler, begun } = waiting();
    server = testServer({ handler });
    const { client } = await connectTo(server);
    const call = client.filesystems({ roots: null });
    const signal = await begun;
    const gone = server.disconnect(longMs);
    expect(signal.aborted).toBe(false);
    void server.disconnect(0);
    await expect(call).rejects.toMatchObject({ code: 'CANCELLED', retryable: true });
    await gone;
  });

  test('called again with more, does not lengthen it', async () => {
    const { handler, begun } = waiting();
    server = testServer({ handler });
    const { client } = await connectTo(server);
    const call = client.filesystems({ roots: null });
    await begun;
    const gone = server.disconnect(5);
    void server.disconnect(longMs);
    await expect(call).rejects.toMatchObject({ code: 'CANCELLED' });
    await gone;
  });

  test('ends idle sessions without waiting for the grace', async () => {
    server = testServer({ goodbyeMs: 5 });
    const { session } = await connectTo(server);
    await server.disconnect(longMs);
    expect(await session.closed).toEqual({ kind: 'left' });
    expect(server.sessions()).toEqual([]);
  });

  test('of one session leaves the others alone', async () => {
    server = testServer();
    const [one, other] = [await connectTo(server), await connectTo(server)];
    expect(await one.session.disconnect(0)).toEqual({ kind: 'left' });
    await expect(one.client.filesystems({ roots: null })).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
    expect(await other.client.filesystems({ roots: null })).toEqual([['tank']]);
    expect(server.sessions()).toEqual([other.session]);
  });

  test('a transfer in progress is finished within the grace', async () => {
    const [begun, goOn] = [moment(), moment()];
    async function* pieces() {
      yield Buffer.from('one ');
      begun.resolve();
      await goOn.promise;
      yield Buffer.from('two');
    }
    server = testServer({ handler: answering({ initialTransfer: () => Promise.resolve(transferOf(pieces())) }) });
    const { client } = await connectTo(server);
    const { bytes } = await client.initialTransfer({ filesystem, version });
    const received = collected(bytes);
    await begun.promise;
    const gone = server.disconnect(longMs);
    goOn.resolve();
    expect((await received).toString()).toBe('one two');
    await gone;
  });

  test('a transfer that outlasts the grace ends in its trailer, never as a whole', async () => {
    const begun = moment();
    let isClosed = false;
    async function* endless() {
      try {
        for (;;) {
          yield Buffer.alloc(1000);
          begun.resolve();
          await new Promise((resolve) => setImmediate(resolve));
        }
      } finally {
        isClosed = true;
      }
    }
    server = testServer({ handler: answering({ initialTransfer: () => Promise.resolve(transferOf(endless())) }) });
    const { client } = await connectTo(server);
    const { bytes } = await client.initialTransfer({ filesystem, version });
    const received = collected(bytes);
    await begun.promise;
    void server.disconnect(1);
    await expect(received).rejects.toMatchObject({ code: 'CANCELLED', retryable: true, fromPeer: true });
    await vi.waitFor(() => expect(isClosed).toBe(true));
  });

  test('a pull in progress is cancelled when the grace runs out, and the pusher is told', async () => {
    const begun = moment();
    const pullMe = (_: unknown, { signal }: RequestContext) =>
      Promise.resolve(async () => {
        begun.resolve();
        await new Promise<void>((_resolve, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
        });
        return { filesystems: [] };
      });
    server = testServer({ handler: answering({ pullMe }) });
    const { client } = await connectTo(server);
    const push = client.pullMe({ initialReplicationPolicy: 'all' }, answering());
    await begun.promise;
    const gone = server.disconnect(1);
    await expect(push).rejects.toMatchObject({ code: 'CANCELLED', fromPeer: true });
    await gone;
  });

  test('a client that connects meanwhile is told Goodbye as the answer to its hello', async () => {
    const { handler, begun, goOn } = waiting();
    server = testServer({ handler });
    const { client } = await connectTo(server);
    const call = client.filesystems({ roots: null });
    await begun;
    const gone = server.disconnect(longMs);
    const [near, far] = memoryPair();
    const served = server.serve(far, { identity: 'late', address: 'there' });
    await expect(ByteStreamRPC.connect(near)).rejects.toMatchObject({ code: 'GOODBYE', retryable: true });
    await served;
    goOn();
    await call;
    await gone;
  });

  test('a client in the middle of its hello is told Goodbye', async () => {
    server = testServer({ goodbyeMs: longMs });
    const [near, far] = memoryPair();
    void server.serve(far, { identity: 'slow', address: 'there' });
    const gone = server.disconnect(longMs);
    await expect(ByteStreamRPC.connect(near)).rejects.toMatchObject({ code: 'GOODBYE' });
    await gone;
  });

  test('a handler that ignores its cancellation cannot hold up the end', async () => {
    const begun = moment();
    const pullMe = () =>
      Promise.resolve(() => {
        begun.resolve();
        return new Promise<never>(() => undefined);
      });
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    try {
      server = testServer({ handler: answering({ pullMe }) });
      const { client, session } = await connectTo(server);
      const push = client.pullMe({ initialReplicationPolicy: 'all' }, answering()).catch((error: unknown) => error);
      await begun.promise;
      const gone = server.disconnect(1000);
      await vi.advanceTimersByTimeAsync(1000);
      expect(server.sessions()).toHaveLength(1);
      await vi.advanceTimersByTimeAsync(5000);
      expect(await push).toMatchObject({ code: 'CONNECTION_LOST' });
      await vi.advanceTimersByTimeAsync(30_000);
      await gone;
      expect(await session.closed).toMatchObject({ kind: 'failed', error: { code: 'TIMEOUT' } });
    } finally {
      vi.useRealTimers();
    }
  });

  test('resolves at once for a server without sessions, and again', async () => {
    server = testServer();
    await server.disconnect(longMs);
    await server.disconnect(longMs);
    await server.closed;
  });
});

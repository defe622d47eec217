import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { SnapferryError } from '../../../src/errors.ts';
import { ByteStreamRPC } from '../../../src/rpc/byte-stream-rpc.ts';
import type { RequestContext } from '../../../src/rpc/interfaces.ts';
import type { RequestResult } from '../../../src/rpc/request-in-progress.ts';
import { ReplicationServer } from '../../../src/rpc/server.ts';
import type { CurrentRequest, SessionEnd } from '../../../src/rpc/session.ts';
import { memoryPair } from '../../../src/transport/memory.ts';
import { connectUnix, listenUnix } from '../../../src/transport/unix.ts';
import { answering, collected, connectTo, moment, testServer, transferOf } from '../../support/server-fixture.ts';

const filesystem = ['tank', 'home'];
const version = { type: 'snapshot', name: 'a', guid: 1n, createTXG: 1n, creation: null };

let server: ReplicationServer | undefined;
afterEach(async () => {
  await server?.disconnect(0);
  server = undefined;
});

describe('sessions()', () => {
  test('lists them by their start, with identity, addresses and when they began', async () => {
    const before = Date.now();
    server = testServer();
    for (const identity of ['web2', 'web1', 'web3']) await connectTo(server, { identity });
    const sessions = server.sessions();
    expect(sessions.map(({ identity }) => identity)).toEqual(['web2', 'web1', 'web3']);
    expect(sessions.map(({ id }) => id)).toEqual([1, 2, 3]);
    expect(sessions[0]).toMatchObject({ remoteAddress: 'address of web2', localAddress: 'the test listener' });
    const starts = sessions.map(({ since }) => since.getTime());
    expect(starts).toEqual([...starts].sort((a, b) => a - b));
    expect(starts[0]).toBeGreaterThanOrEqual(before);
    expect(sessions.map(({ protocolVersion }) => protocolVersion)).toEqual([2, 2, 2]);
    expect(sessions.map(({ current }) => current)).toEqual([null, null, null]);
  });

  test('one that is over is not listed any more', async () => {
    server = testServer();
    const [first, second] = [await connectTo(server), await connectTo(server)];
    await first.client.close('bye');
    await first.served;
    expect(server.sessions()).toEqual([second.session]);
    expect(await first.session.closed).toEqual({ kind: 'closed', goodbye: 'bye' });
  });

  test('names the request being answered and counts its bytes', async () => {
    const [sent, goOn] = [moment(), moment()];
    async function* pieces() {
      yield Buffer.alloc(100_000);
      sent.resolve();
      await goOn.promise;
      yield Buffer.alloc(100_000);
    }
    server = testServer({ handler: answering({ initialTransfer: () => Promise.resolve(transferOf(pieces())) }) });
    const { client, session } = await connectTo(server);
    const transfer = await client.initialTransfer({ filesystem, version });
    const received = collected(transfer.bytes);
    await sent.promise;
    await vi.waitFor(() => expect(session.current?.sentBytes).toBeGreaterThanOrEqual(100_000));
    expect(session.current).toMatchObject({ name: 'InitialTransfer', short: 'InitialTransfer tank/home@a' });
    expect(session.current?.sentBytes).toBeLessThan(102_000);
    expect(session.current?.since.getTime()).toBeGreaterThanOrEqual(session.since.getTime());
    goOn.resolve();
    expect((await received).byteLength).toBe(200_000);
    await vi.waitFor(() => expect(session.current).toBeNull());
    expect(session.sentBytes).toBeGreaterThan(200_000);
    expect(session.receivedBytes).toBeGreaterThan(100);
  });

  test('what is attached is handed to every handler of the session, and may change', async () => {
    const seen: unknown[] = [];
    const filesystems = (_: unknown, context: RequestContext) => {
      seen.push(context.attached);
      return Promise.resolve([]);
    };
    server = testServer({ handler: answering({ filesystems }), attach: ({ identity }) => ({ quota: identity }) });
    const { client, session } = await connectTo(server);
    await client.filesystems({ roots: null });
    session.attached = 'changed';
    await client.filesystems({ roots: null });
    expect(seen).toEqual([{ quota: 'web1' }, 'changed']);
  });

  test('the handler can be made for each session', async () => {
    server = testServer({ handler: ({ identity }) => answering({ filesystems: () => Promise.resolve([[identity]]) }) });
    const [one, other] = [await connectTo(server, { identity: 'a' }), await connectTo(server, { identity: 'b' })];
    expect(await one.client.filesystems({ roots: null })).toEqual([['a']]);
    expect(await other.client.filesystems({ roots: null })).toEqual([['b']]);
  });

  test('a session for which there is no handler is refused in words, and internals are not told', async () => {
    const refuse = {
      known: new SnapferryError('ACCESS_DENIED', 'web9 is not known'),
      internal: new Error('/etc/secret'),
    };
    server = testServer({
      handler: ({ identity }) => {
        throw identity === 'web9' ? refuse.known : refuse.internal;
      },
    });
    await expect(connectTo(server, { identity: 'web9' })).rejects.toMatchObject({
      code: 'ACCESS_DENIED',
      message: 'hello: web9 is not known',
    });
    const error: unknown = await connectTo(server).catch((cause: unknown) => cause);
    expect(error).toMatchObject({ code: 'INTERNAL' });
    expect((error as Error).message).not.toContain('secret');
  });

  test('the log of a session names it, and can be replaced', async () => {
    const lines: string[] = [];
    const logger = pino({ level: 'info' }, { write: (line: string) => lines.push(line) });
    server = testServer({ logger });
    const { client, session } = await connectTo(server);
    const first: unknown = JSON.parse(lines[0] ?? '');
    expect(first).toMatchObject({ session: 1, identity: 'web1', remote: 'address of web1', msg: 'connected' });
    const own: string[] = [];
    session.logger = pino({ level: 'info' }, { write: (line: string) => own.push(line) });
    await client.filesystems({ roots: ['tank'] });
    expect(own.join()).toContain('asked: Filesystems tank');
  });

  test('cancels the request of one session, which stays usable', async () => {
    const begun = moment<AbortSignal>();
    const filesystems = (_: unknown, { signal }: RequestContext) => {
      begun.resolve(signal);
      return new Promise<never>(() => undefined);
    };
    server = testServer({ handler: answering({ filesystems }) });
    const { client, session } = await connectTo(server);
    expect(session.cancel()).toBe(false);
    const call = client.filesystems({ roots: null });
    const signal = await begun.promise;
    expect(session.cancel('the operator said so')).toBe(true);
    await expect(call).rejects.toMatchObject({ code: 'CANCELLED', message: 'Filesystems: the operator said so' });
    expect(signal.aborted).toBe(true);
    expect(await client.filesystemVersions({ filesystem })).toEqual([]);
  });
});

describe('hooks', () => {
  test('count sessions, requests, bytes, durations and errors by code', async () => {
    const requests: [string, RequestResult][] = [];
    const begun: string[] = [];
    const ends: SessionEnd[] = [];
    const handler = answering({
      filesystems: () => Promise.reject(new SnapferryError('DATASET_NOT_FOUND', 'no')),
      initialTransfer: () => Promise.resolve(transferOf([Buffer.alloc(5000)])),
    });
    server = testServer({
      handler,
      hooks: {
        onSession: ({ identity }) => begun.push(`session of ${identity}`),
        onSessionEnd: (_, end) => ends.push(end),
        onRequest: (_, { name }) => begun.push(name),
        onRequestEnd: (_, { name }: CurrentRequest, result) => requests.push([name, result]),
      },
    });
    const { client, served } = await connectTo(server);
    await client.filesystems({ roots: null }).catch(() => undefined);
    await collected((await client.initialTransfer({ filesystem, version })).bytes);
    await client.close('done');
    await served;
    expect(begun).toEqual(['session of web1', 'ProtocolVersion', 'Filesystems', 'InitialTransfer', 'Close']);
    expect(requests.map(([name, { code }]) => [name, code])).toEqual([
      ['ProtocolVersion', null],
      ['Filesystems', 'DATASET_NOT_FOUND'],
      ['InitialTransfer', null],
      ['Close', null],
    ]);
    expect(requests[2]?.[1].sentBytes).toBeGreaterThan(5000);
    for (const [, { durationMs }] of requests) expect(durationMs).toBeGreaterThanOrEqual(0);
    expect(ends).toEqual([{ kind: 'closed', goodbye: 'done' }]);
  });

  test('a transfer whose source failed counts as failed', async () => {
    async function* failing() {
      yield Buffer.alloc(10);
      await Promise.reject(new SnapferryError('SOURCE_FAILED', 'the disk is gone'));
    }
    const codes: unknown[] = [];
    server = testServer({
      handler: answering({ initialTransfer: () => Promise.resolve(transferOf(failing())) }),
      hooks: { onRequestEnd: (_, { name }, { code }) => codes.push([name, code]) },
    });
    const { client } = await connectTo(server);
    const { bytes } = await client.initialTransfer({ filesystem, version });
    await expect(collected(bytes)).rejects.toMatchObject({ code: 'SOURCE_FAILED' });
    await client.filesystems({ roots: null });
    expect(codes).toContainEqual(['InitialTransfer', 'SOURCE_FAILED']);
  });

  test('one that throws disturbs nothing', async () => {
    const fail = (): never => {
      throw new Error('the metrics are full');
    };
    const hooks = { onSession: fail, onSessionEnd: fail, onRequest: fail, onRequestEnd: fail, onRefused: fail };
    const errors: string[] = [];
    const logger = pino({ level: 'error' }, { write: (line: string) => errors.push(line) });
    server = testServer({ hooks, logger });
    const { client, served } = await connectTo(server);
    expect(await client.filesystems({ roots: null })).toEqual([['tank']]);
    await client.close();
    await served;
    expect(errors.join()).toContain('the metrics are full');
  });
});

describe('limits on connections', () => {
  test('one too many in all is refused with BUSY, told as the answer to its hello', async () => {
    const refused: unknown[] = [];
    const onRefused = (peer: unknown, { code }: SnapferryError): void => void refused.push([peer, code]);
    server = testServer({ sessionsMax: 2, hooks: { onRefused } });
    const first = await connectTo(server, { identity: 'a' });
    await connectTo(server, { identity: 'b' });
    const third: unknown = await connectTo(server, { identity: 'c' }).catch((error: unknown) => error);
    expect(third).toMatchObject({ code: 'BUSY', retryable: true, fromPeer: true });
    expect((third as Error).message).toBe(
      'hello: 2 sessions on this server are open, and no more are allowed; try again later',
    );
    expect(refused).toEqual([[{ identity: 'c', address: 'address of c' }, 'BUSY']]);
    expect(server.sessions()).toHaveLength(2);
    await first.client.close();
    await first.served;
    await connectTo(server, { identity: 'c' });
  });

  test('and so is one too many of one identity, while others are served', async () => {
    server = testServer({ sessionsPerIdentityMax: 1 });
    await connectTo(server, { identity: 'a' });
    await expect(connectTo(server, { identity: 'a' })).rejects.toMatchObject({ code: 'BUSY' });
    await connectTo(server, { identity: 'b' });
    await connectTo(server, { identity: '' });
    await expect(connectTo(server, { identity: '' })).rejects.toMatchObject({
      message: 'hello: 1 sessions without an identity are open, and no more are allowed; try again later',
    });
  });

  test('a version-1 peer that is refused reads the reason', async () => {
    server = testServer({ sessionsMax: 1 });
    await connectTo(server, { identity: 'a' });
    await expect(connectTo(server, { maximumVersion: 1 })).rejects.toThrow('no more are allowed');
  });

  test('refusals that wait for a hello are bounded, too', async () => {
    server = testServer({ sessionsMax: 1 });
    await connectTo(server);
    const silent = memoryPair();
    void server.serve(silent[1], { identity: 'quiet', address: 'there' });
    await expect(connectTo(server, { identity: 'second' })).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
  });

  test.each(['sessionsMax', 'sessionsPerIdentityMax'])('%s must be a positive integer', (name) => {
    expect(() => new ReplicationServer({ handler: answering(), [name]: 0 })).toThrow(RangeError);
  });
});

describe('a server with listeners', () => {
  test('serves their connections, closes them when it leaves, and is closed when all are gone', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'snapferry-server-'));
    try {
      const path = join(directory, 's.sock');
      server = testServer({ identify: () => 'by the socket' });
      const listener = await server.listen((onConnection) => listenUnix(path, onConnection));
      const client = await ByteStreamRPC.connect(await connectUnix(path));
      expect(await client.filesystems({ roots: null })).toEqual([['tank']]);
      expect(server.sessions()).toMatchObject([
        { identity: 'by the socket', localAddress: listener.description, remoteAddress: path },
      ]);
      await Promise.all([server.disconnect(0), server.closed, listener.closed]);
      await expect(connectUnix(path)).rejects.toMatchObject({ code: 'CONNECT_FAILED' });
      await expect(server.listen((onConnection) => listenUnix(path, onConnection))).rejects.toMatchObject({
        code: 'GOODBYE',
      });
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  test('a peer that is cut off is the end of its session, not of the server', async () => {
    const ends: SessionEnd[] = [];
    server = testServer({ hooks: { onSessionEnd: (_, end) => ends.push(end) } });
    const { streams, served } = await connectTo(server);
    streams[0].abort(new Error('the cable was pulled out'));
    await served;
    expect(ends).toMatchObject([{ kind: 'failed', error: { code: 'CONNECTION_LOST' } }]);
    const { client } = await connectTo(server);
    expect(await client.filesystems({ roots: null })).toEqual([['tank']]);
  });

  test('a peer that leaves without a goodbye is told apart from one that closes', async () => {
    server = testServer();
    const { streams, session, served } = await connectTo(server);
    await streams[0].end();
    await served;
    expect(await session.closed).toEqual({ kind: 'vanished' });
  });
});

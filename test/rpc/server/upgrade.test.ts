import { afterEach, describe, expect, test, vi } from 'vitest';
import { chunkHeader, encodeMessage } from '../../../src/chunker/chunk.ts';
import { SnapferryError } from '../../../src/errors.ts';
import { restricted } from '../../../src/handlers/restricted.ts';
import { ByteStreamRPC } from '../../../src/rpc/byte-stream-rpc.ts';
import type { RequestContext, RPCHandler, UpgradeProtocol } from '../../../src/rpc/interfaces.ts';
import { LocalRPC } from '../../../src/rpc/local-rpc.ts';
import type { ReplicationServer } from '../../../src/rpc/server.ts';
import type { ByteStream } from '../../../src/transport/byte-stream.ts';
import { memoryPair } from '../../../src/transport/memory.ts';
import { ScriptedPeer } from '../../support/scripted-peer.ts';
import { answering, collected, connectTo, moment, testServer } from '../../support/server-fixture.ts';
import { turn } from '../../support/transfers.ts';

let server: ReplicationServer | undefined;
afterEach(async () => {
  await server?.disconnect(0);
  server = undefined;
});

/** Sends back what comes, in capitals. */
async function shout(stream: ByteStream): Promise<void> {
  for await (const piece of stream.source) await stream.write(Buffer.from(Buffer.from(piece).toString().toUpperCase()));
  await stream.close();
}

const shouting: UpgradeProtocol = { name: 'shout', open: () => Promise.resolve(shout) };

/** Everything a stream sends until it ends. */
async function textOf(stream: ByteStream): Promise<string> {
  return (await collected(stream.source)).toString();
}

async function say(stream: ByteStream, text: string): Promise<string> {
  await stream.write(Buffer.from(text));
  await stream.end();
  const answer = await textOf(stream);
  await stream.close();
  return answer;
}

describe('Upgrade', () => {
  test.each([
    [
      'over the wire',
      (handler: RPCHandler) => connectTo((server = testServer({ handler }))).then(({ client }) => client),
    ],
    ['in this process', (handler: RPCHandler) => Promise.resolve(LocalRPC.connect(handler, { pair: memoryPair }))],
  ] as const)('hands the stream to the protocol of that name, %s', async (_, connect) => {
    const client = await connect(answering({ protocols: [shouting] }));
    const earlier = client.filesystems({ roots: null });
    const stream = await client.upgrade('shout');
    expect(await earlier).toEqual([['tank']]);
    expect(await say(stream, 'hello')).toBe('HELLO');
    await expect(client.filesystems({ roots: null })).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
    await client.close();
  });

  test('one that is not spoken there is refused, and the connection lives on', async () => {
    const refusing: UpgradeProtocol = {
      name: 'closed',
      open: () => Promise.reject(new SnapferryError('ACCESS_DENIED', 'not for you')),
    };
    server = testServer({ handler: answering({ protocols: [shouting, refusing] }) });
    const { client } = await connectTo(server, { heartbeatMs: 5 });
    await expect(client.upgrade('whisper')).rejects.toMatchObject({ code: 'UNKNOWN_REQUEST' });
    await expect(client.upgrade('closed')).rejects.toMatchObject({ code: 'ACCESS_DENIED' });
    expect(await client.filesystems({ roots: null })).toEqual([['tank']]);
    expect(await say(await client.upgrade('shout'), 'still here')).toBe('STILL HERE');
  });

  test('is checked by restricted', async () => {
    const policy = { mayList: () => true, mayRead: () => true, mayPush: false };
    const handler = answering({ protocols: [shouting] });
    server = testServer({ handler: restricted(handler, policy) });
    const { client } = await connectTo(server);
    await expect(client.upgrade('shout')).rejects.toMatchObject({ code: 'ACCESS_DENIED' });
    expect(await client.filesystems({ roots: null })).toEqual([['tank']]);
    const open = testServer({ handler: restricted(handler, { ...policy, mayUpgrade: (name) => name === 'shout' }) });
    const allowed = await connectTo(open);
    expect(await say(await allowed.client.upgrade('shout'), 'ok')).toBe('OK');
    await open.disconnect(0);
  });

  test('every byte already received is the protocol’s, and nothing else is read or written', async () => {
    const [near, far] = memoryPair();
    const begun = moment<ByteStream>();
    const keep: UpgradeProtocol = {
      name: 'keep',
      open: () =>
        Promise.resolve((stream) => {
          begun.resolve(stream);
          return Promise.resolve();
        }),
    };
    const listening = ByteStreamRPC.listen(far, {
      clientIdentity: 'raw',
      handler: answering({ protocols: [keep] }),
      heartbeatMs: 1,
    });
    const peer = new ScriptedPeer(near);
    const hello = '{"ClientVersion":1,"MaxVersion":2,"HeartbeatMs":1}';
    for (const json of ['{"Type":1,"Id":[1]}', hello]) peer.send(encodeMessage(json, 1000));
    expect((await peer.message())?.payload.toString()).toContain('"Version":2');
    // The request and the first bytes of the new protocol come in one piece.
    const request = ['{"Type":48,"Id":[7]}', '{"Protocol":"keep"}'].map((json) => encodeMessage(json, 1000));
    peer.send(Buffer.concat([...request, Buffer.from('raw bytes')]));
    const stream = await begun.promise;
    await listening;
    peer.send(Buffer.from(', and more'));
    peer.end();
    expect(await textOf(stream)).toBe('raw bytes, and more');
    await stream.write(Buffer.from('the answer'));
    await stream.close();
    const received = withoutHeartbeats(await peer.rest());
    const ok = '{"RequestId":[7,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],"ErrorId":0,"Message":"","ResponseType":1}';
    expect(received).toEqual(Buffer.concat([encodeMessage(ok, 1000), Buffer.from('the answer')]));
  });

  test('the asking side writes nothing behind its request, however long the answer takes', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
    try {
      const [near, far] = memoryPair();
      const peer = new ScriptedPeer(far);
      const connecting = ByteStreamRPC.connect(near);
      peer.send(encodeMessage('{"ErrorId":0,"ResponseType":1,"Version":2,"HeartbeatMs":5000}', 1000));
      const client = await connecting;
      await peer.message();
      await peer.message();
      const abort = new AbortController();
      const upgrade = client.upgrade('slow', { signal: abort.signal }).catch((error: unknown) => error);
      const header = JSON.parse((await peer.message())?.payload.toString() ?? '') as { Id: number[] };
      await peer.message();
      await vi.advanceTimersByTimeAsync(10_000);
      abort.abort();
      expect(await upgrade).toMatchObject({ code: 'CANCELLED' });
      await vi.advanceTimersByTimeAsync(4000);
      peer.send(encodeMessage(JSON.stringify({ RequestId: header.Id, ErrorId: 0, ResponseType: 1 }), 1000));
      // What the caller does not want any more is dropped, since the peer has begun to speak something else.
      expect(await peer.rest()).toEqual(Buffer.alloc(0));
    } finally {
      vi.useRealTimers();
    }
  });

  test('the protocol’s context ends with the server, and one that does not leave is cut off', async () => {
    const begun = moment<AbortSignal>();
    const stubborn: UpgradeProtocol = {
      name: 'stubborn',
      open: ({ signal }: RequestContext) => {
        return Promise.resolve(async (stream) => {
          begun.resolve(signal);
          await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
          await stream.write(Buffer.from('bye'));
          await stream.close();
        });
      },
    };
    server = testServer({ handler: answering({ protocols: [stubborn] }) });
    const { client, session } = await connectTo(server);
    const stream = await client.upgrade('stubborn');
    const signal = await begun.promise;
    expect(signal.aborted).toBe(false);
    expect(server.sessions()).toEqual([session]);
    const gone = server.disconnect(1);
    expect(await textOf(stream)).toBe('bye');
    await gone;
    expect(await session.closed).toEqual({ kind: 'detached' });
  });

  test('a protocol that fails breaks its stream, and its session says why', async () => {
    const failing: UpgradeProtocol = {
      name: 'failing',
      open: () => Promise.resolve(() => Promise.reject(new SnapferryError('SOURCE_FAILED', 'no paper'))),
    };
    server = testServer({ handler: answering({ protocols: [failing] }) });
    const { client, session } = await connectTo(server);
    const stream = await client.upgrade('failing');
    await expect(textOf(stream)).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
    expect(await session.closed).toMatchObject({ kind: 'failed', error: { message: 'no paper' } });
  });

  test('is refused inside a pull', async () => {
    const outcome = moment<unknown>();
    const pullMe: RPCHandler['pullMe'] = () =>
      Promise.resolve(async (client) => {
        outcome.resolve(await client.upgrade('shout').catch((error: unknown) => error));
        expect(() => client.detach()).toThrow(SnapferryError);
        return { filesystems: [] };
      });
    server = testServer({ handler: answering({ pullMe }) });
    const { client } = await connectTo(server);
    await client.pullMe({ initialReplicationPolicy: 'all' }, answering({ protocols: [shouting] }));
    expect(await outcome.promise).toMatchObject({ code: 'INVALID_REQUEST' });
  });

  test('in this process needs a pair to be made', async () => {
    const client = LocalRPC.connect(answering({ protocols: [shouting] }));
    await expect(client.upgrade('shout')).rejects.toMatchObject({ code: 'UNKNOWN_REQUEST' });
    expect(() => client.detach()).toThrow('there is no stream');
  });
});

describe('detach', () => {
  test('of both ends between two requests leaves the bare stream, heartbeats and all gone', async () => {
    server = testServer({ heartbeatMs: 3_600_000 });
    const { client, session, served } = await connectTo(server);
    await client.filesystems({ roots: null });
    const [near, far] = [client.detach(), await vi.waitFor(() => session.detach())];
    await served;
    expect(await session.closed).toEqual({ kind: 'detached' });
    expect(server.sessions()).toEqual([]);
    const heard = shout(far);
    expect(await say(near, 'no frames')).toBe('NO FRAMES');
    await heard;
    await client.close();
  });

  test('gives what was already received, also what comes while nobody has asked for it yet', async () => {
    server = testServer();
    const [near, far] = memoryPair();
    void server.serve(far, { identity: 'raw', address: 'there' });
    const session = server.sessions()[0]!;
    const peer = new ScriptedPeer(near);
    for (const json of ['{"Type":1,"Id":[1]}', '{"ClientVersion":1}']) peer.send(encodeMessage(json, 1000));
    await peer.message();
    const stream = await vi.waitFor(() => session.detach());
    // The server has been waiting for a request: what comes now would be its reader's, had that not changed hands.
    peer.send(Buffer.from('first '));
    peer.send(Buffer.from('second'));
    peer.end();
    expect(await textOf(stream)).toBe('first second');
    await stream.close();
  });

  test('is refused while a call is under way, on either side', async () => {
    const [begun, goOn] = [moment(), moment()];
    const filesystems = async () => {
      begun.resolve();
      await goOn.promise;
      return [];
    };
    server = testServer({ handler: answering({ filesystems }) });
    const { client, session } = await connectTo(server);
    const call = client.filesystems({ roots: null });
    await begun.promise;
    expect(() => client.detach()).toThrow(expect.objectContaining({ code: 'BUSY' }));
    expect(() => session.detach()).toThrow(expect.objectContaining({ code: 'BUSY' }));
    goOn.resolve();
    expect(await call).toEqual([]);
  });

  test('is refused in the middle of a request, which is then answered', async () => {
    server = testServer();
    const [near, far] = memoryPair();
    void server.serve(far, { identity: 'raw', address: 'there' });
    const session = server.sessions()[0]!;
    const peer = new ScriptedPeer(near);
    for (const json of ['{"Type":1,"Id":[1]}', '{"ClientVersion":1}']) peer.send(encodeMessage(json, 1000));
    await peer.message();
    const header = encodeMessage('{"Type":16,"Id":[2]}', 1000);
    peer.send(header.subarray(0, 10));
    await turn();
    expect(() => session.detach()).toThrow(
      expect.objectContaining({
        code: 'BUSY',
        message: expect.stringMatching(/cannot be handed over while a message is being received$/) as string,
      }),
    );
    peer.send(header.subarray(10));
    peer.send(encodeMessage('{"Roots":null}', 1000));
    expect((await peer.message())?.payload.toString()).toContain('"ResponseType":16');
    peer.end();
  });
});

/** What a version-2 side wrote, less its heartbeats, which may stand anywhere between messages. */
function withoutHeartbeats(bytes: Buffer): Buffer {
  const heartbeat = chunkHeader(0x8000_0000);
  let rest = bytes;
  while (rest.subarray(0, 4).equals(heartbeat)) rest = rest.subarray(4);
  return rest;
}

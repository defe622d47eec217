import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { ByteStreamRPC } from '../../src/rpc/byte-stream-rpc.ts';
import { memoryPair } from '../../src/transport/memory.ts';
import { bytesOf, seededBytes } from '../support/recorded.ts';
import { scripted } from '../support/scripted-peer.ts';
import {
  answerTo,
  idOf,
  nextJSON,
  nextRequest,
  request,
  scriptedRequester,
  scriptedResponder,
} from '../support/scripted-session.ts';
import { filesystem, largeVersion, sessionHandler } from '../support/session.ts';

const listening = { clientIdentity: 'tester', handler: sessionHandler([]) };

async function versionOf(near: object, far: object): Promise<number | string> {
  const [nearEnd, farEnd] = memoryPair();
  const served = ByteStreamRPC.listen(farEnd, { ...listening, ...far }).catch(() => undefined);
  try {
    const client = await ByteStreamRPC.connect(nearEnd, near);
    const { protocolVersion } = client;
    expect(await client.filesystems({ roots: null })).toEqual([filesystem]);
    await client.close();
    return protocolVersion;
  } catch (error) {
    return (error as { code: string }).code;
  } finally {
    await served;
  }
}

test.each([
  [{}, {}, 2],
  [{ maximumVersion: 1 }, {}, 1],
  [{}, { maximumVersion: 1 }, 1],
  [{ maximumVersion: 1 }, { maximumVersion: 1 }, 1],
  [{ minimumVersion: 2 }, { minimumVersion: 2 }, 2],
  [{ minimumVersion: 2 }, { maximumVersion: 1 }, 'PROTOCOL_VERSION'],
  [{ maximumVersion: 1 }, { minimumVersion: 2 }, 'PROTOCOL_VERSION'],
] as const)('%j meets %j: %s', async (near, far, expected) => {
  expect(await versionOf(near, far)).toBe(expected);
});

test.each([['sha256'], ['xxh64'], []] as const)('a transfer under the digest %s is whole', async (...digests) => {
  const [near, far] = memoryPair();
  const served = ByteStreamRPC.listen(far, { ...listening, digests });
  const client = await ByteStreamRPC.connect(near);
  const transfer = await client.initialTransfer({ filesystem, version: largeVersion });
  expect(await bytesOf(transfer)).toEqual(seededBytes('initialTransfer', 300));
  await client.close();
  await served;
});

const heartbeatRange = 'heartbeatMs must be an integer from 1 to 3600000';
test.each([
  [{ heartbeatMs: 0 }, heartbeatRange],
  [{ heartbeatMs: 1.5 }, heartbeatRange],
  [{ heartbeatMs: 3_600_001 }, heartbeatRange],
  [{ minimumVersion: 2, maximumVersion: 1 }, 'minimumVersion exceeds maximumVersion'],
] as const)('options that cannot be meant are refused: %j', async (options, why) => {
  const refusal = new RangeError(why);
  await expect(ByteStreamRPC.connect(memoryPair()[0], options)).rejects.toThrow(refusal);
  await expect(ByteStreamRPC.listen(memoryPair()[0], { ...listening, ...options })).rejects.toThrow(refusal);
});

test.each([1, 3_600_000])('a heartbeat of %i ms can be meant', async (heartbeatMs) => {
  expect(await versionOf({ heartbeatMs }, { heartbeatMs })).toBe(2);
});

describe('our server', () => {
  test.each([
    [['xxh64', 'sha256'], ['sha256'], 'sha256'],
    [['xxh64', 'sha256'], ['sha256', 'xxh64'], 'xxh64'],
    [['sha256', 'xxh64'], ['sha256', 'xxh64'], 'sha256'],
    [['xxh64'], ['sha256'], undefined],
    [['xxh64'], ['md5', 'xxh64'], 'xxh64'],
    [['xxh64'], [], undefined],
    [[], ['xxh64'], undefined],
  ] as const)('with %j, offered %j, chooses %s', async (digests, offered, chosen) => {
    const hello = { ClientVersion: 1, MaxVersion: 2, HeartbeatMs: 1, Digests: offered };
    const { peer, answer, served } = await scriptedRequester({ ...listening, digests, agent: 'a/1' }, hello);
    expect(answer).toEqual({
      RequestId: idOf(1),
      ErrorId: 0,
      Message: '',
      ResponseType: 1,
      Version: 2,
      Agent: 'a/1',
      HeartbeatMs: 60_000,
      ...(chosen === undefined ? {} : { Digest: chosen }),
    });
    peer.end();
    expect(await served).toBeNull();
  });

  test.each([
    [{ ClientVersion: 2 }, 4],
    [{}, 4],
    [{ ClientVersion: 1, MaxVersion: 'two' }, 3],
    [{ ClientVersion: 1, MaxVersion: 2, HeartbeatMs: 3_600_001 }, 3],
  ])('answers the hello %j with error %i', async (hello, errorId) => {
    const { peer, answer, served } = await scriptedRequester(listening, hello);
    expect(answer).toMatchObject({ ErrorId: errorId, ResponseType: 0, Message: expect.stringMatching(/\w/) as string });
    expect('Version' in answer).toBe(false);
    peer.end();
    expect(await served).toBeNull();
  });

  test('says which version it wants of a peer that has only 1', async () => {
    const options = { ...listening, minimumVersion: 2 } as const;
    const { peer, answer } = await scriptedRequester(options, { ClientVersion: 1 });
    expect(answer).toMatchObject({ ErrorId: 4, Message: 'at least protocol version 2 is required here' });
    peer.end();
  });

  test('speaks version 2 to a peer that offers more, and answers a second hello plainly', async () => {
    const { peer, answer, served } = await scriptedRequester(listening, { ClientVersion: 1, MaxVersion: 9 });
    expect(answer).toMatchObject({ Version: 2 });
    peer.send(request(1, idOf(2), { ClientVersion: 1, MaxVersion: 2 }));
    expect(await nextJSON(peer)).toEqual({ RequestId: idOf(2), ErrorId: 0, Message: '', ResponseType: 1 });
    peer.end();
    expect(await served).toBeNull();
  });

  test.each([0x10, 0x20, 0xf0, 0x55])('closes on a first request 0x%s that is no hello', async (type) => {
    const { stream, peer } = scripted();
    const served = ByteStreamRPC.listen(stream, listening);
    peer.send(request(type, idOf(2), {}));
    expect(await nextJSON(peer)).toMatchObject({ ErrorId: 4, ResponseType: 0 });
    await served;
    expect(await peer.rest()).toHaveLength(0);
  });
});

describe('our client', () => {
  test.each([
    [{ Version: 2, Digest: 'md5' }, 'PROTOCOL_VIOLATION', /digest "md5"/],
    [{ Version: 3 }, 'PROTOCOL_VIOLATION', /version 3, which was not offered/],
    [{ Version: 2, HeartbeatMs: 3_600_001 }, 'PROTOCOL_VIOLATION', /HeartbeatMs/],
    [{ ResponseType: 16 }, 'PROTOCOL_VIOLATION', /not OK/],
    [{ RequestId: idOf(9) }, 'PROTOCOL_VIOLATION', /^hello: the answer belongs to another request$/],
    [{ RequestId: [0, 9], ErrorId: 5 }, 'PROTOCOL_VIOLATION', /^hello: the answer belongs to another request$/],
    [{ ErrorId: 4, Message: 'too new' }, 'PROTOCOL_VERSION', /^hello: too new$/],
    [{ Digest: 'xxh64' }, 'PROTOCOL_VIOLATION', /has what only version 2 has, but not its number/],
    [{ HeartbeatMs: 1 }, 'PROTOCOL_VIOLATION', /has what only version 2 has, but not its number/],
    [
      { Version: 'two' },
      'PROTOCOL_VIOLATION',
      /^cannot decode answer to the hello: ResponseHeader.Version: expected an integer/,
    ],
  ])('refuses the answer %j', async (fields, code, text) => {
    const { stream, peer } = scripted();
    const connecting = ByteStreamRPC.connect(stream);
    const { id } = (await nextRequest(peer))!;
    peer.send(answerTo(id, { ResponseType: 1, ...fields }));
    await expect(connecting).rejects.toMatchObject({ code });
    await expect(connecting).rejects.toThrow(text);
    expect(await peer.rest()).toHaveLength(0);
  });

  test('refuses a digest it knows and did not offer', async () => {
    const { stream, peer } = scripted();
    const connecting = ByteStreamRPC.connect(stream, { digests: ['xxh64'] });
    const { id } = (await nextRequest(peer))!;
    peer.send(answerTo(id, { ResponseType: 1, Version: 2, Digest: 'sha256' }));
    await expect(connecting).rejects.toMatchObject({ code: 'PROTOCOL_VIOLATION' });
    await expect(connecting).rejects.toThrow('the peer chose the digest "sha256", which was not offered');
  });

  test('says which version is missing when the peer has only 1', async () => {
    const { stream, peer } = scripted();
    const connecting = ByteStreamRPC.connect(stream, { minimumVersion: 2 });
    const { id } = (await nextRequest(peer))!;
    peer.send(answerTo(id, { ResponseType: 1 }));
    await expect(connecting).rejects.toMatchObject({ code: 'PROTOCOL_VERSION', fromPeer: false });
    await expect(connecting).rejects.toThrow('speaks protocol version 1 only, and at least 2 is required here');
  });

  test('says that a peer has left without an answer, and that one has not answered in time', async () => {
    const gone = scripted();
    const ended = ByteStreamRPC.connect(gone.stream);
    gone.peer.end();
    await expect(ended).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
    await expect(ended).rejects.toThrow(`${gone.stream.description} ended without answering the hello`);
    const mute = scripted();
    const late = ByteStreamRPC.connect(mute.stream, { limits: { helloMsMax: 1 } });
    await expect(late).rejects.toMatchObject({ code: 'TIMEOUT' });
    await expect(late).rejects.toThrow(`${mute.stream.description}: no hello within 1 ms`);
  });

  test('logs who answered, and in which version', async () => {
    const lines: string[] = [];
    const logger = pino({ level: 'debug' }, { write: (line: string) => lines.push(line) });
    const { peer } = await scriptedResponder({ logger }, { Agent: 'other/1.2' });
    expect(lines.map((line) => JSON.parse(line) as unknown)).toMatchObject([
      { msg: 'connected', version: 2, agent: 'other/1.2' },
    ]);
    peer.abort();
  });

  test('refuses version 2 where it offered 1', async () => {
    const { stream, peer } = scripted();
    const connecting = ByteStreamRPC.connect(stream, { maximumVersion: 1 });
    const { id, body } = (await nextRequest(peer))!;
    // What else it could do is nothing a peer of 2017 was ever told.
    expect(body).toEqual({ ClientVersion: 1 });
    peer.send(answerTo(id, { ResponseType: 1, Version: 2 }));
    await expect(connecting).rejects.toMatchObject({ code: 'PROTOCOL_VIOLATION' });
  });

  test('goes on without a digest where none was agreed', async () => {
    const { client, peer } = await scriptedResponder({}, {});
    expect(client.protocolVersion).toBe(2);
    peer.abort();
  });
});

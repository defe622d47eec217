import { describe, expect, test } from 'vitest';
import { SnapferryError, type ErrorCode } from '../../src/errors.ts';
import { ByteStreamRPC } from '../../src/rpc/byte-stream-rpc.ts';
import type { RPCRequester } from '../../src/rpc/interfaces.ts';
import {
  askRecorded,
  oracle,
  recordedHandler,
  recordedStep,
  recordedSteps,
  seededBytes,
  versionsOf,
  wireOf,
  type RecordedMessage,
  type RecordedStep,
} from '../support/recorded.ts';
import { scripted, type ScriptedPeer } from '../support/scripted-peer.ts';

interface Session {
  readonly peer: ScriptedPeer;
  readonly client: RPCRequester;
}

function plainRequest(payload: Buffer): unknown {
  const { Id: id, ...header } = oracle(payload) as { Id: number[] };
  expect(id).toHaveLength(16);
  return header;
}

async function expectRequest(peer: ScriptedPeer, recorded: RecordedMessage): Promise<void> {
  const got = (await peer.message())!.payload;
  if (recorded.kind === 'request header') expect(plainRequest(got)).toEqual(plainRequest(recorded.payload));
  else expect(got.toString()).toBe(recorded.payload.toString());
}

/** Connects our client to the recorded server. */
async function open(maximumVersion: 1 | 2): Promise<Session> {
  const { stream, peer } = scripted();
  const hello = recordedStep('01-version');
  const connecting = ByteStreamRPC.connect(stream, { maximumVersion, agent: 'test' });
  await expectRequest(peer, hello.client[0]!);
  const body = oracle((await peer.message())!.payload);
  if (maximumVersion === 1) expect(body).toEqual({ ClientVersion: 1 });
  else {
    const offer = { MaxVersion: 2, Agent: 'test', HeartbeatMs: 5000, Digests: ['xxh64', 'sha256'] };
    expect(body).toEqual({ ClientVersion: 1, ...offer });
  }
  peer.send(wireOf(hello.server));
  const client = await connecting;
  expect(client.protocolVersion).toBe(1);
  return { peer, client };
}

/** Plays the server's side of a recording in its order, and compares what the client says in between. */
async function play({ peer }: Session, step: RecordedStep): Promise<void> {
  for (const event of step.exchange) {
    const number = Number(event.slice(1));
    if (event === 's:eof' || event === 's:reset') peer.end();
    else if (event.startsWith('s')) peer.send(step.server[number]!.wire);
    else if (!event.includes(':')) {
      const recorded = step.client[number]!;
      if (recorded.kind.startsWith('request')) await expectRequest(peer, recorded);
      else {
        const got = (await peer.message())!.payload;
        if (recorded.kind === 'stream') expect(got).toEqual(recorded.payload);
        else expect(oracle(got)).toMatchObject(comparable(oracle(recorded.payload)));
      }
    }
  }
}

/** Our answers echo the random id of the puller, and say a little more than Go's where it has errors. */
function comparable(json: unknown): object {
  return Array.isArray(json) ? (json as object) : { ...(json as object), RequestId: expect.any(Array) as unknown };
}

async function closing({ peer, client }: Session): Promise<void> {
  const closed = client.close();
  expect(plainRequest((await peer.message())!.payload)).toEqual({ Type: 0xf0 });
  await peer.message();
  peer.send(recordedStep('17-close').server[0]!.wire);
  peer.end();
  await closed;
}

/** What a recorded answer means, told by means other than our decoder. */
function meaning(step: RecordedStep): unknown {
  const answer = step.server[1]!;
  if (answer.kind === 'stream')
    return answer.seed === null ? null : seededBytes(answer.seed, answer.payload.byteLength);
  const header = oracle(step.server[0]!.payload) as { ResponseType: number };
  if (header.ResponseType === 0x11) return versionsOf(answer.payload);
  return ((oracle(answer.payload) ?? []) as (string[] | null)[]).map((path) => path ?? []);
}

const isHealthy = ({ name, client, server, needsHello }: RecordedStep): boolean =>
  needsHello &&
  client.length === 2 &&
  server.length === 2 &&
  server[1]!.isTerminated &&
  !['15-pullme', '43-request-id-echoed', '52-lenient-decoding', '44b77a8/06-versions-year-10000'].includes(name);

/** Recorded answers that must reach our caller as an error. Asked for with the recorded request where a call makes it. */
const failures: Record<string, { code: ErrorCode; fromPeer: boolean; says: RegExp }> = {
  '31-error-unknown-type': { code: 'UNKNOWN_REQUEST', fromPeer: true, says: /no reason/ },
  '33-error-bad-header': { code: 'PROTOCOL_VIOLATION', fromPeer: true, says: /cannot decode \*rpc.RequestHeader/ },
  '34-error-bad-body-without-message': { code: 'INVALID_REQUEST', fromPeer: true, says: /no reason/ },
  '35-error-bad-body-with-message': { code: 'INVALID_REQUEST', fromPeer: true, says: /cannot unmarshal/ },
  '36-error-handler-filesystems': { code: 'INTERNAL', fromPeer: true, says: /no such root: <nope> & "co"/ },
  '37-error-handler-versions': { code: 'INTERNAL', fromPeer: true, says: /no such filesystem: nope <&>/ },
  '38-error-handler-initial': { code: 'INTERNAL', fromPeer: true, says: /no such filesystem: nope <&>/ },
  '43-request-id-echoed': { code: 'PROTOCOL_VIOLATION', fromPeer: false, says: /belongs to another request/ },
  '44-request-id-not-in-errors': { code: 'INTERNAL', fromPeer: true, says: /no such filesystem/ },
  '45-source-fails': { code: 'STREAM_TRUNCATED', fromPeer: false, says: /inside a stream/ },
  '46-source-fails-with-data': { code: 'STREAM_TRUNCATED', fromPeer: false, says: /inside a stream/ },
  '48-handler-panic': { code: 'CONNECTION_LOST', fromPeer: false, says: /without an answer/ },
  '44b77a8/06-versions-year-10000': { code: 'PROTOCOL_VIOLATION', fromPeer: false, says: /unexpected end/ },
};

describe.each([1, 2] as const)('our client (up to version %i), the recorded server (scenario 8)', (maximumVersion) => {
  test.each(recordedSteps.filter(isHealthy).map((step) => [step.name, step] as const))(
    '%s: asks as recorded and understands the answer',
    async (_, step) => {
      const session = await open(maximumVersion);
      const [got] = await Promise.all([
        askRecorded(session.client, step.client[0]!, step.client[1]!),
        play(session, step),
      ]);
      expect(got).toEqual(meaning(step));
      await closing(session);
    },
  );

  test('47-source-zero-read: what the recorded server declares whole is whole', async () => {
    const step = recordedStep('47-source-zero-read');
    const session = await open(maximumVersion);
    const [got] = await Promise.all([
      askRecorded(session.client, step.client[0]!, step.client[1]!),
      play(session, step),
    ]);
    expect(got).toEqual(step.server[1]!.payload);
  });

  test('17-close: says goodbye as recorded', async () => {
    const step = recordedStep('17-close');
    const session = await open(maximumVersion);
    await Promise.all([askRecorded(session.client, step.client[0]!, step.client[1]!), play(session, step)]);
    expect(await session.peer.rest()).toEqual(Buffer.alloc(0));
  });

  test('30-error-version-mismatch: connecting fails', async () => {
    const { stream, peer } = scripted();
    const connecting = ByteStreamRPC.connect(stream, { maximumVersion });
    peer.send(wireOf(recordedStep('30-error-version-mismatch').server));
    await expect(connecting).rejects.toMatchObject({ code: 'PROTOCOL_VERSION', fromPeer: true });
  });

  test.each(Object.entries(failures))('%s: reaches the caller as an error', async (name, { says, ...expected }) => {
    const step = recordedStep(name);
    const session = await open(maximumVersion);
    const { client, peer } = session;
    const isOurs = ['36', '37', '38', '45', '46', '48'].some((number) => name.startsWith(number));
    const { client: request } = recordedStep(isOurs ? name : name.startsWith('44b') ? '03-versions' : '02-filesystems');
    const asked = askRecorded(client, request[0]!, request[1]!).then(
      () => null,
      (error: unknown) => error as SnapferryError,
    );
    for (const message of request) await expectRequest(peer, message);
    peer.send(wireOf(step.server));
    if (step.exchange.includes('s:eof')) peer.end();
    const error = await asked;
    expect(error).toBeInstanceOf(SnapferryError);
    expect(error).toMatchObject(expected);
    expect(error?.message).toMatch(says);
    if (!expected.fromPeer) {
      await expect(client.filesystems({ roots: null })).rejects.toMatchObject({ code: expected.code });
    }
  });

  test('39-error-handler-incremental: the connection is of use after an error', async () => {
    const step = recordedStep('39-error-handler-incremental');
    const session = await open(maximumVersion);
    const { client, peer } = session;
    const failing = askRecorded(client, step.client[0]!, step.client[1]!);
    for (const message of step.client.slice(0, 2)) await expectRequest(peer, message);
    peer.send(step.server[0]!.wire);
    await expect(failing).rejects.toMatchObject({ code: 'INTERNAL', fromPeer: true, connectionDead: false });
    const next = askRecorded(client, step.client[2]!, step.client[3]!);
    for (const message of step.client.slice(2)) await expectRequest(peer, message);
    peer.send(wireOf(step.server.slice(1)));
    expect(await next).toHaveLength(3);
  });

  test('15-pullme and 16: serves the recorded puller, and asks on afterwards', async () => {
    const step = recordedStep('15-pullme');
    const session = await open(maximumVersion);
    const { client, peer } = session;
    const [report] = await Promise.all([
      client.pullMe({ initialReplicationPolicy: 'most_recent' }, recordedHandler(step)),
      play(session, step),
    ]);
    expect(report).toBeNull();
    const after = recordedStep('16-filesystems-after-pullme');
    const [got] = await Promise.all([client.filesystems({ roots: null }), play({ client, peer }, after)]);
    expect(got).toEqual(meaning(after));
  });

  test.each(['49-pullme-fails', '50-pullme-identity-local'])('%s: the push fails', async (name) => {
    const step = recordedStep(name);
    const { client, peer } = await open(maximumVersion);
    const pushing = client.pullMe({ initialReplicationPolicy: 'most_recent' }, recordedHandler(step));
    await peer.message();
    await peer.message();
    peer.send(wireOf(step.server));
    peer.end();
    await expect(pushing).rejects.toMatchObject({ code: 'CONNECTION_LOST', message: /before it had finished/ });
  });

  test('a PullMe that is refused is not served', async () => {
    const { client, peer } = await open(maximumVersion);
    const pushing = client.pullMe({ initialReplicationPolicy: 'all' }, recordedHandler(recordedStep('15-pullme')));
    await peer.message();
    const body = (await peer.message())!.payload.toString();
    expect(body).toBe('{"Finished":false,"InitialReplPolicy":"all"}\n');
    peer.send(wireOf(recordedStep('36-error-handler-filesystems').server));
    await expect(pushing).rejects.toMatchObject({ code: 'INTERNAL', fromPeer: true });
    const next = client.filesystems({ roots: null });
    await expectRequest(peer, recordedStep('02-filesystems').client[0]!);
    peer.send(wireOf(recordedStep('02-filesystems').server));
    expect(await next).toHaveLength(3);
  });
});

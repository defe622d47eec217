import { setImmediate } from 'node:timers/promises';
import { expect, describe, test } from 'vitest';
import { encodeMessage } from '../../../src/chunker/chunk.ts';
import type { FilesystemVersion } from '../../../src/dataset.ts';
import { ByteStreamRPC } from '../../../src/rpc/byte-stream-rpc.ts';
import type { SessionEnd } from '../../../src/rpc/session.ts';
import { memoryPair } from '../../../src/transport/memory.ts';
import { roundTripPair } from '../../support/round-trip-pair.ts';
import { ScriptedPeer } from '../../support/scripted-peer.ts';
import { answering, connectTo, testServer } from '../../support/server-fixture.ts';

const versions = (count: number): FilesystemVersion[] =>
  Array.from({ length: count }, (_, index) => ({
    type: 'snapshot',
    name: `daily-${index}`,
    guid: BigInt(index) + 2n ** 60n,
    createTXG: BigInt(index),
    creation: null,
  }));

describe.each([
  ['version 2', 2, 2],
  ['a version-1 server', 2, 1],
  ['a version-1 client', 1, 2],
] as const)('over a line that takes its time, with %s', (_, nearVersion, farVersion) => {
  test('1,000 FilesystemVersions need a round trip for each 64, not for each', async () => {
    const { near, far, roundTrips } = roundTripPair();
    const handler = answering({
      filesystemVersions: ({ filesystem }) => Promise.resolve(versions(Number(filesystem[1]) % 5)),
    });
    const listening = ByteStreamRPC.listen(far, { clientIdentity: 'web1', handler, maximumVersion: farVersion });
    const client = await ByteStreamRPC.connect(near, { maximumVersion: nearVersion });
    expect(client.protocolVersion).toBe(nearVersion === 1 || farVersion === 1 ? 1 : 2);
    const before = roundTrips();
    const answers = await Promise.all(
      Array.from({ length: 1000 }, (_unused, index) => client.filesystemVersions({ filesystem: ['t', String(index)] })),
    );
    expect(roundTrips() - before).toBeLessThanOrEqual(Math.ceil(1000 / 64) + 1);
    expect(answers.map(({ length }) => length)).toEqual(Array.from({ length: 1000 }, (_unused, index) => index % 5));
    await client.close();
    await listening;
  });
});

describe('with buffers that are full in both directions', () => {
  test.each([1, 2] as const)(
    'nothing is stuck: the asking side reads while it writes (version %i)',
    async (version) => {
      const [near, far] = memoryPair({ bufferBytesMax: 64, poison: true });
      const handler = answering({ filesystemVersions: () => Promise.resolve(versions(200)) });
      const listening = ByteStreamRPC.listen(far, { clientIdentity: 'web1', handler, maximumVersion: version });
      const client = await ByteStreamRPC.connect(near);
      const long = 'x'.repeat(200);
      const calls = Array.from({ length: 500 }, () => client.filesystemVersions({ filesystem: [long, long, long] }));
      for (const answer of await Promise.all(calls)) expect(answer).toHaveLength(200);
      await client.close();
      await listening;
    },
  );

  test('a peer that asks without reading is served once it reads, as far as it may ask ahead', async () => {
    const [near, far] = memoryPair({ bufferBytesMax: 256 });
    const handler = answering({ filesystemVersions: () => Promise.resolve(versions(50)) });
    const served = ByteStreamRPC.listen(far, { clientIdentity: 'web1', handler, maximumVersion: 1 });
    await near.write(helloOf(1));
    // All of them are taken in while their answers cannot be written.
    for (let index = 0; index < 60; index++) await near.write(request(index));
    const peer = new ScriptedPeer(near);
    await peer.message();
    for (let index = 0; index < 60; index++) {
      const header = JSON.parse((await peer.message())?.payload.toString() ?? '') as { RequestId: number[] };
      expect(header.RequestId[0]).toBe(index);
      expect(JSON.parse((await peer.message())?.payload.toString() ?? '')).toHaveLength(50);
    }
    peer.end();
    await served;
  });

  test('one that asks without end and never reads is dropped, and not a request more is read than allowed', async () => {
    let asked = 0;
    const ends: SessionEnd[] = [];
    const server = testServer({
      handler: answering({
        filesystemVersions: () => {
          asked++;
          return Promise.resolve(versions(50));
        },
      }),
      limits: { writeMsMax: 40, pipelinedRequestsMax: 8 },
      hooks: { onSessionEnd: (_, end) => ends.push(end) },
    });
    const [near, far] = memoryPair({ bufferBytesMax: 256 });
    const served = server.serve(far, { identity: 'greedy', address: 'there' });
    let written = 0;
    const asking = async (): Promise<void> => {
      await near.write(helloOf(1));
      for (;;) {
        await near.write(request(written % 256));
        written++;
        await setImmediate();
      }
    };
    await expect(asking()).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
    await served;
    expect(asked).toBeLessThan(8);
    expect(written).toBeLessThan(32);
    expect(ends).toMatchObject([{ kind: 'failed', error: { code: 'TIMEOUT' } }]);
    expect((ends[0] as { error: Error }).error.message).toContain('took none of what was written to it for 40 ms');
    await server.disconnect(0);
  });

  test('a cancelled call among many that were made ahead is the only one that fails', async () => {
    const server = testServer({ handler: answering({ filesystemVersions: () => Promise.resolve(versions(3)) }) });
    const { client } = await connectTo(server);
    const abort = new AbortController();
    const calls = Array.from({ length: 200 }, (_, index) =>
      client
        .filesystemVersions({ filesystem: ['t'] }, index === 100 ? { signal: abort.signal } : {})
        .catch((error: unknown) => error),
    );
    abort.abort();
    const results = await Promise.all(calls);
    expect(results[100]).toMatchObject({ code: 'CANCELLED' });
    expect(results.filter((result) => Array.isArray(result))).toHaveLength(199);
    await client.close();
    await server.disconnect(0);
  });
});

function helloOf(version: 1 | 2): Buffer {
  return Buffer.concat([
    encodeMessage('{"Type":1,"Id":[]}', 1000),
    encodeMessage(`{"ClientVersion":1,"MaxVersion":${version}}`, 1000),
  ]);
}

function request(id: number): Buffer {
  return Buffer.concat([
    encodeMessage(`{"Type":17,"Id":[${id}]}`, 1000),
    encodeMessage('{"Filesystem":["tank","home"]}', 1000),
  ]);
}

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { chunkHeader, encodeMessage } from '../../../src/chunker/chunk.ts';
import type { RequestContext } from '../../../src/rpc/interfaces.ts';
import type { ReplicationServer } from '../../../src/rpc/server.ts';
import type { SessionEnd } from '../../../src/rpc/session.ts';
import type { ByteStream } from '../../../src/transport/byte-stream.ts';
import { memoryPair } from '../../../src/transport/memory.ts';
import { answering, connectTo, testServer, transferOf } from '../../support/server-fixture.ts';

const filesystem = ['tank', 'home'];
const version = { type: 'snapshot', name: 'a', guid: 1n, createTXG: 1n, creation: null };
const hello1 = encodeMessage('{"Type":1,"Id":[]}', 1000);

let server: ReplicationServer;
let ends: SessionEnd[];
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'] });
  ends = [];
});
afterEach(async () => {
  const gone = server.disconnect(0);
  await vi.advanceTimersByTimeAsync(60_000);
  await gone;
  vi.useRealTimers();
});

function testedServer(options: Parameters<typeof testServer>[0] = {}): ReplicationServer {
  server = testServer({ ...options, hooks: { onSessionEnd: (_, end) => ends.push(end) } });
  return server;
}

/** A connection on which nobody speaks but the test, in version 1. */
async function rawConnection(): Promise<ByteStream> {
  const [near, far] = memoryPair({ bufferBytesMax: 1024 });
  void server.serve(far, { identity: 'raw', address: 'there' });
  await near.write(hello1);
  await near.write(encodeMessage('{"ClientVersion":1}', 1000));
  return near;
}

const timeoutWith = (text: string | RegExp): unknown[] => [
  { kind: 'failed', error: { code: 'TIMEOUT', message: expect.stringMatching(text) as unknown } },
];

test('waits 30 minutes for a request, and no longer', async () => {
  const { client } = await connectTo(testedServer());
  await vi.advanceTimersByTimeAsync(30 * 60_000 - 1);
  expect(ends).toEqual([]);
  await vi.advanceTimersByTimeAsync(1);
  expect(ends).toMatchObject(timeoutWith(/no request for 1800000 ms$/));
  await expect(client.filesystems({ roots: null })).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
});

test('each request gives the next one its whole time', async () => {
  const { client } = await connectTo(testedServer({ limits: { requestWaitMsMax: 1000 } }));
  for (let count = 0; count < 5; count++) {
    await vi.advanceTimersByTimeAsync(900);
    expect(await client.filesystems({ roots: null })).toEqual([['tank']]);
  }
  expect(ends).toEqual([]);
  await vi.advanceTimersByTimeAsync(1000);
  expect(ends).toMatchObject(timeoutWith(/no request for 1000 ms$/));
});

test('waits 10 s for a hello', async () => {
  testedServer();
  const [, far] = memoryPair();
  void server.serve(far, { identity: 'quiet', address: 'there' });
  await vi.advanceTimersByTimeAsync(10_000);
  expect(ends).toMatchObject(timeoutWith(/no hello for 10000 ms$/));
});

test('waits 30 s for the rest of a request', async () => {
  testedServer();
  const near = await rawConnection();
  await near.write(chunkHeader(100));
  await near.write(Buffer.from('{"Type"'));
  await vi.advanceTimersByTimeAsync(29_999);
  expect(ends).toEqual([]);
  await vi.advanceTimersByTimeAsync(1);
  expect(ends).toMatchObject(timeoutWith(/took more than 30000 ms to finish a request header$/));
});

describe('a peer that takes nothing of an answer', () => {
  const endless = async function* (): AsyncGenerator<Uint8Array> {
    for (;;) {
      yield Buffer.alloc(4096);
      await Promise.resolve();
    }
  };

  test('is dropped after 30 s if it is silent, and the source is closed', async () => {
    let isClosed = false;
    const bytes = async function* () {
      try {
        yield* endless();
      } finally {
        isClosed = true;
      }
    };
    testedServer({ handler: answering({ initialTransfer: () => Promise.resolve(transferOf(bytes())) }) });
    const near = await rawConnection();
    await near.write(encodeMessage('{"Type":18,"Id":[]}', 1000));
    await near.write(encodeMessage('{"Filesystem":["tank"],"FilesystemVersion":{"Name":"a"}}', 1000));
    await vi.advanceTimersByTimeAsync(30_000);
    expect(ends).toEqual([]);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(ends).toMatchObject(timeoutWith(/took none of what was written to it for 30000 ms, and nothing was heard/));
    expect(isClosed).toBe(true);
  });

  test('lives on for hours if it is only slow, and says so by its heartbeats', async () => {
    const handler = answering({ initialTransfer: () => Promise.resolve(transferOf(endless())) });
    const { client } = await connectTo(testedServer({ handler }));
    const { bytes } = await client.initialTransfer({ filesystem, version });
    await bytes[Symbol.asyncIterator]().next();
    await vi.advanceTimersByTimeAsync(3 * 3_600_000);
    expect(ends).toEqual([]);
    expect((await bytes[Symbol.asyncIterator]().next()).done).toBe(false);
    client.forceClose();
  });
});

test('a handler may take longer than all of these', async () => {
  const filesystems = (_: unknown, { signal }: RequestContext) =>
    new Promise<string[][]>((resolve, reject) => {
      setTimeout(() => resolve([['at last']]), 2 * 3_600_000);
      signal.addEventListener('abort', () => reject(new Error('stopped')));
    });
  const { client } = await connectTo(testedServer({ handler: answering({ filesystems }) }));
  const call = client.filesystems({ roots: null });
  await vi.advanceTimersByTimeAsync(2 * 3_600_000);
  expect(await call).toEqual([['at last']]);
});

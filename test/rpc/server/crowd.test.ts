import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ByteStreamRPC } from '../../../src/rpc/byte-stream-rpc.ts';
import type { RPCRequester, Transfer } from '../../../src/rpc/interfaces.ts';
import type { ReplicationServer } from '../../../src/rpc/server.ts';
import { connectUnix, listenUnix } from '../../../src/transport/unix.ts';
import { answering, testServer } from '../../support/server-fixture.ts';
import { initial } from '../../support/transfers.ts';

const pieceBytes = 256 * 1024;
const clients = 10;
const callsEach = 10;
const ask = { filesystem: ['tank'] };

let directory: string;
let server: ReplicationServer;
let path: string;
/** Pieces that transfers without end have given so far. */
let given: number;
const open: RPCRequester[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'snapferry-crowd-'));
  path = join(directory, 'server.sock');
  given = 0;
  server = testServer({ handler: answering({ initialTransfer: () => Promise.resolve(endless()) }), heartbeatMs: 20 });
  await server.listen((onConnection) => listenUnix(path, onConnection));
});
afterEach(async () => {
  for (const client of open.splice(0)) client.forceClose();
  await server.disconnect(0);
  await rm(directory, { recursive: true });
});

function endless(): Transfer {
  const piece = Buffer.alloc(pieceBytes, 7);
  async function* bytes(): AsyncGenerator<Uint8Array> {
    for (;;) {
      await Promise.resolve();
      given += 1;
      yield piece;
    }
  }
  return { format: 'test', estimatedBytes: null, resumed: false, bytes: bytes() };
}

async function connected(): Promise<RPCRequester> {
  const client = await ByteStreamRPC.connect(await connectUnix(path), { heartbeatMs: 20 });
  open.push(client);
  return client;
}

describe('a hundred calls beside a transfer without end', () => {
  test('are all answered while it flows, each before the next few pieces of it', async () => {
    const { bytes } = await (await connected()).initialTransfer(initial);
    const reading = (async () => {
      let received = 0;
      for await (const piece of bytes) received += piece.byteLength;
      return received;
    })();
    reading.catch(() => undefined);
    const others = await Promise.all(Array.from({ length: clients }, connected));
    const waits: number[] = [];
    const call = async (client: RPCRequester): Promise<void> => {
      const before = given;
      expect(await client.filesystemVersions(ask)).toEqual([]);
      waits.push(given - before);
    };
    await Promise.all(others.flatMap((client) => Array.from({ length: callsEach }, () => call(client))));
    expect(waits).toHaveLength(clients * callsEach);
    console.log(`pieces of ${pieceBytes} bytes that passed while a call waited: at most ${Math.max(...waits)}`);
    // One that had to wait for the stream would wait for ever; one that is only seldom given its turn waits for hundreds.
    expect(Math.max(...waits)).toBeLessThan(500);
    const before = given;
    await expect.poll(() => given).toBeGreaterThan(before);
  });

  test('are answered while its reader stands still, and so is what waits behind it once that has left', async () => {
    const slow = await connected();
    const { bytes } = await slow.initialTransfer(initial);
    const iterator = bytes[Symbol.asyncIterator]();
    await iterator.next();
    const behind = Array.from({ length: callsEach }, () => slow.filesystemVersions(ask));
    const others = await Promise.all(Array.from({ length: clients }, connected));
    const calls = others.flatMap((client) => Array.from({ length: callsEach }, () => client.filesystemVersions(ask)));
    expect(await Promise.all(calls)).toHaveLength(clients * callsEach);
    await iterator.return?.();
    expect(await Promise.all(behind)).toHaveLength(callsEach);
  });
});

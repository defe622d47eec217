import { readdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import type { NetConnectOpts } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import { replicate } from '../../src/replication/replicate.ts';
import { ByteStreamRPC } from '../../src/rpc/byte-stream-rpc.ts';
import type { RPCRequester } from '../../src/rpc/interfaces.ts';
import { connectTCP } from '../../src/transport/tcp.ts';
import { connectUnix } from '../../src/transport/unix.ts';
import { childProgram, type ChildProgram } from '../support/child-program.ts';
import { drawFault, faultProxy, soundLine, type FaultKind, type FaultProxy } from '../support/fault-proxy.ts';
import { faultSource, faultSourceBytes } from '../support/fault-source.ts';
import { memoryBackend, type MemoryBackend } from '../support/memory-backend.ts';
import { randomFrom } from '../support/random.ts';
import { testSeed } from '../support/scripted-peer.ts';

// Silence of three heartbeats is the longest a fault can go unnoticed.
const heartbeatMs = 100;
const runs = Number(process.env['SNAPFERRY_FAULT_RUNS'] ?? 8);
const seed = testSeed % 1_000_000;
const source = faultSource();

let directory: string;
let server: ChildProgram;
let heldAtFirst: number;
const proxies = new Map<'unix' | 'tcp', { proxy: FaultProxy; at: string | number; direct: NetConnectOpts }>();

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'snapferry-faults-'));
  const path = join(directory, 'server.sock');
  server = await childProgram('replication-server.ts', path, String(heartbeatMs));
  heldAtFirst = readdirSync(`/proc/${server.pid}/fd`).length;
  const at = join(directory, 'proxy.sock');
  proxies.set('unix', { proxy: await faultProxy(at, { path }), at, direct: { path } });
  const port = 20_000 + (process.pid % 30_000);
  const direct = { host: '127.0.0.1', port: Number(server.line) };
  proxies.set('tcp', { proxy: await faultProxy(port, direct), at: port, direct });
});

afterAll(async () => {
  for (const { proxy } of proxies.values()) await proxy.close();
  await server.stop();
  await rm(directory, { recursive: true });
});

type Transport = 'unix' | 'tcp';

async function connected(transport: Transport): Promise<RPCRequester> {
  const { at } = proxies.get(transport)!;
  const stream = await (typeof at === 'string' ? connectUnix(at) : connectTCP({ host: '127.0.0.1', port: at }));
  return ByteStreamRPC.connect(stream, { heartbeatMs, limits: { helloMsMax: 5 * heartbeatMs } });
}

function expectCoded(error: unknown): void {
  expect(error).toBeInstanceOf(SnapferryError);
  expect((error as SnapferryError).message).not.toBe('');
}

/** Uses a connection through the faulty line; whatever it makes of it settles, and so does a call beside it. */
async function throughFault(transport: Transport, use: (client: RPCRequester) => Promise<unknown>): Promise<unknown> {
  const client = await connected(transport).catch((error: unknown) => error);
  if (client instanceof Error) {
    expectCoded(client);
    return client;
  }
  const requester = client as RPCRequester;
  const used = use(requester).catch((error: unknown) => error);
  const beside = requester.filesystems({ roots: null }).catch((error: unknown) => error);
  const outcome = await used;
  if (outcome instanceof Error) expectCoded(outcome);
  requester.forceClose();
  const answer = await beside;
  if (answer instanceof Error) expectCoded(answer);
  return outcome;
}

function pull(client: RPCRequester, target: MemoryBackend): Promise<unknown> {
  const select = ([top]: readonly string[]): boolean => top === 'src';
  const retry = { attemptsMax: 2, waitMsMin: 0, waitMsMax: 0 };
  return replicate({ client, sink: target.sink, jobId: 'job', policy: 'all', select, retry }).report;
}

/** Every snapshot that stands in `target` has the content that `from` has under its guid. */
function expectTrue(target: MemoryBackend, from: MemoryBackend): void {
  const contents = new Map(
    [...from.datasets.values()].flatMap(({ versions }) =>
      // A bookmark has the guid of its snapshot, and no content.
      versions
        .filter(({ content }) => content !== null)
        .map(({ version, content }) => [version.guid, content] as const),
    ),
  );
  for (const { versions } of target.datasets.values()) {
    for (const { version, content } of versions) {
      const expected = contents.get(version.guid) ?? null;
      expect(content === null || (expected !== null && Buffer.compare(content, expected) === 0)).toBe(true);
    }
  }
}

function listOf(backend: MemoryBackend, prefix: string): string[] {
  return ['a', 'b', 'b/c'].map((name) => backend.list(`${prefix}/${name}`).replaceAll(/ ?#\S+/g, ''));
}

/** What the server has received under a name, read over a sound line. */
async function received(prefix: string): Promise<MemoryBackend> {
  const target = memoryBackend();
  proxies.get('unix')!.proxy.fault = soundLine;
  const client = await connected('unix');
  const select = ([top]: readonly string[]): boolean => top === prefix;
  await replicate({ client, sink: target.sink, jobId: 'check', policy: 'all', select }).report;
  await client.close();
  return target;
}

const lossless: readonly FaultKind[] = ['slow', 'pause'];
const losing: readonly FaultKind[] = ['stall', 'reset'];

describe.each(['unix', 'tcp'] as const)(`a faulty line, %s (scenario 9, SNAPFERRY_SEED=${testSeed})`, (transport) => {
  const each = Array.from({ length: runs }, (_, run) => run);

  test.each(each)('pull %i: ends with a code or whole, and the next run makes it whole', async (run) => {
    const random = randomFrom(seed + run);
    const { proxy } = proxies.get(transport)!;
    proxy.fault = drawFault(random, faultSourceBytes, run % 4 === 0 ? lossless : losing);
    const target = memoryBackend();
    await throughFault(transport, (client) => pull(client, target));
    expectTrue(target, source);
    proxy.fault = soundLine;
    const outcome = await throughFault(transport, (client) => pull(client, target));
    expect(outcome).toMatchObject({ filesystems: [{ ok: true }, { ok: true }, { ok: true }] });
    expect(listOf(target, 'src')).toEqual(listOf(source, 'src'));
    expectTrue(target, source);
  });

  test.each(each)('push %i: ends with a code or whole, and the next run makes it whole', async (run) => {
    const random = randomFrom(seed + 1000 + run);
    const { proxy } = proxies.get(transport)!;
    const prefix = `${transport}${run}`;
    const pusher = faultSource(prefix);
    const policy = { initialReplicationPolicy: 'all' } as const;
    proxy.fault = drawFault(random, faultSourceBytes, run % 4 === 0 ? lossless : losing);
    await throughFault(transport, (client) => client.pullMe(policy, pusher.handler));
    proxy.fault = soundLine;
    // The server may still be finding out that the connection is dead; what it has in hand it then gives up.
    let outcome: unknown;
    for (let attempts = 0; attempts < 20 && !isWhole(outcome); attempts++) {
      outcome = await throughFault(transport, (client) => client.pullMe(policy, pusher.handler));
    }
    expect(outcome).toMatchObject({ filesystems: [{ ok: true }, { ok: true }, { ok: true }] });
    const there = await received(prefix);
    expect(listOf(there, prefix)).toEqual(listOf(pusher, prefix));
    expectTrue(there, pusher);
  });

  test.each(each)('pull %i with a bit flipped on the way: nothing damaged is committed', async (run) => {
    const { proxy } = proxies.get(transport)!;
    proxy.fault = drawFault(randomFrom(seed + 2000 + run), faultSourceBytes, ['flip']);
    const target = memoryBackend();
    await throughFault(transport, (client) => pull(client, target));
    expectTrue(target, source);
  });
});

function isWhole(outcome: unknown): boolean {
  const { filesystems = [] } = (outcome ?? {}) as { filesystems?: readonly { ok: boolean }[] };
  return filesystems.length > 0 && filesystems.every(({ ok }) => ok);
}

test('after all that, the server holds no connection any more', async () => {
  const held = (): number => readdirSync(`/proc/${server.pid}/fd`).length;
  for (let tries = 0; held() > heldAtFirst && tries < 500; tries++) await new Promise((done) => setTimeout(done, 20));
  expect(held()).toBeLessThanOrEqual(heldAtFirst);
});

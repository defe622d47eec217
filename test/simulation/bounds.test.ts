import { execFile, spawn } from 'node:child_process';
import { getEventListeners, once } from 'node:events';
import { readdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import { ByteStreamRPC } from '../../src/rpc/byte-stream-rpc.ts';
import type { RPCRequester } from '../../src/rpc/interfaces.ts';
import { connectCommand } from '../../src/transport/command.ts';
import type { Listener } from '../../src/transport/listener.ts';
import { connectUnix, listenUnix } from '../../src/transport/unix.ts';
import { childPids } from '../support/child-program.ts';
import { heldBytes } from '../support/held-memory.ts';
import { bytesOf } from '../support/recorded.ts';
import { relayArgv } from '../support/relay.ts';
import { builtProgram } from '../support/run-program.ts';
import { filesystem, sessionHandler } from '../support/session.ts';
import { initial } from '../support/transfers.ts';

// The full sizes take minutes: SNAPFERRY_LONG=1. The small ones find the same growth, if there is any, in seconds.
const isLong = process.env['SNAPFERRY_LONG'] === '1';
const MiB = 1024 * 1024;
const streamBytes = isLong ? 8 * 1024 * MiB : 256 * MiB;
const requestsTotal = isLong ? 100_000 : 5000;
const connectionsTotal = Number(process.env['SNAPFERRY_CONNECTIONS'] ?? (isLong ? 1000 : 100));
const childrenTotal = isLong ? 200 : 10;
const timeoutMs = isLong ? 60 * 60_000 : 120_000;
const programs = fileURLToPath(new URL('../fixtures/programs/', import.meta.url));

/** The handler without its memory of what it was asked. */
function forgetful(make: typeof sessionHandler): ReturnType<typeof sessionHandler> {
  const forgotten: string[] = [];
  forgotten.push = () => 0;
  return make(forgotten);
}

let directory: string;
let path: string;
let listener: Listener;
const warnings: string[] = [];
const note = (warning: Error): void => void warnings.push(warning.message);

beforeAll(async () => {
  process.on('warning', note);
  directory = await mkdtemp(join(tmpdir(), 'snapferry-bounds-'));
  path = join(directory, 'server.sock');
  const handler = {
    ...forgetful(sessionHandler),
    filesystems: () => Promise.reject(new SnapferryError('BUSY', 'not now')),
  };
  listener = await listenUnix(path, async (stream) => {
    await ByteStreamRPC.listen(stream, { clientIdentity: 'tester', handler }).catch(() => undefined);
  });
});

afterAll(async () => {
  process.off('warning', note);
  await listener.close();
  await rm(directory, { recursive: true });
});

test(
  `${streamBytes / MiB} MiB to a consumer ten times slower: neither end grows`,
  async () => {
    const dist = dirname(dirname(await builtProgram()));
    const socket = join(directory, 'stream.sock');
    const sender = spawn(process.execPath, [join(programs, 'stream-sender.mjs'), dist, socket, String(streamBytes)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    sender.stdout.setEncoding('utf8').on('data', (piece: string) => (text += piece));
    const closed = once(sender, 'close');
    await once(sender.stdout, 'data');
    const receiver = await promisify(execFile)(process.execPath, [join(programs, 'stream-receiver.mjs'), dist, socket]);
    await closed;
    const near = JSON.parse(receiver.stdout) as { received: number; early: number; peak: number };
    const far = JSON.parse(text.slice(text.indexOf('{'))) as { early: number; peak: number };
    expect(near.received).toBe(streamBytes);
    console.log(
      `peak MiB: sender ${far.peak / MiB}, receiver ${near.peak / MiB}; after 64 MiB ${far.early / MiB}, ${near.early / MiB}`,
    );
    for (const { early, peak } of [near, far]) {
      expect(early).toBeGreaterThan(0);
      expect(peak - early).toBeLessThan(24 * MiB);
    }
  },
  timeoutMs,
);

/** Handles and timers alive in this process. */
function activeResources(): string[] {
  // What the test runner has under way of its own comes and goes.
  return process.getActiveResourcesInfo().filter((name) => !/^(FSReq|Immediate|CloseReq|MessagePort)/.test(name));
}

const shared = new AbortController();

/** What a leak would add to, by kind; timers and handles are in {@link activeResources}. */
function counts() {
  return {
    descriptors: readdirSync('/proc/self/fd').length,
    children: childPids().length,
    // Every call is given this signal: what listens to it and stays is a call that was not forgotten.
    listeners: getEventListeners(shared.signal, 'abort').length,
    processListeners: process.eventNames().reduce((sum, name) => sum + process.listenerCount(name), 0),
  };
}

/** Runs `use` so often, and compares what is held after half of that with what is held at the end. */
async function growth(what: string, times: number, use: (index: number) => Promise<void>) {
  const warm = Math.ceil(times / 2);
  for (let index = 0; index < warm; index++) await use(index);
  const [bytesBefore, countsBefore, resourcesBefore] = [await heldBytes(), counts(), activeResources()];
  for (let index = warm; index < times; index++) await use(index);
  const bytes = (await heldBytes()) - bytesBefore;
  const grown = { bytesEach: bytes / (times - warm), counts: counts(), resources: activeResources() };
  console.log(
    `${times} ${what}: heap ${bytesBefore} bytes after half of them, ${bytes} more at the end (${grown.bytesEach.toFixed(1)} each); ` +
      `then and now ${JSON.stringify(countsBefore)} ${JSON.stringify(grown.counts)}; ` +
      `active ${resourcesBefore.length} ${grown.resources.length}`,
  );
  return { ...grown, countsBefore, resourcesBefore };
}

async function connected(): Promise<RPCRequester> {
  return ByteStreamRPC.connect(await connectUnix(path));
}

/** Not `expect`, which keeps what it was given until the test is over. */
async function failsWith(code: string, asked: Promise<unknown>): Promise<void> {
  const error = await asked.then(
    () => null,
    (cause: unknown) => cause,
  );
  if (!(error instanceof SnapferryError) || error.code !== code)
    throw new Error(`${code} was expected, not ${String(error)}`);
}

/** One of everything that can become of a request, in turn. */
async function oneRequest(client: RPCRequester, index: number): Promise<void> {
  const { signal } = shared;
  switch (index % 5) {
    case 0:
      await client.filesystemVersions({ filesystem }, { signal, timeoutMs: 60_000 });
      return;
    case 1:
      await failsWith('BUSY', client.filesystems({ roots: null }, { signal }));
      return;
    case 2:
      await bytesOf(await client.initialTransfer(initial, { signal, onProgress: () => undefined }));
      return;
    case 3: {
      const cancel = new AbortController();
      const asked = client.filesystemVersions({ filesystem }, { signal: cancel.signal });
      cancel.abort();
      await failsWith('CANCELLED', asked);
      return;
    }
    default:
      for await (const piece of (await client.initialTransfer(initial, { signal })).bytes) {
        if (piece.byteLength > 0) break;
      }
  }
}

test(
  `${requestsTotal} requests on one connection leave nothing behind`,
  async () => {
    const client = await connected();
    const grown = await growth('requests', requestsTotal, (index) => oneRequest(client, index));
    expect(grown.resources).toEqual(grown.resourcesBefore);
    expect(grown.counts).toEqual(grown.countsBefore);
    expect(grown.bytesEach).toBeLessThan(100);
    await client.close();
    expect(warnings).toEqual([]);
  },
  timeoutMs,
);

test(
  `${connectionsTotal} connections, closed, dropped and refused in turn, leave nothing behind`,
  async () => {
    const use = async (index: number): Promise<void> => {
      const stream = await connectUnix(path);
      if (index % 4 === 3) {
        stream.abort(new Error('changed my mind'));
        await stream.close();
        return;
      }
      const client = await ByteStreamRPC.connect(stream);
      for (let request = 0; request < 5; request++) await oneRequest(client, request);
      if (index % 4 === 0) client.forceClose();
      await client.close();
    };
    const grown = await growth('connections', connectionsTotal, use);
    expect(grown.resources.length).toBeLessThanOrEqual(grown.resourcesBefore.length);
    // The other end of the last one may still be closing on either occasion.
    expect(grown.counts.descriptors).toBeLessThanOrEqual(grown.countsBefore.descriptors + 2);
    expect(grown.counts.listeners).toBe(0);
    expect(grown.counts.processListeners).toBe(grown.countsBefore.processListeners);
    expect(grown.bytesEach).toBeLessThan(isLong ? 1000 : 5000);
    expect(warnings).toEqual([]);
  },
  timeoutMs,
);

test(
  `${childrenTotal} connections through a child process leave no child`,
  async () => {
    const childrenAtFirst = new Set(childPids());
    const use = async (index: number): Promise<void> => {
      const client = await ByteStreamRPC.connect(await connectCommand({ argv: relayArgv(path) }));
      await oneRequest(client, index);
      if (index % 2 === 0) client.forceClose();
      await client.close();
    };
    const { resources, resourcesBefore } = await growth('children', childrenTotal, use);
    expect(resources.length).toBeLessThanOrEqual(resourcesBefore.length);
    expect(childPids().filter((pid) => !childrenAtFirst.has(pid))).toEqual([]);
    expect(warnings).toEqual([]);
  },
  timeoutMs,
);

test.each([
  ['read to its end', Infinity],
  ['left in the middle', 8 * MiB],
])(
  '100 calls made during a long stream, %s, are answered, and nothing piles up meanwhile (scenario 14)',
  async (_, leaveAtBytes) => {
    const piece = Buffer.alloc(256 * 1024, 7);
    const longBytes = isLong ? 10 * 1024 * MiB : 64 * MiB;
    async function* pieces(): AsyncGenerator<Uint8Array> {
      for (let sent = 0; sent < longBytes; sent += piece.length) {
        await Promise.resolve();
        yield piece;
      }
    }
    const handler = {
      ...forgetful(sessionHandler),
      initialTransfer: () => Promise.resolve({ format: null, estimatedBytes: null, resumed: false, bytes: pieces() }),
    };
    const socket = join(directory, `${leaveAtBytes}.sock`);
    const long = await listenUnix(socket, async (stream) => {
      await ByteStreamRPC.listen(stream, { clientIdentity: 'tester', handler, heartbeatMs: 20 });
    });
    const client = await ByteStreamRPC.connect(await connectUnix(socket), { heartbeatMs: 20 });
    const transfer = await client.initialTransfer(initial);
    const before = await heldBytes();
    const calls = Array.from({ length: 100 }, () => client.filesystemVersions({ filesystem }));
    let received = 0;
    let grown = 0;
    for await (const bytes of transfer.bytes) {
      const sampled = Math.floor(received / (longBytes / 8));
      received += bytes.byteLength;
      if (Math.floor(received / (longBytes / 8)) > sampled) grown = Math.max(grown, (await heldBytes()) - before);
      if (received >= leaveAtBytes) break;
    }
    for (const versions of await Promise.all(calls)) expect(versions).toHaveLength(2);
    expect(grown).toBeLessThan(8 * MiB);
    if (leaveAtBytes === Infinity) expect(received).toBe(longBytes);
    else expect(received).toBeLessThan(longBytes);
    await client.close();
    await long.close();
  },
  timeoutMs,
);

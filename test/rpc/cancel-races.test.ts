import { describe, expect, test } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import { ByteStreamRPC } from '../../src/rpc/byte-stream-rpc.ts';
import type { RPCRequester, Transfer } from '../../src/rpc/interfaces.ts';
import type { ByteStream } from '../../src/transport/byte-stream.ts';
import { memoryPair } from '../../src/transport/memory.ts';
import { seededBytes } from '../support/recorded.ts';
import { byteByByte, testSeed } from '../support/scripted-peer.ts';
import { filesystem, sessionHandler } from '../support/session.ts';
import { initial, read } from '../support/transfers.ts';

const payload = seededBytes('races', 300);
/** In CI at every byte; elsewhere at a sample that the seed chooses. */
const stride = process.env['SNAPFERRY_EVERY_OFFSET'] === '1' ? 1 : 5;

type Direction = 'toFar' | 'toNear';

/** A stream on which bytes travel one by one, each told before it does. */
function byteWise(stream: ByteStream, onByte: (direction: Direction) => void): ByteStream {
  async function* source(): AsyncGenerator<Uint8Array> {
    for await (const piece of stream.source) {
      for (const byte of byteByByte(piece)) {
        onByte('toNear');
        yield byte;
      }
    }
  }
  return {
    source: source(),
    async write(bytes) {
      for (const byte of byteByByte(new Uint8Array(bytes.subarray()))) {
        onByte('toFar');
        await stream.write(byte);
      }
    },
    end: () => stream.end(),
    abort: (reason) => stream.abort(reason),
    close: () => stream.close(),
    [Symbol.asyncDispose]: () => stream.close(),
    description: stream.description,
  };
}

/** How a caller leaves its transfer. */
const ways: Record<string, (client: RPCRequester, abort: AbortController) => void> = {
  cancelled: (_, abort) => abort.abort(),
  'cancelled twice': (_, abort) => {
    abort.abort();
    abort.abort(new Error('once more'));
  },
  'cancelled, and the connection closed at once': (client, abort) => {
    abort.abort();
    void client.close();
  },
  'closed with the connection': (client) => void client.close(),
};

interface Race {
  readonly version: 1 | 2;
  readonly direction: Direction;
  /** Counted from the call on. */
  readonly atByte: number;
  /** Turns of the microtask queue between that byte and the leaving. */
  readonly turns: number;
  readonly leave: (client: RPCRequester, abort: AbortController) => void;
}

/** A transfer that is left at one byte of its exchange, and what became of everything. */
async function raced({ version, direction, atByte, turns, leave }: Race) {
  const [near, far] = memoryPair();
  const passed = { toFar: 0, toNear: 0 };
  let watching = false;
  const abort = new AbortController();
  let client: RPCRequester | null = null;
  const stream = byteWise(near, (of) => {
    if (!watching) return;
    passed[of] += 1;
    if (of === direction && passed[of] === atByte) void later();
  });
  const later = async (): Promise<void> => {
    for (let turn = 0; turn < turns; turn++) await Promise.resolve();
    leave(client!, abort);
  };
  const sources = { begun: 0, ended: 0 };
  async function* pieces(): AsyncGenerator<Uint8Array> {
    sources.begun += 1;
    try {
      for (let at = 0; at < payload.length; at += 50) {
        await Promise.resolve();
        yield payload.subarray(at, at + 50);
      }
    } finally {
      sources.ended += 1;
    }
  }
  const transfer = (): Transfer => ({ format: 'directory', estimatedBytes: null, resumed: false, bytes: pieces() });
  const handler = { ...sessionHandler([]), initialTransfer: () => Promise.resolve(transfer()) };
  const options = { heartbeatMs: 60_000, maximumVersion: version };
  const served = ByteStreamRPC.listen(far, { ...options, clientIdentity: 'tester', handler }).catch(() => undefined);
  client = await ByteStreamRPC.connect(stream, options);
  watching = true;
  const outcome = await client.initialTransfer(initial, { signal: abort.signal }).then(read, (error: unknown) => ({
    parts: Buffer.alloc(0),
    error,
  }));
  const total = { ...passed };
  // Ids are not equally long each time: that byte may never have come, and it is the transfer that is left, nothing after it.
  watching = false;
  const next = await client.filesystemVersions({ filesystem }).then(
    (versions) => versions.length,
    (error: unknown) => (error instanceof SnapferryError ? error.code : String(error)),
  );
  await client.close().catch(() => undefined);
  await served;
  return { outcome, next, sources, total };
}

describe.each([1, 2] as const)('a transfer of version %i that is left, at whatever byte', (version) => {
  test.each(Object.entries(ways))(`%s (SNAPFERRY_SEED=${testSeed})`, async (name, leave) => {
    const { total, outcome } = await raced({ version, direction: 'toFar', atByte: Infinity, turns: 0, leave });
    expect(outcome.error).toBeNull();
    const race = { version, leave };
    const moments: Race[] = [];
    for (const direction of ['toFar', 'toNear'] as const) {
      for (let atByte = 1 + (testSeed % stride); atByte <= total[direction]; atByte += stride) {
        moments.push({ ...race, direction, atByte, turns: atByte % 4 });
      }
    }
    // Around the end every moment counts: the last byte is on its way, is there, is understood.
    for (let turns = 0; turns < 40; turns++) {
      moments.push({ ...race, direction: 'toNear', atByte: total.toNear, turns });
    }
    const seen = new Set<string>();
    for (const moment of moments) {
      const { outcome: left, next, sources } = await raced(moment);
      const when = `left ${moment.turns} turns after byte ${moment.atByte} ${moment.direction}`;
      if (left.error === null) expect(left.parts.equals(payload), when).toBe(true);
      else expect(left.error, when).toMatchObject({ code: 'CANCELLED' });
      seen.add(left.error === null ? 'whole' : 'cancelled');
      expect(sources.ended, when).toBe(sources.begun);
      const isOpen = version === 2 && !name.includes('close');
      if (isOpen) expect(next, when).toBe(2);
      else expect([2, 'CANCELLED', 'CONNECTION_LOST'], when).toContain(next);
    }
    // Otherwise the race would not have been run to both its ends.
    expect([...seen].sort()).toEqual(['cancelled', 'whole']);
  });
});

import { setImmediate } from 'node:timers/promises';
import { describe, expect, expectTypeOf, test, vi } from 'vitest';
import { z } from 'zod';
import { encodeMessage } from '../../../src/chunker/chunk.ts';
import { SnapferryError } from '../../../src/errors.ts';
import { restricted } from '../../../src/handlers/restricted.ts';
import { ByteStreamRPC } from '../../../src/rpc/byte-stream-rpc.ts';
import { answerCustom, customCall } from '../../../src/rpc/custom-requests.ts';
import { listRequests } from '../../../src/rpc/dispatch-table.ts';
import type { CustomRequest, RPCHandler, RPCRequester, Transfer } from '../../../src/rpc/interfaces.ts';
import { LocalRPC } from '../../../src/rpc/local-rpc.ts';
import type { TransferBytes } from '../../../src/sink.ts';
import { memoryPair } from '../../../src/transport/memory.ts';
import { ScriptedPeer } from '../../support/scripted-peer.ts';
import { answering, collected, moment, transferOf } from '../../support/server-fixture.ts';

const pause = customCall({ type: 0x80, name: 'Pause', request: z.object({ dataset: z.string() }), answer: 'ok' });
const usage = customCall({
  type: 0x81,
  name: 'Usage',
  request: z.object({ dataset: z.string(), deep: z.boolean().optional() }),
  answer: z.object({ bytes: z.number().or(z.bigint()), files: z.number() }),
  describe: ({ dataset }) => dataset,
});
const fetchLog = customCall({ type: 0x82, name: 'FetchLog', request: z.null(), answer: 'stream' });
const store = customCall({
  type: 0x83,
  name: 'Store',
  request: z.array(z.string()),
  answer: (value) => {
    if (typeof value !== 'number') throw new TypeError('not a number');
    return value;
  },
  upload: true,
});
const echo = customCall({ type: 0xef, name: 'Echo', request: z.object({}), answer: 'stream', upload: true });

/** Answers all of them; `custom` takes the place of those with the same number. */
function customHandler(custom: readonly CustomRequest[] = []): RPCHandler {
  const usual = [
    answerCustom(pause, ({ dataset }) =>
      dataset === 'busy' ? Promise.reject(new SnapferryError('BUSY', 'it is busy')) : Promise.resolve(),
    ),
    answerCustom(usage, ({ dataset }) => Promise.resolve({ bytes: 2n ** 64n - 1n, files: dataset.length })),
    answerCustom(fetchLog, () => Promise.resolve(transferOf([Buffer.from('line 1\n'), Buffer.from('line 2\n')]))),
    answerCustom(store, async (_names, _context, upload) => (await collected(upload)).byteLength),
    answerCustom(echo, (_request, _context, upload) => Promise.resolve(transferOf(copies(upload)))),
  ];
  const replaced = new Set(custom.map(({ type }) => type));
  return answering({ custom: [...custom, ...usual.filter(({ type }) => !replaced.has(type))] });
}

async function byWire(handler: RPCHandler): Promise<RPCRequester> {
  const [near, far] = memoryPair({ poison: true });
  void ByteStreamRPC.listen(far, { clientIdentity: 'web1', handler }).catch(() => undefined);
  return ByteStreamRPC.connect(near);
}

/** What is received is lent, what is sent is given away: between the two is a copy. */
async function* copies(bytes: TransferBytes): AsyncGenerator<Uint8Array> {
  for await (const piece of bytes) yield new Uint8Array(piece.subarray());
}

/** So many pieces of 1000 bytes. No generator: its end is told even if it was never begun. */
function pieces(count: number, onClosed: () => void = () => undefined): TransferBytes {
  let index = 0;
  const over = { done: true, value: undefined } as const;
  return {
    [Symbol.asyncIterator]: () => ({
      async next() {
        await setImmediate();
        return index < count ? { done: false, value: Buffer.alloc(1000, index++) } : over;
      },
      return() {
        onClosed();
        return Promise.resolve(over);
      },
    }),
  };
}

describe.each([
  ['over the wire', byWire],
  ['in this process', (handler: RPCHandler) => Promise.resolve(LocalRPC.connect(handler))],
] as const)('custom requests %s', (_, connect) => {
  const inService = async (client: RPCRequester): Promise<void> => {
    expect(await client.filesystems({ roots: null })).toEqual([['tank']]);
    await client.close();
  };

  test('are answered with OK, JSON or a stream', async () => {
    const client = await connect(customHandler());
    await expect(client.request(pause, { dataset: 'tank' })).resolves.toBeUndefined();
    const used = await client.request(usage, { dataset: 'tank', deep: true });
    expectTypeOf(used).toEqualTypeOf<{ bytes: number | bigint; files: number }>();
    expect(used).toEqual({ bytes: 2n ** 64n - 1n, files: 4 });
    const log = await client.request(fetchLog, null);
    expectTypeOf(log).toEqualTypeOf<Transfer>();
    expect(log.format).toBe('test');
    expect((await collected(log.bytes)).toString()).toBe('line 1\nline 2\n');
    await inService(client);
  });

  test('take an upload, and an upload and a download at the same time', async () => {
    const client = await connect(customHandler());
    expect(await client.request(store, ['a'], { upload: pieces(300) })).toBe(300_000);
    expect(await client.request(store, [])).toBe(0);
    const { bytes } = await client.request(echo, {}, { upload: pieces(500) });
    const whole = await collected(bytes);
    expect(whole.byteLength).toBe(500_000);
    expect(whole[499_999]).toBe(499 % 256);
    await inService(client);
  });

  test('are made ahead like any other', async () => {
    const client = await connect(customHandler());
    const results = await Promise.all([
      client.request(usage, { dataset: 'a' }),
      client.request(store, [], { upload: pieces(3) }),
      client.filesystems({ roots: null }),
      client.request(store, [], { upload: pieces(5) }),
      client.request(usage, { dataset: 'abc' }),
    ]);
    expect(results).toMatchObject([{ files: 1 }, 3000, [['tank']], 5000, { files: 3 }]);
    await inService(client);
  });

  test('a body that is not of its shape is refused, and the upload behind it read away', async () => {
    const client = await connect(customHandler());
    const wrong = { dataset: 1 } as unknown as { dataset: string };
    await expect(client.request(pause, wrong)).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
    const closed = moment();
    const upload = pieces(1_000_000, closed.resolve);
    const call = client.request(store, { not: 'a list' } as unknown as string[], { upload });
    await expect(call).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
    await closed.promise;
    await inService(client);
  });

  test('an error of the handler keeps its code, and stops the upload', async () => {
    const full = answerCustom(store, async (_names, _context, upload) => {
      await upload[Symbol.asyncIterator]().next();
      throw new SnapferryError('SOURCE_FAILED', 'the disk is full');
    });
    const client = await connect(customHandler([full]));
    await expect(client.request(pause, { dataset: 'busy' })).rejects.toMatchObject({ code: 'BUSY', retryable: true });
    const closed = moment();
    const call = client.request(store, [], { upload: pieces(1_000_000, closed.resolve) });
    await expect(call).rejects.toMatchObject({ code: 'SOURCE_FAILED' });
    await closed.promise;
    await inService(client);
  });

  test('an upload whose source fails is never whole on the other side, and the caller gets its own error', async () => {
    const received: unknown[] = [];
    const keep = answerCustom(store, async (_names, _context, upload) => {
      await collected(upload).catch((error: unknown) => received.push(error));
      throw new SnapferryError('INTERNAL', 'an echo');
    });
    const client = await connect(customHandler([keep]));
    async function* failing() {
      yield Buffer.alloc(10);
      await Promise.reject(new SnapferryError('DATASET_NOT_FOUND', 'my own disk is gone'));
    }
    const call = client.request(store, [], { upload: failing() });
    await expect(call).rejects.toMatchObject({ code: 'DATASET_NOT_FOUND', message: 'my own disk is gone' });
    expect(received).toMatchObject([{ code: 'DATASET_NOT_FOUND' }]);
    await inService(client);
  });

  test('an answer that comes early ends the upload', async () => {
    const hasty = answerCustom(store, () => Promise.resolve(42));
    const client = await connect(customHandler([hasty]));
    const closed = moment();
    expect(await client.request(store, [], { upload: pieces(1_000_000, closed.resolve) })).toBe(42);
    await closed.promise;
    await inService(client);
  });

  test('cancelling one with an upload stops both sides', async () => {
    const begun = moment<AbortSignal>();
    const slow = answerCustom(store, async (_names, { signal }, upload) => {
      begun.resolve(signal);
      for await (const piece of upload) expect(piece.byteLength).toBeGreaterThan(0);
      return 0;
    });
    const client = await connect(customHandler([slow]));
    const closed = moment();
    const abort = new AbortController();
    const upload = pieces(1_000_000, closed.resolve);
    const call = client.request(store, [], { upload, signal: abort.signal });
    const signal = await begun.promise;
    abort.abort();
    await expect(call).rejects.toMatchObject({ code: 'CANCELLED' });
    await closed.promise;
    await vi.waitFor(() => expect(signal.aborted).toBe(true));
    await inService(client);
  });

  test('one that was cancelled before it began closes its upload', async () => {
    const client = await connect(customHandler());
    const closed = moment();
    const upload: TransferBytes = {
      [Symbol.asyncIterator]: () => ({
        next: () => Promise.reject(new Error('must not be read')),
        return: () => {
          closed.resolve();
          return Promise.resolve({ done: true, value: undefined });
        },
      }),
    };
    const call = client.request(store, [], { upload, signal: AbortSignal.abort() });
    await expect(call).rejects.toMatchObject({ code: 'CANCELLED' });
    await closed.promise;
    await inService(client);
  });

  test('leaving a download stops its upload, too', async () => {
    const client = await connect(customHandler());
    const closed = moment();
    const { bytes } = await client.request(echo, {}, { upload: pieces(1_000_000, closed.resolve) });
    for await (const piece of bytes) {
      expect(piece.byteLength).toBeGreaterThan(0);
      break;
    }
    await closed.promise;
    await inService(client);
  });

  test('an answer that is not what the caller expects is its own concern', async () => {
    const odd = answerCustom(usage, () => Promise.resolve({ bytes: 1, files: 'many' as unknown as number }));
    const client = await connect(customHandler([odd]));
    await expect(client.request(usage, { dataset: 'a' })).rejects.toMatchObject({
      code: 'PROTOCOL_VIOLATION',
      connectionDead: false,
      message: expect.stringContaining('Usage: the answer is not what it should be') as unknown,
    });
    await inService(client);
  });

  test('one that is not registered there is unknown, with an upload or without', async () => {
    const client = await connect(answering());
    const closed = moment();
    await expect(client.request(pause, { dataset: 'a' })).rejects.toMatchObject({ code: 'UNKNOWN_REQUEST' });
    const call = client.request(store, [], { upload: pieces(1_000_000, closed.resolve) });
    await expect(call).rejects.toMatchObject({ code: 'UNKNOWN_REQUEST' });
    await closed.promise;
    await inService(client);
  });

  test('both ends must agree about an upload', async () => {
    const withoutUpload = customCall({ ...store, upload: false });
    const client = await connect(customHandler([answerCustom(withoutUpload, () => Promise.resolve(0))]));
    const call = client.request(store, [], { upload: pieces(3) });
    await expect(call).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
    await expect(client.request(pause, { dataset: 'a' }, { upload: pieces(1) })).rejects.toThrow(TypeError);
    await inService(client);
  });

  test('are refused by restricted unless the policy allows them', async () => {
    const policy = { mayList: () => true, mayRead: () => true, mayPush: false };
    const closed = await connect(restricted(customHandler(), policy));
    await expect(closed.request(pause, { dataset: 'a' })).rejects.toMatchObject({ code: 'ACCESS_DENIED' });
    await expect(closed.request(store, [], { upload: pieces(10) })).rejects.toMatchObject({ code: 'ACCESS_DENIED' });
    await inService(closed);
    const asked: unknown[] = [];
    const mayAsk = (request: { readonly name: string; readonly type: number }): boolean => {
      asked.push([request.type, request.name]);
      return request.name === 'Pause';
    };
    const open = await connect(restricted(customHandler(), { ...policy, mayAsk }));
    await open.request(pause, { dataset: 'a' });
    await expect(open.request(usage, { dataset: 'a' })).rejects.toMatchObject({ code: 'ACCESS_DENIED' });
    expect(asked).toEqual([
      [0x80, 'Pause'],
      [0x81, 'Usage'],
    ]);
    await inService(open);
  });

  test('work inside a pull as well', async () => {
    let used: unknown;
    const pullMe = () =>
      Promise.resolve(async (client: RPCRequester) => {
        used = await client.request(usage, { dataset: 'pushed' });
        expect(await client.request(store, [], { upload: pieces(20) })).toBe(20_000);
        return { filesystems: [] };
      });
    const client = await connect(answering({ pullMe }));
    await client.pullMe({ initialReplicationPolicy: 'all' }, customHandler());
    expect(used).toMatchObject({ files: 6 });
    await inService(client);
  });
});

describe('the registry', () => {
  test('lists everything a handler can be asked, by number', () => {
    const listed = listRequests(customHandler());
    expect(listed.map(({ type }) => type)).toEqual([
      0x01, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x20, 0x30, 0x80, 0x81, 0x82, 0x83, 0xef, 0xf0,
    ]);
    expect(listed.find(({ type }) => type === 0x82)).toEqual({ type: 0x82, name: 'FetchLog' });
    expect(listed.find(({ type }) => type === 0x12)).toEqual({ type: 0x12, name: 'InitialTransfer' });
  });

  test.each([0x00, 0x10, 0x7f, 0xf0, 0xff, 128.5])('refuses the number %s', (type) => {
    expect(() => customCall({ ...pause, type })).toThrow(RangeError);
    const sneaked = { ...answerCustom(pause, () => Promise.resolve()), type };
    if (Number.isInteger(type)) expect(() => LocalRPC.connect(answering({ custom: [sneaked] }))).toThrow(RangeError);
  });

  test.each(['', 'two words', 'ünsäglich', 'x'.repeat(65), 'line\n'])('refuses the name %j', (name) => {
    expect(() => customCall({ ...pause, name })).toThrow(RangeError);
  });

  test('refuses two of one number', async () => {
    const twice = [answerCustom(pause, () => Promise.resolve()), answerCustom(pause, () => Promise.resolve())];
    const [, far] = memoryPair();
    const handler = answering({ custom: twice });
    await expect(ByteStreamRPC.listen(far, { clientIdentity: 'a', handler })).rejects.toThrow('same type');
  });
});

describe('towards a version-1 peer', () => {
  test('nothing of it is sent', async () => {
    const [near, far] = memoryPair();
    const peer = new ScriptedPeer(far);
    const connecting = ByteStreamRPC.connect(near, { maximumVersion: 1 });
    peer.send(encodeMessage('{"ErrorId":0,"ResponseType":1}', 1000));
    const client = await connecting;
    await peer.message();
    await peer.message();
    await expect(client.request(pause, { dataset: 'a' })).rejects.toMatchObject({ code: 'UNKNOWN_REQUEST' });
    await expect(client.upgrade('shell')).rejects.toMatchObject({ code: 'UNKNOWN_REQUEST' });
    client.forceClose();
    expect(await peer.rest()).toEqual(Buffer.alloc(0));
  });

  test('a responder in version 1 does not know them', async () => {
    const [near, far] = memoryPair();
    void ByteStreamRPC.listen(far, { clientIdentity: 'web1', handler: customHandler(), maximumVersion: 1 });
    const peer = new ScriptedPeer(near);
    peer.send(encodeMessage('{"Type":1,"Id":[]}', 1000));
    peer.send(encodeMessage('{"ClientVersion":1}', 1000));
    await peer.message();
    for (const type of [0x80, 0x30]) {
      peer.send(encodeMessage(`{"Type":${type},"Id":[]}`, 1000));
      peer.send(encodeMessage('{"dataset":"a"}', 1000));
      const answer: unknown = JSON.parse((await peer.message())?.payload.toString() ?? '');
      expect(answer).toMatchObject({ ErrorId: 2 });
    }
    peer.end();
  });
});

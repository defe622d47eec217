import { describe, expect, test, vi } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import type { RequestContext, RPCHandler } from '../../src/rpc/interfaces.ts';
import { besieged, gauge, greeted } from '../support/hostile-peer.ts';
import { chunkOf, controlOf, framed, messageOf } from '../support/scripted-peer.ts';
import { idOf, request } from '../support/scripted-session.ts';
import { filesystem, sessionHandler } from '../support/session.ts';

const MiB = 1024 * 1024;
const clientIdentity = 'mallory';

function noting(more: Partial<RPCHandler> = {}) {
  const handled: string[] = [];
  return { handled, options: { clientIdentity, handler: { ...sessionHandler(handled), ...more } } };
}

const versions = (id: number): Buffer => request(0x11, idOf(id), { Filesystem: filesystem });
const transfer = (id: number): Buffer => request(0x12, idOf(id), { Filesystem: filesystem, FilesystemVersion: {} });

function length(value: number): Buffer {
  const header = Buffer.alloc(4);
  header.writeUInt32LE(value);
  return header;
}

describe('lengths that lie (scenario 5)', () => {
  const lengths: [number, string][] = [
    [64 * 1024 + 1, 'LIMIT_EXCEEDED'],
    [0x7fff_ffff, 'LIMIT_EXCEEDED'],
    [0x8000_0000, 'LIMIT_EXCEEDED'],
    [0xffff_ffff, 'LIMIT_EXCEEDED'],
    [64 * 1024, 'STREAM_TRUNCATED'],
  ];

  test.each(lengths)('a hello of %i announced bytes', async (announced, code) => {
    const watch = await gauge();
    const { handled, options } = noting();
    const { peer, served } = besieged(options);
    await peer.send(length(announced));
    peer.end();
    expect(await served).toMatchObject({ code });
    await watch.sample();
    expect(watch.grownBytesMax).toBeLessThan(MiB);
    expect(handled).toEqual([]);
  });

  test.each([
    [1024 * 1024 + 1, 'LIMIT_EXCEEDED'],
    [0x7fff_ffff, 'LIMIT_EXCEEDED'],
    [0x8000_0000 + 4097, 'LIMIT_EXCEEDED'],
    [0xffff_ffff, 'LIMIT_EXCEEDED'],
    [0x8000_0000 + 4096, 'STREAM_TRUNCATED'],
    [1024 * 1024, 'STREAM_TRUNCATED'],
  ])('a body of %i announced bytes', async (announced, code) => {
    const watch = await gauge();
    const { handled, options } = noting();
    const { peer, served } = await greeted(options);
    await peer.send(Buffer.concat([messageOf({ Type: 0x11, Id: idOf(1) }), length(announced)]));
    peer.end();
    expect(await served).toMatchObject({ code });
    await watch.sample();
    expect(watch.grownBytesMax).toBeLessThan(MiB);
    expect(handled).toEqual([]);
  });

  test('an empty header is answered as none, and ends it', async () => {
    const { peer, served } = await greeted(noting().options);
    await peer.send(length(0));
    expect(await peer.message()).toMatchObject({ ErrorId: 1, Code: 'PROTOCOL_VIOLATION' });
    expect(await served).toBeNull();
  });

  test('an empty body is answered as none, and the connection goes on', async () => {
    const { peer } = await greeted(noting().options);
    await peer.send(Buffer.concat([messageOf({ Type: 0x11, Id: idOf(1) }), length(0), versions(2)]));
    expect(await peer.message()).toMatchObject({ RequestId: idOf(1), ErrorId: 3, Code: 'INVALID_REQUEST' });
    expect(await peer.message()).toMatchObject({ RequestId: idOf(2), ErrorId: 0 });
    peer.vanish();
  });

  test('a body is read up to its limit and no further', async () => {
    const { peer, served } = await greeted(noting().options);
    await peer.send(messageOf({ Type: 0x11, Id: idOf(1) }));
    const piece = chunkOf(Buffer.alloc(32 * 1024, ' '));
    const taken = await peer.flood(() => piece, 320);
    expect(await served).toMatchObject({ code: 'LIMIT_EXCEEDED' });
    expect(taken * 32 * 1024).toBeLessThan(1.25 * MiB);
  });

  test('a header is taken at its limit and refused beyond', async () => {
    for (const surplus of [0, 1]) {
      const { peer, served } = await greeted(noting().options);
      const header = JSON.stringify({ Type: 0x11, Id: idOf(1) }).padEnd(64 * 1024 + surplus);
      await peer.send(Buffer.concat([messageOf(header), messageOf({ Filesystem: filesystem })]));
      const answer = await peer.message();
      if (surplus === 0) expect(answer).toMatchObject({ ErrorId: 0 });
      peer.vanish();
      expect(await served).toMatchObject({ code: surplus === 0 ? 'CONNECTION_LOST' : 'LIMIT_EXCEEDED' });
    }
  });
});

describe('JSON that hurts (scenario 5)', () => {
  const nested = (depth: number): string => `{"Filesystem":${'['.repeat(depth)}${']'.repeat(depth)}}`;
  test.each([
    ['nested 33 deep', nested(32)],
    ['nested a million deep', '['.repeat(1_000_000)],
    ['of 350,000 objects', `{"Filesystem":[${'{},'.repeat(349_000)}{}]}`],
    ['of 350,000 objects and one long number', `{"Filesystem":[${'{},'.repeat(349_000)}12345678901234567890]}`],
    ['of 500,000 names', `{"Filesystem":[${'0,'.repeat(500_000)}0]}`],
    ['that is no object', '"tank"'],
    ['that is no UTF-8', Buffer.from([0x7b, 0xff, 0xfe, 0x7d]).toString('latin1')],
  ])('a body %s is refused, and the connection goes on', async (_, body) => {
    const { handled, options } = noting();
    const { peer } = await greeted(options);
    await peer.send(Buffer.concat([messageOf({ Type: 0x11, Id: idOf(1) }), framed(Buffer.from(body, 'latin1'))]));
    expect(await peer.message()).toMatchObject({ RequestId: idOf(1), ErrorId: 3 });
    await peer.send(versions(2));
    expect(await peer.message()).toMatchObject({ RequestId: idOf(2), ErrorId: 0 });
    expect(handled).toEqual(['filesystemVersions']);
    peer.vanish();
  });

  test.each([
    '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"Filesystem":["a"]}',
    '{"Filesystem":["b"],"__proto__":{"Filesystem":["evil"]},"Guid":12345678901234567890,"Filesystem":["a"]}',
    '{"filesystem":["b"],"FILESYSTEM":["a"],"hasOwnProperty":1,"toString":null}',
  ])('%s asks for a and pollutes nothing', async (body) => {
    const asked: unknown[] = [];
    const { options } = noting({
      filesystemVersions: (asking) => {
        asked.push(asking);
        return Promise.resolve([]);
      },
    });
    const { peer } = await greeted(options);
    await peer.send(Buffer.concat([messageOf({ Type: 0x11, Id: idOf(1) }), messageOf(body)]));
    expect(await peer.message()).toMatchObject({ ErrorId: 0 });
    expect(asked).toEqual([{ filesystem: ['a'] }]);
    expect(Object.prototype).not.toHaveProperty('polluted');
    peer.vanish();
  });
});

describe('floods (scenarios 4, 18)', () => {
  const batch = (one: Buffer): Buffer => Buffer.concat(Array.from({ length: 1000 }, () => one));

  test.each([
    ['heartbeats', batch(controlOf()), 1000],
    ['cancels of requests there are not', batch(controlOf({ Cancel: idOf(9) })), 100],
    ['controls we do not know', batch(controlOf({ Later: { A: 1 } })), 100],
    ['progress, which is not ours to hear', batch(controlOf({ Progress: { Message: 'x', Done: 1 } })), 100],
  ])('%s without end cost nothing, and the next request is answered', async (_, thousand, count) => {
    const { peer } = await greeted(noting().options);
    await peer.send(thousand);
    const watch = await gauge();
    await peer.flood(() => thousand, count, watch);
    await peer.send(versions(1));
    expect(await peer.message()).toMatchObject({ RequestId: idOf(1), ErrorId: 0 });
    expect(watch.grownBytesMax).toBeLessThan(MiB);
    peer.vanish();
  });

  test('unknown requests, undecodable bodies and hellos without end are each answered', async () => {
    const { peer } = await greeted(noting().options);
    const three = Buffer.concat([
      request(0x55, idOf(1), {}),
      Buffer.concat([messageOf({ Type: 0x10, Id: idOf(2) }), messageOf('nonsense')]),
      request(0x01, idOf(3), { ClientVersion: 1, MaxVersion: 255 }),
    ]);
    for (let round = 0; round < 300; round++) {
      await peer.send(three);
      expect([await peer.message(), await peer.message(), await peer.message()]).toMatchObject([
        { RequestId: idOf(1), ErrorId: 2 },
        { RequestId: idOf(2), ErrorId: 3 },
        { RequestId: idOf(3), ErrorId: 0 },
      ]);
    }
    peer.vanish();
  });

  test('requests ahead are held up to the limits, however long their bodies', async () => {
    let release = (): void => undefined;
    const { options } = noting({
      filesystemVersions: () => new Promise((resolve) => (release = () => resolve([]))),
    });
    const watch = await gauge();
    const { peer, served } = await greeted(options);
    const body = `{"Filesystem":["a"],"X":[${'{},'.repeat(30_000)}{}]}`.padEnd(MiB - 10);
    const long = Buffer.concat([messageOf({ Type: 0x11, Id: idOf(1) }), messageOf(body)]);
    const flooding = peer.flood(() => long, 64);
    await vi.waitFor(() => expect(peer.sentBytes).toBeGreaterThan(2 * MiB));
    for (let turns = 0; turns < 200; turns++) await new Promise((resolve) => setImmediate(resolve));
    await watch.sample();
    expect(peer.sentBytes).toBeLessThan(6 * MiB);
    expect(watch.grownBytesMax).toBeLessThan(64 * MiB);
    peer.vanish();
    release();
    await flooding;
    expect(await served).toMatchObject({ code: 'CONNECTION_LOST' });
  });

  test('requests each cancelled at once are each answered, and no more than a few handlers run at a time', async () => {
    let running = 0;
    let most = 0;
    const deaf = async (): Promise<never> => {
      most = Math.max(most, ++running);
      // Does not listen to its signal, and takes its time.
      for (let turns = 0; turns < 50; turns++) await new Promise((resolve) => setImmediate(resolve));
      running--;
      throw new SnapferryError('INTERNAL', 'too late');
    };
    const { peer, served } = await greeted(noting({ filesystemVersions: deaf }).options);
    const requestsTotal = 500;
    const answering = (async () => {
      const codes = new Set<unknown>();
      for (let count = 0; count < requestsTotal; count++) codes.add((await peer.message())?.['Code']);
      return codes;
    })();
    await peer.flood((n) => Buffer.concat([versions(n % 200), controlOf({ Cancel: idOf(n % 200) })]), requestsTotal);
    expect(await answering).toEqual(new Set(['CANCELLED']));
    expect(most).toBeLessThanOrEqual(16);
    peer.vanish();
    await served;
  });

  test('a double cancel, and one that comes after the answer, change nothing', async () => {
    const { peer } = await greeted(noting().options);
    const cancel = controlOf({ Cancel: idOf(1) });
    await peer.send(versions(1));
    expect(await peer.message()).toMatchObject({ ErrorId: 0 });
    await peer.send(Buffer.concat([cancel, cancel, versions(2)]));
    expect(await peer.message()).toBeInstanceOf(Array);
    expect(await peer.message()).toMatchObject({ RequestId: idOf(2), ErrorId: 0 });
    expect(await peer.message()).toBeInstanceOf(Array);
    peer.vanish();
  });
});

describe('a peer that never reads', () => {
  test.each([1, 2])('does not make the server of version %i grow, whatever it asks', async (MaxVersion) => {
    const contexts: RequestContext[] = [];
    const large = Array.from({ length: 1000 }, (_, n) => ['a', `dataset ${n}`]);
    const { options } = noting({
      filesystems: (_, context) => {
        contexts.push(context);
        context.progress({ message: 'x'.repeat(4000), done: 1, total: 2 });
        return Promise.resolve(large);
      },
    });
    const { peer, served } = await greeted(options, { MaxVersion });
    peer.stopReading();
    const watch = await gauge();
    const flooding = peer.flood((n) => request(0x10, idOf(n % 200), {}), 20_000);
    let last = -1;
    while (peer.sentBytes !== last) {
      last = peer.sentBytes;
      for (let turns = 0; turns < 100; turns++) await new Promise((resolve) => setImmediate(resolve));
    }
    for (let news = 0; news < 10_000; news++) contexts.at(-1)?.progress({ message: 'y', done: news, total: null });
    await watch.sample();
    // 64 KiB of answers wait in the connection, and each has 20.
    expect(contexts.length).toBeLessThan(20);
    expect(watch.grownBytesMax).toBeLessThan(2 * MiB);
    peer.vanish();
    expect(await flooding).toBeLessThan(2000);
    expect(await served).toMatchObject({ code: 'CONNECTION_LOST' });
  });

  test.each([1, 2])('holds a transfer of version %i up, and loses it after the write timeout', async (MaxVersion) => {
    let given = 0;
    let closed = 0;
    async function* endless(): AsyncGenerator<Uint8Array> {
      try {
        for (;;) {
          await Promise.resolve();
          given++;
          yield Buffer.alloc(64 * 1024);
        }
      } finally {
        closed++;
      }
    }
    const { options } = noting({
      initialTransfer: () => Promise.resolve({ format: null, estimatedBytes: null, resumed: false, bytes: endless() }),
    });
    const { peer, served } = await greeted({ ...options, limits: { writeMsMax: 40 } }, { MaxVersion });
    peer.stopReading();
    await peer.send(transfer(1));
    expect(await served).toMatchObject({ code: 'TIMEOUT' });
    expect(given).toBeLessThan(10);
    expect(closed).toBe(1);
  });
});

describe('bytes nobody asked for (scenario 4)', () => {
  test('an upload behind a request is no request', async () => {
    const { handled, options } = noting();
    const { peer, served } = await greeted(options);
    const upload = Array.from({ length: 200 }, () => chunkOf(Buffer.alloc(32 * 1024, 0x5a)));
    await peer.send(versions(1));
    const taken = await peer.flood((n) => upload[n]!, 200);
    expect(await served).toMatchObject({ code: 'LIMIT_EXCEEDED' });
    expect(taken).toBeLessThan(10);
    expect(handled).toEqual(['filesystemVersions']);
  });

  test('a short one is answered as no header, and ends it', async () => {
    const { peer, served } = await greeted(noting().options);
    await peer.send(Buffer.concat([versions(1), framed(Buffer.from('payload of an upload'))]));
    await peer.until('"RequestId":[1,1');
    await peer.until('\n\0\0\0\0');
    await peer.message();
    expect(await peer.message()).toMatchObject({ ErrorId: 1 });
    expect(await served).toBeNull();
  });

  test('requests behind a transfer are answered after it, in order', async () => {
    const { handled, options } = noting();
    const { peer } = await greeted(options);
    await peer.send(Buffer.concat([transfer(1), versions(2), transfer(3), versions(4)]));
    for (const id of [1, 2, 3, 4]) expect(await peer.until(`"RequestId":[${id},${id}`)).not.toBeNull();
    expect(handled).toEqual(['initialTransfer', 'filesystemVersions', 'initialTransfer', 'filesystemVersions']);
    peer.vanish();
  });

  test('a goodbye with requests behind it is the end', async () => {
    const { handled, options } = noting();
    const { peer, served } = await greeted(options);
    await peer.send(Buffer.concat([request(0xf0, idOf(1), { Goodbye: 'bye' }), versions(2)]));
    expect(await peer.message()).toMatchObject({ RequestId: idOf(1), ErrorId: 0 });
    expect(await served).toBeNull();
    expect(handled).toEqual([]);
  });

  test('the answer to a question, sent by who should ask, is a request of no known type', async () => {
    const { handled, options } = noting();
    const { peer, served } = await greeted(options);
    await peer.send(messageOf({ RequestId: idOf(1), ErrorId: 0, ResponseType: 0x10 }));
    await peer.send(messageOf([filesystem]));
    expect(await peer.message()).toMatchObject({ ErrorId: 2, Code: 'UNKNOWN_REQUEST' });
    peer.end();
    expect(await served).toBeNull();
    expect(handled).toEqual([]);
  });
});

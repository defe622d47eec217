import { afterEach, describe, expect, test, vi } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import { answerCustom, customCall } from '../../src/rpc/custom-requests.ts';
import type { RPCHandler } from '../../src/rpc/interfaces.ts';
import { besieged, gauge, greeted, type HostilePeer } from '../support/hostile-peer.ts';
import { chunkOf, framed, messageOf } from '../support/scripted-peer.ts';
import { idOf, request } from '../support/scripted-session.ts';
import { filesystem, sessionHandler } from '../support/session.ts';

afterEach(() => {
  vi.useRealTimers();
});

const MiB = 1024 * 1024;
const second = 1000;
const anything = (value: unknown): unknown => value;
const store = customCall({ type: 0x80, name: 'Store', request: anything as never, answer: 'ok', upload: true });
const ignore = customCall({ type: 0x81, name: 'Ignore', request: anything as never, answer: 'ok', upload: true });

/** What became of each upload: its bytes, or the code of what was wrong with it. */
function storing() {
  const uploads: unknown[] = [];
  const handler: RPCHandler = {
    ...sessionHandler([]),
    custom: [
      answerCustom(store, async (_, __, upload) => {
        try {
          let bytes = 0;
          for await (const piece of upload) bytes += piece.byteLength;
          uploads.push(bytes);
        } catch (error) {
          uploads.push(error instanceof SnapferryError ? error.code : error);
          throw error;
        }
      }),
      answerCustom(ignore, () => Promise.resolve()),
    ],
  };
  return { uploads, options: { clientIdentity: 'mallory', handler } };
}

const header = (type: number, id: number): Buffer => messageOf({ Type: type, Id: idOf(id), Upload: true });
const asking = (type: number, id: number): Buffer => Buffer.concat([header(type, id), messageOf({})]);
const trailer = (fields: object = {}): Buffer =>
  messageOf({ ErrorId: 0, Bytes: 5, Digest: { Algorithm: 'xxh64', Value: '26c7827d889f6da3' }, ...fields });
const upload = framed(Buffer.from('hello'));
const versions = request(0x11, idOf(9), { Filesystem: filesystem });

/** Asks for something harmless, and gets it: the connection is in step. */
async function expectInStep(peer: HostilePeer): Promise<void> {
  await peer.send(versions);
  expect(await peer.message()).toMatchObject({ RequestId: idOf(9), ErrorId: 0 });
  expect(await peer.message()).toHaveLength(2);
}

describe('an upload (scenario 4)', () => {
  test('that is whole is taken', async () => {
    const { uploads, options } = storing();
    const { peer } = await greeted(options);
    await peer.send(Buffer.concat([asking(0x80, 1), upload, trailer()]));
    expect(await peer.message()).toMatchObject({ RequestId: idOf(1), ErrorId: 0 });
    expect(uploads).toEqual([5]);
    await expectInStep(peer);
    peer.vanish();
  });

  test.each([
    ['a wrong digest', trailer({ Digest: { Algorithm: 'xxh64', Value: 'ef46db3751d8e999' } }), 'DIGEST_MISMATCH'],
    ['no digest', trailer({ Digest: null }), 'DIGEST_MISMATCH'],
    ['a wrong count', trailer({ Bytes: 6 }), 'DIGEST_MISMATCH'],
    ['an error in its trailer', trailer({ ErrorId: 5, Code: 'SOURCE_FAILED' }), 'SOURCE_FAILED'],
    ['no trailer', versions, 'PROTOCOL_VIOLATION'],
  ])('with %s is never whole', async (what, end, code) => {
    const { uploads, options } = storing();
    const { peer, served } = await greeted(options);
    await peer.send(Buffer.concat([asking(0x80, 1), upload, end]));
    if (what === 'an error in its trailer') {
      expect(await peer.message()).toMatchObject({ RequestId: idOf(1), Code: code });
      await expectInStep(peer);
      peer.vanish();
    }
    const failure = await served;
    expect(uploads).toHaveLength(1);
    expect(uploads).not.toEqual([5]);
    if (code === 'DIGEST_MISMATCH') expect(failure).toMatchObject({ code });
    else expect(failure).toBeInstanceOf(SnapferryError);
  });

  test('cut off anywhere is never whole', async () => {
    const whole = Buffer.concat([asking(0x80, 1), upload, trailer()]);
    for (let cut = 1; cut < whole.length; cut += 7) {
      const { uploads, options } = storing();
      const { peer, served } = await greeted(options);
      await peer.send(whole.subarray(0, cut));
      peer.end();
      expect(await served).toBeInstanceOf(SnapferryError);
      expect(uploads.filter((outcome) => typeof outcome === 'number')).toEqual([]);
    }
  });

  test.each([
    ['to a request that takes none', asking(0x11, 1), { ErrorId: 3, Code: 'INVALID_REQUEST' }],
    ['to a request nobody knows', asking(0xaa, 1), { ErrorId: 2, Code: 'UNKNOWN_REQUEST' }],
    ['to a handler that does not want it', asking(0x81, 1), { ErrorId: 0 }],
  ])('%s is read away without being kept, and the connection goes on', async (_, ask, answer) => {
    const { uploads, options } = storing();
    const { peer } = await greeted(options);
    await peer.send(ask);
    const watch = await gauge();
    const piece = chunkOf(Buffer.alloc(64 * 1024, 7));
    await peer.flood(() => piece, 512, watch);
    await peer.send(Buffer.concat([Buffer.alloc(4), trailer({ Bytes: 512 * 64 * 1024, Digest: null })]));
    expect(await peer.message()).toMatchObject({ RequestId: idOf(1), ...answer });
    expect(watch.grownBytesMax).toBeLessThan(MiB);
    await expectInStep(peer);
    expect(uploads).toEqual([]);
    peer.vanish();
  });

  test.each([
    ['to a request that takes none', asking(0x11, 1)],
    ['to a request nobody knows', asking(0xaa, 1)],
    ['to a handler that does not want it', asking(0x81, 1)],
  ])('%s that goes on for ever loses the connection', async (_, ask) => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
    const { peer, served } = await greeted(storing().options);
    const state = { isOver: false };
    void served.then(() => (state.isOver = true));
    await peer.send(ask);
    const piece = chunkOf(Buffer.alloc(1024, 7));
    for (let seconds = 0; !state.isOver; seconds++) {
      expect(seconds).toBeLessThan(33);
      await peer.send(piece);
      await vi.advanceTimersByTimeAsync(second);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await served).toMatchObject({ code: 'TIMEOUT' });
  });

  test('in version 1, where there are none, is no request', async () => {
    const { uploads, options } = storing();
    const { peer, served } = await greeted(options, { MaxVersion: 1 });
    await peer.send(Buffer.concat([asking(0x80, 1), upload, trailer()]));
    expect(await peer.message()).toMatchObject({ ErrorId: 2 });
    expect(await peer.message()).toMatchObject({ ErrorId: 1 });
    expect(await served).toBeNull();
    expect(uploads).toEqual([]);
  });
});

describe('an upgrade', () => {
  test('before the hello, to nothing, to a long name and to one that is none, is refused', async () => {
    const { peer: stranger, served } = besieged(storing().options);
    await stranger.send(request(0x30, idOf(1), { Protocol: 'shell' }));
    expect(await stranger.message()).toMatchObject({ ErrorId: 4 });
    expect(await served).toBeNull();
    const { peer } = await greeted(storing().options);
    for (const Protocol of ['shell', '', 'x'.repeat(100_000), '\u001b[2J', 42]) {
      await peer.send(request(0x30, idOf(1), { Protocol }));
      const answer = await peer.message();
      expect([2, 3, 5]).toContain(answer?.['ErrorId']);
      expect(JSON.stringify(answer).length).toBeLessThan(10_000);
    }
    await expectInStep(peer);
    peer.vanish();
  });
});

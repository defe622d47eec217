import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { answerCustom, customCall } from '../../src/rpc/custom-requests.ts';
import { chunkOf, controlOf, messageOf, type ScriptedPeer } from '../support/scripted-peer.ts';
import {
  answerTo,
  idOf,
  nextJSON,
  nextRequest,
  request,
  scriptedRequester,
  scriptedResponder,
} from '../support/scripted-session.ts';
import { moment } from '../support/server-fixture.ts';
import { filesystem, sessionHandler } from '../support/session.ts';
import { hang, turn } from '../support/transfers.ts';

const ask = { roots: null };
const end = Buffer.alloc(4);
const digest = { Algorithm: 'xxh64', Value: '26c7827d889f6da3' };
const stream = Buffer.concat([chunkOf(Buffer.from('hello')), end, messageOf({ ErrorId: 0, Bytes: 5, Digest: digest })]);
const ping = customCall({ type: 0x80, name: 'Ping', request: z.null(), answer: 'ok' });
const fetch = customCall({ type: 0x81, name: 'Fetch', request: z.null(), answer: 'stream' });
const store = customCall({ type: 0x82, name: 'Store', request: z.null(), answer: 'ok', upload: true });

const okTo = (id: number[]): Buffer => answerTo(id, { ResponseType: 1 });
const listTo = (id: number[]): Buffer => Buffer.concat([answerTo(id, { ResponseType: 0x10 }), messageOf([filesystem])]);

/** Types of the requests that have been written, without uploads behind them. */
async function written(peer: ScriptedPeer): Promise<{ types: number[]; ids: number[][] }> {
  await turn();
  const [types, ids]: [number[], number[][]] = [[], []];
  while (peer.untaken.byteLength > 0) {
    const { type, id } = (await nextRequest(peer))!;
    types.push(type);
    ids.push(id);
  }
  return { types, ids };
}

describe('custom calls without a stream', () => {
  test('are written ahead, among others', async () => {
    const { client, peer } = await scriptedResponder();
    const asked = [
      client.request(ping, null),
      client.filesystems(ask),
      client.request(ping, null),
      client.filesystems(ask),
    ];
    const { types, ids } = await written(peer);
    expect(types).toEqual([0x80, 0x10, 0x80, 0x10]);
    peer.send(Buffer.concat([okTo(ids[0]!), listTo(ids[1]!), okTo(ids[2]!), listTo(ids[3]!)]));
    expect(await Promise.all(asked)).toEqual([undefined, [filesystem], undefined, [filesystem]]);
    client.forceClose();
  });

  test('take no upload', async () => {
    const { client, peer } = await scriptedResponder();
    const upload = (async function* () {})();
    await expect(client.request(ping, null, { upload })).rejects.toThrow(
      new TypeError('custom request Ping has no upload'),
    );
    expect(peer.untaken).toHaveLength(0);
    client.forceClose();
  });
});

describe('a custom call with a stream', () => {
  test('that is cancelled before its answer has begun does not keep the connection', async () => {
    const { client, peer } = await scriptedResponder();
    const abort = new AbortController();
    const asked = client.request(fetch, null, { signal: abort.signal });
    const { id } = (await nextRequest(peer))!;
    abort.abort();
    await expect(asked).rejects.toMatchObject({ code: 'CANCELLED', message: 'Fetch was cancelled' });
    await turn();
    expect(peer.untaken).toEqual(controlOf({ Cancel: id }));
    peer.skip(peer.untaken.byteLength);
    peer.send(Buffer.concat([answerTo(id, { ResponseType: 0x20 }), stream]));
    await turn();
    peer.skip(peer.untaken.byteLength);
    const next = client.filesystems(ask);
    peer.send(listTo((await nextRequest(peer))!.id));
    expect(await next).toEqual([filesystem]);
    client.forceClose();
  });
});

describe('a call with an upload', () => {
  test('waits until all others are over, and nothing is written behind it', async () => {
    const { client, peer } = await scriptedResponder();
    const first = client.filesystems(ask);
    const stored = client.request(store, null);
    const last = client.request(ping, null);
    const before = await written(peer);
    expect(before.types).toEqual([0x10]);
    peer.send(listTo(before.ids[0]!));
    await first;
    const { type, id } = (await nextRequest(peer))!;
    expect(type).toBe(0x82);
    expect((await peer.message())!.payload).toHaveLength(0);
    expect(await nextJSON(peer)).toMatchObject({ ErrorId: 0, Bytes: 0 });
    await turn();
    expect(peer.untaken).toHaveLength(0);
    peer.send(okTo(id));
    await stored;
    peer.send(okTo((await nextRequest(peer))!.id));
    await last;
    client.forceClose();
  });

  test('whose source fails, fails with that, and the peer is told no more than it may know', async () => {
    const { client, peer } = await scriptedResponder();
    const upload = (async function* () {
      await turn();
      yield Buffer.from('hello');
      throw new Error('EIO: /root/.secret');
    })();
    const asked = client.request(store, null, { upload });
    const { id } = (await nextRequest(peer))!;
    expect((await peer.message())!.payload.toString()).toBe('hello');
    const trailer = await nextJSON(peer);
    expect(trailer).toMatchObject({ ErrorId: 5, Code: 'SOURCE_FAILED', Bytes: 5 });
    expect(JSON.stringify(trailer)).not.toContain('secret');
    peer.send(answerTo(id, { ErrorId: 5, Code: 'INVALID_REQUEST', Message: 'half an upload', ResponseType: 0 }));
    await expect(asked).rejects.toMatchObject({ code: 'SOURCE_FAILED', fromPeer: false });
    await expect(asked).rejects.toThrow('EIO: /root/.secret');
    client.forceClose();
  });

  test('that is answered before its end tells the peer that the rest is not needed', async () => {
    const { client, peer } = await scriptedResponder();
    const closed = moment();
    const upload = (async function* () {
      try {
        for (;;) {
          await turn();
          yield Buffer.from('more');
        }
      } finally {
        closed.resolve();
      }
    })();
    const asked = client.request(store, null, { upload });
    const { id } = (await nextRequest(peer))!;
    peer.send(answerTo(id, { ErrorId: 5, Code: 'BUSY', Message: 'not now', ResponseType: 0 }));
    await expect(asked).rejects.toMatchObject({ code: 'BUSY', fromPeer: true });
    await closed.promise;
    await peer.message();
    const message = 'the rest of the upload is not needed';
    expect(await nextJSON(peer)).toMatchObject({ ErrorId: 7, Code: 'CANCELLED', Message: message });
    client.forceClose();
  });
});

describe('an upgrade', () => {
  test('is written when all others are over, and nothing behind it', async () => {
    const { client, peer } = await scriptedResponder();
    const first = client.filesystems(ask);
    const upgrading = client.upgrade('shell');
    const last = client.filesystems(ask);
    last.catch(() => undefined);
    const before = await written(peer);
    expect(before.types).toEqual([0x10]);
    peer.send(listTo(before.ids[0]!));
    await first;
    const { type, id, body } = (await nextRequest(peer))!;
    expect([type, body]).toEqual([0x30, { Protocol: 'shell' }]);
    await turn();
    expect(peer.untaken).toHaveLength(0);
    peer.send(okTo(id));
    const bare = await upgrading;
    await expect(last).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
    await bare.write(Buffer.from('raw'));
    await turn();
    expect(peer.untaken.toString()).toBe('raw');
    await bare.close();
  });

  test('that is confirmed to a caller who has left drops the stream', async () => {
    const { client, peer } = await scriptedResponder();
    const abort = new AbortController();
    const upgrading = client.upgrade('shell', { signal: abort.signal });
    const { id } = (await nextRequest(peer))!;
    abort.abort();
    await expect(upgrading).rejects.toMatchObject({ code: 'CANCELLED' });
    peer.send(okTo(id));
    expect(await peer.rest()).toHaveLength(0);
  });
});

describe('what a responder makes of uploads', () => {
  const custom = [answerCustom(ping, () => Promise.resolve())];

  test('a version-1 peer has none, whatever its header says', async () => {
    const handler = { ...sessionHandler([]), custom };
    const { peer } = await scriptedRequester({ clientIdentity: 'tester', handler }, { ClientVersion: 1 });
    for (const id of [2, 3]) {
      peer.send(Buffer.concat([messageOf({ Type: 0x10, Id: idOf(id), Upload: true }), messageOf({ Roots: null })]));
      expect(await nextJSON(peer)).toMatchObject({ RequestId: idOf(id), ErrorId: 0 });
      expect(await nextJSON(peer)).toEqual([filesystem]);
    }
    peer.abort();
  });

  test('one that is cancelled is told to its reader by name', async () => {
    const [begun, told] = [moment(), moment<unknown>()];
    const storing = answerCustom(store, async (_request, _context, upload) => {
      begun.resolve();
      try {
        for await (const piece of upload) expect(piece.byteLength).toBe(5);
      } catch (error) {
        told.resolve(error);
        throw error;
      }
    });
    const handler = { ...sessionHandler([]), custom: [storing] };
    const { peer } = await scriptedRequester({ clientIdentity: 'tester', handler });
    const header = messageOf({ Type: 0x82, Id: idOf(2), Upload: true });
    peer.send(Buffer.concat([header, messageOf(null), chunkOf(Buffer.from('hello'))]));
    await begun.promise;
    await turn();
    peer.end();
    const message = expect.stringMatching(/the upload of Store|ended by the requester|inside a stream/) as string;
    expect(await told.promise).toMatchObject({ code: 'STREAM_TRUNCATED', message });
  });
});

test('a requester that ends the connection is the reason a handler is given', async () => {
  const hanging = hang();
  const reasons: unknown[] = [];
  const handler = {
    ...sessionHandler([]),
    filesystems: (_: unknown, context: Parameters<typeof hanging.until>[0]) => {
      context.signal.addEventListener('abort', () => reasons.push(context.signal.reason));
      return hanging.until(context);
    },
  };
  const { peer } = await scriptedRequester({ clientIdentity: 'tester', handler });
  peer.send(request(0x10, idOf(2), { Roots: null }));
  await hanging.begun;
  peer.end();
  await hanging.stopped;
  const message = expect.stringMatching(/ was ended by the requester$/) as string;
  expect(reasons).toMatchObject([{ code: 'CONNECTION_LOST', message }]);
});

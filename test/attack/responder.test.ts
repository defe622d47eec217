import { describe, expect, test } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import type { Transfer } from '../../src/rpc/interfaces.ts';
import { gauge, lured, nextId, trapped } from '../support/hostile-peer.ts';
import { bytesOf } from '../support/recorded.ts';
import { chunkOf, controlOf, framed, messageOf } from '../support/scripted-peer.ts';
import { answerTo, idOf, request } from '../support/scripted-session.ts';
import { filesystem, sessionHandler } from '../support/session.ts';
import { initial } from '../support/transfers.ts';

const MiB = 1024 * 1024;
const ask = { filesystem };

function length(value: number): Buffer {
  const header = Buffer.alloc(4);
  header.writeUInt32LE(value);
  return header;
}

/** How a promise ended: its value, or its error. */
async function outcome(promise: Promise<unknown>): Promise<unknown> {
  return promise.catch((error: unknown) => error);
}

describe('lengths that lie (scenario 5)', () => {
  test.each([
    [64 * 1024 + 1, 'LIMIT_EXCEEDED'],
    [0x7fff_ffff, 'LIMIT_EXCEEDED'],
    [0x8000_0000, 'LIMIT_EXCEEDED'],
    [0xffff_ffff, 'LIMIT_EXCEEDED'],
    [64 * 1024, 'STREAM_TRUNCATED'],
    [0, 'PROTOCOL_VIOLATION'],
  ])('an answer to the hello of %i announced bytes', async (announced, code) => {
    const { peer, connecting } = lured();
    await peer.send(length(announced));
    peer.end();
    expect(await outcome(connecting)).toMatchObject({ code });
  });

  test.each([
    [64 * MiB + 1, 'LIMIT_EXCEEDED'],
    [0x7fff_ffff, 'LIMIT_EXCEEDED'],
    [0x8000_0000 + 4097, 'LIMIT_EXCEEDED'],
    [0xffff_ffff, 'LIMIT_EXCEEDED'],
    [64 * MiB, 'STREAM_TRUNCATED'],
    [0, 'PROTOCOL_VIOLATION'],
  ])('a body of %i announced bytes', async (announced, code) => {
    const watch = await gauge();
    const { peer, client } = await trapped();
    const asked = client.filesystemVersions(ask);
    await peer.send(Buffer.concat([answerTo(await nextId(peer), { ResponseType: 0x11 }), length(announced)]));
    peer.end();
    expect(await outcome(asked)).toMatchObject({ code, connectionDead: true });
    await watch.sample();
    expect(watch.grownBytesMax).toBeLessThan(MiB);
  });

  test.each([
    [0x7fff_ffff, 'STREAM_TRUNCATED'],
    [0x8000_0000 + 4097, 'LIMIT_EXCEEDED'],
    [0xffff_ffff, 'LIMIT_EXCEEDED'],
  ])('a stream whose chunk announces %i bytes allocates none, and is never whole', async (announced, code) => {
    const watch = await gauge();
    const { peer, client } = await trapped();
    const asked = client.initialTransfer(initial);
    await peer.send(Buffer.concat([answerTo(await nextId(peer), { ResponseType: 0x20 }), length(announced)]));
    await peer.send(Buffer.alloc(100));
    peer.end();
    expect(await outcome(asked.then(bytesOf))).toMatchObject({ code });
    await watch.sample();
    expect(watch.grownBytesMax).toBeLessThan(MiB);
  });
});

describe('answers without end (scenario 5)', () => {
  test('a banner is read in part, and quoted', async () => {
    const { peer, connecting } = lured();
    const taken = await peer.flood(() => Buffer.from('Welcome to example.org! '.repeat(1000)), 1000);
    expect(await outcome(connecting)).toMatchObject({ code: 'CONNECT_FAILED', retryable: false });
    expect(((await outcome(connecting)) as Error).message).toMatch(/Welcome to example\.org!/);
    expect(taken).toBeLessThan(20);
  });

  test('a header', async () => {
    const { peer, client } = await trapped();
    const asked = outcome(client.filesystemVersions(ask));
    const taken = await peer.flood(() => chunkOf(Buffer.alloc(1024, ' ')), 10_000);
    expect(await asked).toMatchObject({ code: 'LIMIT_EXCEEDED' });
    expect(taken).toBeLessThan(3 * 64);
  });

  test('a body, ten times as long as allowed', async () => {
    const { peer, client } = await trapped({ limits: { responseBodyBytesMax: 2 * MiB } });
    const asked = outcome(client.filesystemVersions(ask));
    await peer.send(answerTo(await nextId(peer), { ResponseType: 0x11 }));
    const taken = await peer.flood(() => chunkOf(Buffer.alloc(64 * 1024, ' ')), 320);
    expect(await asked).toMatchObject({ code: 'LIMIT_EXCEEDED' });
    expect(taken * 64 * 1024).toBeLessThan(2.25 * MiB);
  });

  test.each([
    ['of nothing but {}', '{},'],
    ['of versions without names', '{"Guid":1},'],
  ])('64 MiB %s are refused before they fill the memory', async (_, unit) => {
    const watch = await gauge();
    const { peer, client } = await trapped();
    const asked = outcome(client.filesystemVersions(ask));
    await peer.send(answerTo(await nextId(peer), { ResponseType: 0x11 }));
    const piece = chunkOf(Buffer.from(unit.repeat(Math.floor(MiB / unit.length))));
    await peer.send(chunkOf(Buffer.from('[')));
    await peer.flood(() => piece, 63);
    await peer.send(framed(Buffer.from(`${unit.slice(0, -1)}]`)));
    expect(await asked).toMatchObject({ code: 'LIMIT_EXCEEDED' });
    await watch.sample();
    expect(watch.grownBytesMax).toBeLessThan(4 * MiB);
  });

  test('a message in chunks of one byte', async () => {
    const watch = await gauge();
    const { peer, client } = await trapped();
    const asked = outcome(client.filesystemVersions(ask));
    await peer.send(answerTo(await nextId(peer), { ResponseType: 0x11 }));
    const blanks = Buffer.concat(Array.from({ length: 1000 }, () => chunkOf(Buffer.from(' '))));
    await peer.flood(() => blanks, 100, watch);
    await peer.send(framed(Buffer.from('[]')));
    expect(await asked).toEqual([]);
    expect(watch.grownBytesMax).toBeLessThan(4 * MiB);
  });

  test('a stream in chunks of one byte', async () => {
    const watch = await gauge();
    const { peer, client } = await trapped({}, { Digest: '' });
    const asked = client.initialTransfer(initial);
    await peer.send(answerTo(await nextId(peer), { ResponseType: 0x20 }));
    const counted = asked.then(countBytes);
    const dots = Buffer.concat(Array.from({ length: 1000 }, () => chunkOf(Buffer.from('.'))));
    await peer.flood(() => dots, 100, watch);
    await peer.send(Buffer.concat([Buffer.alloc(4), messageOf({ Bytes: 100_000 })]));
    expect(await counted).toBe(100_000);
    expect(watch.grownBytesMax).toBeLessThan(4 * MiB);
  });
});

async function countBytes({ bytes }: Transfer): Promise<number> {
  let count = 0;
  for await (const piece of bytes) count += piece.byteLength;
  return count;
}

describe('floods (scenario 4)', () => {
  const batch = (one: Buffer): Buffer => Buffer.concat(Array.from({ length: 1000 }, () => one));

  test.each([
    ['heartbeats', batch(controlOf())],
    ['progress', batch(controlOf({ Progress: { Message: 'almost there', Done: 1, Total: 2 } }))],
    ['cancels, which are not ours to hear', batch(controlOf({ Cancel: idOf(1) }))],
    ['controls we do not know', batch(controlOf({ Later: [1, 2, 3] }))],
  ])('%s without end cost nothing, before an answer and in a stream', async (what, thousand) => {
    const { peer, client } = await trapped({}, { Digest: '' });
    let news = 0;
    const onProgress = (): void => {
      news++;
    };
    const asked = client.initialTransfer(initial, { onProgress });
    const id = await nextId(peer);
    await peer.send(thousand);
    const watch = await gauge();
    await peer.flood(() => thousand, 30, watch);
    await peer.send(answerTo(id, { ResponseType: 0x20 }));
    const counted = asked.then(countBytes);
    await peer.flood(() => thousand, 30, watch);
    await peer.send(Buffer.concat([framed(Buffer.from('hello')), messageOf({ Bytes: 5 })]));
    expect(await counted).toBe(5);
    expect(news).toBe(what === 'progress' ? 61_000 : 0);
    expect(watch.grownBytesMax).toBeLessThan(2 * MiB);
    client.forceClose();
  });

  test('heartbeats without an answer: the caller is let go when its time is up', async () => {
    const { peer, client } = await trapped();
    const asked = outcome(client.filesystemVersions(ask, { timeoutMs: 30 }));
    const state = { isOver: false };
    const flooding = (async () => {
      while (!state.isOver && (await peer.send(controlOf()))) await new Promise((resolve) => setImmediate(resolve));
    })();
    expect(await asked).toMatchObject({ code: 'TIMEOUT', connectionDead: false });
    state.isOver = true;
    await flooding;
    client.forceClose();
  });
});

describe('answers that are none (scenario 4)', () => {
  test.each([
    ['an answer', Buffer.concat([answerTo(idOf(7), { ResponseType: 0x11 }), messageOf([])])],
    ['an answer to nobody', Buffer.concat([answerTo(idOf(0), { ResponseType: 0x11 }), messageOf([])])],
    ['a request', request(0x11, idOf(7), ask)],
    ['a stream', framed(Buffer.from('some payload'))],
    ['a trailer', messageOf({ Bytes: 5, Digest: { Algorithm: 'xxh64', Value: '26c7827d889f6da3' } })],
    ['a list', messageOf([[1, 2, 3]])],
    ['null', messageOf(null)],
  ])('%s before any question is no answer to the first', async (_, unasked) => {
    const { peer, client } = await trapped();
    await peer.send(unasked);
    const asked = await outcome(client.filesystemVersions(ask));
    expect(asked).toMatchObject({ code: 'PROTOCOL_VIOLATION', connectionDead: true });
    expect(await outcome(client.filesystemVersions(ask))).toBe(asked);
  });

  test('an answer given twice is no answer to the next question', async () => {
    const { peer, client } = await trapped();
    const asked = client.filesystemVersions(ask);
    const answer = Buffer.concat([answerTo(await nextId(peer), { ResponseType: 0x11 }), messageOf([])]);
    await peer.send(Buffer.concat([answer, answer]));
    expect(await asked).toEqual([]);
    expect(await outcome(client.filesystemVersions(ask))).toMatchObject({ code: 'PROTOCOL_VIOLATION' });
  });

  test('two trailers, or bytes behind a transfer, are no answer either', async () => {
    for (const surplus of [messageOf({ Bytes: 5 }), framed(Buffer.from('more')), Buffer.alloc(4)]) {
      const { peer, client } = await trapped({}, { Digest: '' });
      const asked = client.initialTransfer(initial);
      const header = answerTo(await nextId(peer), { ResponseType: 0x20 });
      await peer.send(Buffer.concat([header, framed(Buffer.from('hello')), messageOf({ Bytes: 5 }), surplus]));
      expect(await asked.then(bytesOf)).toEqual(Buffer.from('hello'));
      expect(await outcome(client.filesystemVersions(ask))).toMatchObject({ code: 'PROTOCOL_VIOLATION' });
    }
  });

  test('answers in another order than the questions', async () => {
    const { peer, client } = await trapped();
    const asked = [client.filesystemVersions(ask), client.filesystemVersions(ask)];
    const [first, second] = [await nextId(peer), await nextId(peer)];
    const answers = [second, first].map((id) => Buffer.concat([answerTo(id, { ResponseType: 0x11 }), messageOf([])]));
    await peer.send(Buffer.concat(answers));
    for (const one of asked) expect(await outcome(one)).toMatchObject({ code: 'PROTOCOL_VIOLATION' });
  });

  test.each([
    ['a number', '42', 'PROTOCOL_VIOLATION'],
    ['a name that every object has', '[{"constructor":1,"__proto__":{"Name":"evil"}}]', null],
    ['lists a million deep', '['.repeat(1_000_000), 'LIMIT_EXCEEDED'],
    ['a version that is a list', '[[]]', 'PROTOCOL_VIOLATION'],
    ['a name that is an object', '[{"Name":{"toString":null}}]', 'PROTOCOL_VIOLATION'],
  ])('a list of versions that is %s', async (_, body, code) => {
    const { peer, client } = await trapped();
    const asked = outcome(client.filesystemVersions(ask));
    await peer.send(Buffer.concat([answerTo(await nextId(peer), { ResponseType: 0x11 }), messageOf(body)]));
    if (code !== null) expect(await asked).toMatchObject({ code });
    else expect(await asked).toEqual([{ type: '', name: '', guid: 0n, createTXG: 0n, creation: null }]);
    expect(Object.prototype).not.toHaveProperty('Name');
    client.forceClose();
  });

  test.each(['constructor', '__proto__', 'toString', 'PEER_SILENT'])('an error of code %s', async (code) => {
    const { peer, client } = await trapped();
    const asked = outcome(client.filesystemVersions(ask));
    await peer.send(answerTo(await nextId(peer), { ErrorId: 5, Code: code, Message: 'x'.repeat(60_000) }));
    const error = (await asked) as SnapferryError;
    expect(error).toBeInstanceOf(SnapferryError);
    expect(error).toMatchObject({
      code: code === 'PEER_SILENT' ? code : 'INTERNAL',
      fromPeer: true,
      connectionDead: false,
    });
    client.forceClose();
  });
});

describe('a responder that never reads', () => {
  test('does not make the client grow, whatever is asked and cancelled', async () => {
    const { peer, client } = await trapped();
    peer.stopReading();
    const cancel = new AbortController();
    const watch = await gauge();
    const asked: Promise<unknown>[] = [];
    for (let round = 0; round < 20; round++) {
      const filesystem = ['a'.repeat(10_000)];
      for (let call = 0; call < 100; call++)
        asked.push(outcome(client.filesystemVersions({ filesystem }, { signal: cancel.signal })));
      await new Promise((resolve) => setImmediate(resolve));
    }
    cancel.abort();
    for (const error of await Promise.all(asked)) expect(error).toMatchObject({ code: 'CANCELLED' });
    asked.length = 0;
    await watch.sample();
    // What has its turn waits to be written, and is at most 64 requests.
    expect(watch.grownBytesMax).toBeLessThan(4 * MiB);
    const last = outcome(client.filesystemVersions(ask));
    peer.vanish();
    expect(await last).toMatchObject({ code: 'CONNECTION_LOST' });
  });
});

describe('a puller that abuses the roles it was given (scenario 19)', () => {
  const policy = { initialReplicationPolicy: 'all' } as const;

  async function inverted() {
    const handled: string[] = [];
    const { peer, client } = await trapped();
    const pushed = outcome(client.pullMe(policy, sessionHandler(handled)));
    await peer.send(answerTo(await nextId(peer), { ResponseType: 1 }));
    return { peer, client, pushed, handled };
  }

  const finished = (body: object): Buffer => request(0x20, idOf(9), { Finished: true, ...body });

  test('a PullMe inside the PullMe, a hello and an upgrade are refused, and the push goes on', async () => {
    const { peer, pushed, handled } = await inverted();
    await peer.send(Buffer.concat([request(0x20, idOf(1), { InitialReplPolicy: 'all' }), request(0x55, idOf(3), {})]));
    expect(await peer.message()).toMatchObject({ RequestId: idOf(1), ErrorId: 5, Code: 'INVALID_REQUEST' });
    expect(await peer.message()).toMatchObject({ RequestId: idOf(3), ErrorId: 2 });
    await peer.send(finished({ Report: { Filesystems: [] } }));
    expect(await pushed).toEqual({ filesystems: [] });
    expect(handled).toEqual([]);
  });

  test('a goodbye in the middle of it is a failed push', async () => {
    const { peer, pushed, client } = await inverted();
    await peer.send(request(0xf0, idOf(1), { Goodbye: 'thanks' }));
    expect(await pushed).toMatchObject({ code: 'CONNECTION_LOST' });
    expect(await outcome(client.filesystemVersions(ask))).toMatchObject({ code: 'CONNECTION_LOST' });
  });

  test.each([
    ['a list as report', finished({ Report: [] }), 3],
    ['results that are numbers', finished({ Report: { Filesystems: [1] } }), 3],
    ['an error that is a text', finished({ Error: 'no' }), 3],
  ])('a Finished with %s does not finish', async (_, bytes, ErrorId) => {
    const { peer, pushed } = await inverted();
    await peer.send(bytes);
    expect(await peer.message()).toMatchObject({ RequestId: idOf(9), ErrorId });
    peer.end();
    expect(await pushed).toMatchObject({ code: 'CONNECTION_LOST' });
  });

  test('a Finished given twice: the second is no answer to the next question', async () => {
    const { peer, pushed, client } = await inverted();
    await peer.send(Buffer.concat([finished({}), finished({})]));
    expect(await pushed).toBeNull();
    expect(await outcome(client.filesystemVersions(ask))).toMatchObject({ code: 'PROTOCOL_VIOLATION' });
  });

  test('requests and cancels without end are answered until it breaks', async () => {
    const { peer, pushed, handled } = await inverted();
    const pair = Buffer.concat([request(0x11, idOf(1), ask), controlOf({ Cancel: idOf(1) })]);
    await peer.send(pair);
    const watch = await gauge();
    await peer.flood(() => pair, 500, watch);
    expect(handled.length).toBeLessThanOrEqual(501);
    expect(watch.grownBytesMax).toBeLessThan(2 * MiB);
    peer.vanish();
    expect(await pushed).toMatchObject({ code: 'CONNECTION_LOST' });
  });

  test('an answer to PullMe that is an error, or of another type, serves nothing', async () => {
    for (const fields of [{ ErrorId: 5, Code: 'ACCESS_DENIED' }, { ResponseType: 0x20 }]) {
      const handled: string[] = [];
      const { peer, client } = await trapped();
      const pushed = outcome(client.pullMe(policy, sessionHandler(handled)));
      await peer.send(answerTo(await nextId(peer), fields));
      await peer.send(request(0x11, idOf(1), ask));
      expect(await pushed).toMatchObject({ code: 'ErrorId' in fields ? 'ACCESS_DENIED' : 'PROTOCOL_VIOLATION' });
      expect(handled).toEqual([]);
      client.forceClose();
    }
  });
});

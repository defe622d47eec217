import { describe, expect, test } from 'vitest';
import type { SnapferryError } from '../../src/errors.ts';
import type { Progress } from '../../src/rpc/interfaces.ts';
import { bytesOf } from '../support/recorded.ts';
import { chunkOf, controlOf, messageOf } from '../support/scripted-peer.ts';
import { answerTo, nextRequest, scriptedResponder } from '../support/scripted-session.ts';
import { filesystem, sessionHandler } from '../support/session.ts';
import { initial } from '../support/transfers.ts';

const end = Buffer.alloc(4);
/** The digest of `hello` and of nothing. */
const xxh64 = { hello: '26c7827d889f6da3', nothing: 'ef46db3751d8e999' };

function trailer(fields: object = {}): Buffer {
  const digest = { Algorithm: 'xxh64', Value: xxh64.hello };
  return messageOf({ ErrorId: 0, Message: '', Bytes: 5, Digest: digest, ...fields });
}

const hello = Buffer.concat([chunkOf(Buffer.from('hel')), chunkOf(Buffer.from('lo')), end]);

/** Asks for a transfer and answers it with these bytes behind the header. */
async function transferOf(...parts: Buffer[]) {
  const { client, peer } = await scriptedResponder();
  const asked = client.initialTransfer(initial);
  const { id } = (await nextRequest(peer))!;
  peer.send(Buffer.concat([answerTo(id, { ResponseType: 0x20, StreamFormat: 'zfs' }), ...parts]));
  return { client, peer, bytes: await asked.then(bytesOf).catch((error: unknown) => error as SnapferryError) };
}

describe('a transfer', () => {
  test('is whole when count and digest agree', async () => {
    const { bytes } = await transferOf(hello, trailer());
    expect(bytes).toEqual(Buffer.from('hello'));
  });

  test('of nothing is whole, too', async () => {
    const digest = { Algorithm: 'xxh64', Value: xxh64.nothing };
    expect((await transferOf(end, trailer({ Bytes: 0, Digest: digest }))).bytes).toEqual(Buffer.alloc(0));
  });

  test.each([
    ['too few bytes', { Bytes: 6 }],
    ['too many bytes', { Bytes: 4 }],
    ['another digest', { Digest: { Algorithm: 'xxh64', Value: xxh64.nothing } }],
    ['a digest of another kind', { Digest: { Algorithm: 'sha256', Value: xxh64.hello } }],
    ['no digest', { Digest: null }],
  ])('with %s is damaged, and the connection dead', async (_, fields) => {
    const { bytes, client } = await transferOf(hello, trailer(fields));
    expect(bytes).toMatchObject({ code: 'DIGEST_MISMATCH', connectionDead: true });
    await expect(client.filesystems({ roots: null })).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
  });

  test.each([
    ['Bytes below zero', messageOf({ Bytes: -1 })],
    ['no JSON', messageOf('hello?')],
    ['nothing at all', end],
  ])('with a trailer of %s is a violation, and the connection dead', async (_, malformed) => {
    const { bytes, client } = await transferOf(hello, malformed);
    expect(bytes).toMatchObject({ code: 'PROTOCOL_VIOLATION' });
    await expect(client.filesystems({ roots: null })).rejects.toMatchObject({ code: 'PROTOCOL_VIOLATION' });
  });

  test('with an error in its trailer fails with that, and the connection goes on', async () => {
    const error = { ErrorId: 5, Message: 'the disk is gone', Code: 'SOURCE_FAILED', Retryable: true, Bytes: 5 };
    const { bytes, client, peer } = await transferOf(hello, trailer(error));
    expect(bytes).toMatchObject({ code: 'SOURCE_FAILED', retryable: true, fromPeer: true, connectionDead: false });
    const next = client.filesystems({ roots: null });
    const { id } = (await nextRequest(peer))!;
    peer.send(Buffer.concat([answerTo(id, { ResponseType: 0x10 }), messageOf([filesystem])]));
    expect(await next).toEqual([filesystem]);
  });

  test('is not whole without its trailer', async () => {
    const { client, peer } = await scriptedResponder();
    const asked = client.initialTransfer(initial);
    const { id } = (await nextRequest(peer))!;
    peer.send(Buffer.concat([answerTo(id, { ResponseType: 0x20 }), hello]));
    peer.end();
    await expect(asked.then(bytesOf)).rejects.toMatchObject({ code: 'STREAM_TRUNCATED' });
  });
});

describe('an answer', () => {
  test.each([
    ['of another type', { ResponseType: 1 }, 'PROTOCOL_VIOLATION'],
    ['to another request', { RequestId: Array(16).fill(1), ResponseType: 0x10 }, 'PROTOCOL_VIOLATION'],
    ['to nobody', { RequestId: Array(16).fill(0), ResponseType: 0x10 }, 'PROTOCOL_VIOLATION'],
    ['that is no header', { ErrorId: 'none' }, 'PROTOCOL_VIOLATION'],
  ])('%s kills the connection', async (_, fields, code) => {
    const { client, peer } = await scriptedResponder();
    const asked = client.filesystems({ roots: null });
    const pending = client.filesystems({ roots: null });
    const { id } = (await nextRequest(peer))!;
    peer.send(answerTo(id, fields));
    await expect(asked).rejects.toMatchObject({ code, connectionDead: true });
    await expect(pending).rejects.toMatchObject({ code });
    await expect(client.filesystems({ roots: null })).rejects.toMatchObject({ code });
  });

  test('to nobody is accepted beside an error, and its code is understood or replaced', async () => {
    const { client, peer } = await scriptedResponder();
    for (const [fields, expected] of [
      [
        { ErrorId: 5, Code: 'BUSY' },
        { code: 'BUSY', retryable: true },
      ],
      [
        { ErrorId: 5, Code: 'NEWER_THAN_US', Retryable: true },
        { code: 'INTERNAL', retryable: true },
      ],
      [{ ErrorId: 6 }, { code: 'GOODBYE', retryable: true }],
      [{ ErrorId: 7 }, { code: 'CANCELLED', retryable: false }],
      [
        { ErrorId: 5, Code: 'STREAM_TRUNCATED' },
        { code: 'STREAM_TRUNCATED', connectionDead: false },
      ],
    ] as const) {
      const asked = client.filesystems({ roots: null });
      await nextRequest(peer);
      peer.send(answerTo(Array(16).fill(0) as number[], { ResponseType: 0, ...fields }));
      await expect(asked).rejects.toMatchObject({ ...expected, fromPeer: true });
    }
  });

  test.each([
    [{ Guid: '18446744073709551615' }, 2n ** 64n - 1n],
    [{ Guid: '9007199254740993' }, 2n ** 53n + 1n],
    [{ Guid: '18446744073709551616' }, null],
    [{ Guid: '-1' }, null],
    [{ Guid: '1.5' }, null],
    [{ Guid: '1e20' }, null],
    [{ Guid: '"1"' }, null],
    [{ CreateTXG: '18446744073709551616' }, null],
  ])('with a version of %j', async (digits, expected) => {
    const { client, peer } = await scriptedResponder();
    const asked = client.filesystemVersions({ filesystem });
    const { id } = (await nextRequest(peer))!;
    const [[name, text]] = Object.entries(digits) as [[string, string]];
    const body = messageOf(`[{"Type":"snapshot","Name":"a","${name}":${text}}]`);
    peer.send(Buffer.concat([answerTo(id, { ResponseType: 0x11 }), body]));
    if (expected !== null) expect((await asked)[0]!.guid).toBe(expected);
    else await expect(asked).rejects.toMatchObject({ code: 'PROTOCOL_VIOLATION' });
  });

  test.each([
    ['headerBytesMax', 200],
    ['responseBodyBytesMax', 300],
  ] as const)('longer than %s is refused, at %i it is not', async (name, bytesMax) => {
    const limits = { headerBytesMax: 200, requestBodyBytesMax: 200, responseBodyBytesMax: 300, controlBytesMax: 200 };
    for (const surplus of [0, 1]) {
      const { client, peer } = await scriptedResponder({ limits });
      const asked = client.filesystems({ roots: null });
      const { id } = (await nextRequest(peer))!;
      const fields = { RequestId: id, ErrorId: 0, Message: '', ResponseType: 0x10 };
      const isHeader = name === 'headerBytesMax';
      const header = isHeader ? JSON.stringify(fields).padEnd(bytesMax + surplus) : fields;
      const body = isHeader ? [filesystem] : JSON.stringify([filesystem]).padEnd(bytesMax + surplus);
      peer.send(Buffer.concat([messageOf(header), messageOf(body)]));
      if (surplus === 0) expect(await asked).toEqual([filesystem]);
      else await expect(asked).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED', connectionDead: true });
    }
  });

  test('is read between control chunks, and its progress goes to the call it belongs to', async () => {
    const { client, peer } = await scriptedResponder();
    const news: [number, Progress][] = [];
    const asked = [1, 2].map((call) =>
      client.filesystems({ roots: null }, { onProgress: (progress) => news.push([call, progress]) }),
    );
    for (const call of asked.keys()) {
      const { id } = (await nextRequest(peer))!;
      const progress = controlOf({ Progress: { Message: `of ${call + 1}`, Done: 1, Total: null } });
      const header = answerTo(id, { ResponseType: 0x10 });
      peer.send(
        Buffer.concat([controlOf(), progress, header, progress, controlOf({ Unknown: 1 }), messageOf([filesystem])]),
      );
    }
    expect(await Promise.all(asked)).toEqual([[filesystem], [filesystem]]);
    const of = (call: number) => [call, { message: `of ${call}`, done: 1, total: null }];
    expect(news).toEqual([of(1), of(1), of(2), of(2)]);
  });

  test.each([
    ['of no JSON', Buffer.concat([chunkOf(Buffer.from('{'), 0x8000_0000)]), 'PROTOCOL_VIOLATION'],
    ['of a wrong type', controlOf({ Progress: { Done: -1 } }), 'PROTOCOL_VIOLATION'],
    ['that is too long', controlOf({ Message: 'x'.repeat(5000) }), 'LIMIT_EXCEEDED'],
  ])('is not read behind a control chunk %s', async (_, control, code) => {
    const { client, peer } = await scriptedResponder();
    const asked = client.filesystems({ roots: null });
    await nextRequest(peer);
    peer.send(control);
    await expect(asked).rejects.toMatchObject({ code });
  });
});

describe('nothing is written', () => {
  test('behind a transfer until it has been read, or behind a PullMe until it has finished', async () => {
    const { client, peer } = await scriptedResponder();
    const transfer = client.initialTransfer(initial);
    const behind = client.filesystems({ roots: null });
    const pushed = client.pullMe({ initialReplicationPolicy: 'all' }, sessionHandler([]));
    const last = client.filesystems({ roots: ['last'] });
    const first = (await nextRequest(peer))!;
    peer.send(answerTo(first.id, { ResponseType: 0x20 }));
    const { bytes } = await transfer;
    await settle();
    expect(peer.untaken).toHaveLength(0);
    peer.send(Buffer.concat([hello, trailer()]));
    await bytesOf({ bytes });
    const second = (await nextRequest(peer))!;
    const third = (await nextRequest(peer))!;
    expect([second.type, third.type]).toEqual([0x10, 0x20]);
    await settle();
    expect(peer.untaken).toHaveLength(0);
    peer.send(Buffer.concat([answerTo(second.id, { ResponseType: 0x10 }), messageOf([])]));
    expect(await behind).toEqual([]);
    peer.send(answerTo(third.id, { ResponseType: 1 }));
    const report = { Filesystems: [] };
    peer.send(Buffer.concat([messageOf({ Type: 0x20, Id: first.id }), messageOf({ Finished: true, Report: report })]));
    expect(await pushed).toEqual({ filesystems: [] });
    expect(JSON.parse((await peer.message())!.payload.toString())).toMatchObject({ RequestId: first.id, ErrorId: 0 });
    const fourth = (await nextRequest(peer))!;
    expect(fourth.body).toEqual({ Roots: ['last'] });
    peer.send(Buffer.concat([answerTo(fourth.id, { ResponseType: 0x10 }), messageOf([])]));
    expect(await last).toEqual([]);
  });

  test('beyond the requests that may be ahead', async () => {
    const { client, peer } = await scriptedResponder({ limits: { pipelinedRequestsMax: 3 } });
    const asked = Array.from({ length: 5 }, () => client.filesystems({ roots: null }));
    const seen = [await nextRequest(peer), await nextRequest(peer), await nextRequest(peer)];
    await settle();
    expect(peer.untaken).toHaveLength(0);
    for (let count = 0; count < 5; count++) {
      peer.send(Buffer.concat([answerTo(seen[count]!.id, { ResponseType: 0x10 }), messageOf([])]));
      if (count < 2) seen.push(await nextRequest(peer));
    }
    expect(await Promise.all(asked)).toHaveLength(5);
  });

  test('of a request that cannot be encoded, and the next one is', async () => {
    const { client, peer } = await scriptedResponder();
    const large = { ...initial, version: { ...initial.version, guid: 2n ** 64n } };
    await expect(client.initialTransfer(large)).rejects.toMatchObject({ code: 'INTERNAL' });
    const asked = client.filesystems({ roots: null });
    const { id } = (await nextRequest(peer))!;
    peer.send(Buffer.concat([answerTo(id, { ResponseType: 0x10 }), messageOf([])]));
    expect(await asked).toEqual([]);
  });
});

/** Lets everything happen that needs no more input. */
async function settle(): Promise<void> {
  for (let turns = 0; turns < 5; turns++) await new Promise((resolve) => setImmediate(resolve));
}

import { getEventListeners } from 'node:events';
import { describe, expect, test } from 'vitest';
import type { SnapferryError } from '../../src/errors.ts';
import { ByteStreamRPC } from '../../src/rpc/byte-stream-rpc.ts';
import type { RPCRequester, Transfer } from '../../src/rpc/interfaces.ts';
import type { ByteStream } from '../../src/transport/byte-stream.ts';
import { changedStream } from '../support/changed-stream.ts';
import { bytesOf } from '../support/recorded.ts';
import { chunkOf, controlOf, messageOf, scripted, type ScriptedPeer } from '../support/scripted-peer.ts';
import { answerTo, nextRequest, scriptedResponder } from '../support/scripted-session.ts';
import { moment } from '../support/server-fixture.ts';
import { filesystem } from '../support/session.ts';
import { initial, turn } from '../support/transfers.ts';

const hello = chunkOf(Buffer.from('hello'));
const end = Buffer.alloc(4);
const digest = { Algorithm: 'xxh64', Value: '26c7827d889f6da3' };
const trailer = messageOf({ ErrorId: 0, Bytes: 5, Digest: digest });
const ended = { done: true, value: undefined };

/** A transfer whose peer has sent its header and these bytes. */
async function begun(bytes: Buffer, { signal, hello: agreed }: { signal?: AbortSignal; hello?: object } = {}) {
  const { client, peer } = await scriptedResponder({}, agreed ?? { Digest: 'xxh64' });
  const asked = client.initialTransfer(initial, signal === undefined ? {} : { signal });
  const { id } = (await nextRequest(peer))!;
  peer.send(Buffer.concat([answerTo(id, { ResponseType: 0x20 }), bytes]));
  const transfer = await asked;
  return { client, peer, id, transfer, stream: transfer.bytes[Symbol.asyncIterator]() };
}

async function expectInService(client: RPCRequester, peer: ScriptedPeer): Promise<void> {
  const asked = client.filesystems({ roots: null });
  const { id } = (await nextRequest(peer))!;
  peer.send(Buffer.concat([answerTo(id, { ResponseType: 0x10 }), messageOf([filesystem])]));
  expect(await asked).toEqual([filesystem]);
  client.forceClose();
}

function failureOf(transfer: Transfer): Promise<Error> {
  return bytesOf(transfer).then(
    () => new Error('it was whole'),
    (error: unknown) => error as Error,
  );
}

describe('a stream that is damaged says how', () => {
  test.each([
    [{ Bytes: 6 }, 'InitialTransfer: 5 bytes arrived where 6 were sent'],
    [{ Digest: null }, 'InitialTransfer: the trailer has no xxh64 digest although that was agreed'],
    [{ Digest: { ...digest, Value: '0' } }, 'InitialTransfer: the xxh64 digest of the stream does not agree'],
  ])('%j', async (fields, message) => {
    const changed = messageOf({ ErrorId: 0, Bytes: 5, Digest: digest, ...fields });
    const { transfer } = await begun(Buffer.concat([hello, end, changed]));
    expect(await failureOf(transfer)).toMatchObject({ code: 'DIGEST_MISMATCH', message });
  });

  test('with a digest nobody agreed on', async () => {
    const { transfer } = await begun(Buffer.concat([hello, end, trailer]), { hello: {} });
    const message = 'InitialTransfer: the trailer has a digest although none was agreed';
    expect(await failureOf(transfer)).toMatchObject({ code: 'DIGEST_MISMATCH', message });
  });

  test('by a trailer that is none', async () => {
    const { transfer } = await begun(Buffer.concat([hello, end, messageOf('{')]));
    const message = expect.stringMatching(/^cannot decode trailer: malformed JSON/) as string;
    expect(await failureOf(transfer)).toMatchObject({ code: 'PROTOCOL_VIOLATION', message });
  });

  test('by the end of the connection in the place of its trailer', async () => {
    const { transfer, peer } = await begun(Buffer.concat([hello, end]));
    peer.end();
    expect(await failureOf(transfer)).toMatchObject({ code: 'STREAM_TRUNCATED' });
  });
});

describe('a stream that is left', () => {
  test('says that it is over, each time, and asks its sender once to stop', async () => {
    const { client, peer, id, stream } = await begun(hello);
    expect((await stream.next()).done).toBe(false);
    expect(await stream.return!()).toEqual(ended);
    expect(await stream.return!()).toEqual(ended);
    expect(await stream.next()).toEqual(ended);
    await turn();
    expect(peer.untaken).toEqual(controlOf({ Cancel: id }));
    peer.skip(peer.untaken.byteLength);
    peer.send(Buffer.concat([hello, hello, end, trailer]));
    await expectInService(client, peer);
  });

  test('after its end is not cancelled any more', async () => {
    const { client, peer, stream } = await begun(Buffer.concat([hello, end, trailer]));
    expect((await stream.next()).done).toBe(false);
    expect(await stream.next()).toEqual(ended);
    expect(await stream.return!()).toEqual(ended);
    await turn();
    expect(peer.untaken).toHaveLength(0);
    await expectInService(client, peer);
  });

  test('while a piece of it is waited for gives what comes then, and nothing more', async () => {
    const { client, peer, stream } = await begun(Buffer.alloc(0));
    const waiting = stream.next();
    await stream.return!();
    await turn();
    peer.skip(peer.untaken.byteLength);
    peer.send(Buffer.concat([hello, hello, end, trailer]));
    expect((await waiting).done).toBe(false);
    expect(await stream.next()).toEqual(ended);
    await expectInService(client, peer);
  });

  test('by a signal does not let its reader wait for a peer that sends nothing', async () => {
    const abort = new AbortController();
    const { client, peer, stream } = await begun(hello, { signal: abort.signal });
    await stream.next();
    const waiting = stream.next();
    await turn();
    abort.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'CANCELLED', message: 'InitialTransfer was cancelled' });
    await expect(stream.next()).rejects.toMatchObject({ code: 'CANCELLED' });
    await turn();
    peer.skip(peer.untaken.byteLength);
    peer.send(Buffer.concat([end, trailer]));
    await expectInService(client, peer);
  });

  test('in version 1 costs the connection, and says so', async () => {
    const { client, peer } = await scriptedResponder(
      { maximumVersion: 1 },
      { Version: undefined, HeartbeatMs: undefined },
    );
    const asked = client.initialTransfer(initial);
    const { id } = (await nextRequest(peer))!;
    peer.send(Buffer.concat([answerTo(id, { ResponseType: 0x20 }), hello]));
    await (await asked).bytes[Symbol.asyncIterator]().return?.();
    const call = client.filesystems({ roots: null });
    await expect(call).rejects.toMatchObject({ code: 'CANCELLED', connectionDead: false });
    await expect(call).rejects.toThrow('InitialTransfer was stopped; version 1 cannot do that but by closing');
  });
});

describe('a call', () => {
  test('behind a transfer nobody reads learns at once that the connection is dead', async () => {
    const { client } = await begun(hello);
    const behind = client.filesystems({ roots: null });
    await turn();
    client.forceClose();
    await expect(behind).rejects.toMatchObject({ code: 'CANCELLED' });
  });

  test('behind a transfer, cancelled, is never made', async () => {
    const { client, peer, transfer } = await begun(Buffer.concat([hello, end, trailer]));
    const abort = new AbortController();
    const behind = client.filesystems({ roots: ['cancelled'] }, { signal: abort.signal });
    const last = client.filesystems({ roots: ['last'] });
    abort.abort();
    await expect(behind).rejects.toMatchObject({ code: 'CANCELLED' });
    await bytesOf(transfer);
    const { id, body } = (await nextRequest(peer))!;
    expect(body).toEqual({ Roots: ['last'] });
    peer.send(Buffer.concat([answerTo(id, { ResponseType: 0x10 }), messageOf([])]));
    expect(await last).toEqual([]);
    client.forceClose();
  });

  test('that is cancelled by what its own writing sets off is let go like any other', async () => {
    const { stream, peer } = scripted();
    const abort = new AbortController();
    let writes = 0;
    const write: ByteStream['write'] = (bytes) => {
      if (++writes === 2) abort.abort();
      return stream.write(bytes);
    };
    const connecting = ByteStreamRPC.connect(changedStream(stream, { write }), { heartbeatMs: 3_600_000 });
    const hello = (await nextRequest(peer))!;
    peer.send(answerTo(hello.id, { ResponseType: 1, Version: 2 }));
    const client = await connecting;
    const asked = client.filesystems({ roots: null }, { signal: abort.signal });
    await expect(asked).rejects.toMatchObject({ code: 'CANCELLED' });
    const { id } = (await nextRequest(peer))!;
    await turn();
    expect(peer.untaken).toEqual(controlOf({ Cancel: id }));
    peer.skip(peer.untaken.byteLength);
    peer.send(Buffer.concat([answerTo(id, { ResponseType: 0x10 }), messageOf([filesystem])]));
    await expectInService(client, peer);
  });

  test.each(['answered', 'refused', 'cancelled while it waits'] as const)(
    'leaves nothing at its signal when it is over: %s',
    async (how) => {
      const abort = new AbortController();
      const { client, peer, transfer } = await begun(Buffer.concat([hello, end, trailer]));
      const options = { signal: abort.signal, timeoutMs: 3_600_000 };
      const asked = client.filesystems({ roots: null }, options).then(
        () => 'answered',
        (error: unknown) => (error as SnapferryError).code,
      );
      expect(getEventListeners(abort.signal, 'abort').length).toBeGreaterThan(0);
      if (how === 'cancelled while it waits') {
        abort.abort();
        expect(await asked).toBe('CANCELLED');
      } else {
        await bytesOf(transfer);
        const { id } = (await nextRequest(peer))!;
        const isRefused = how === 'refused';
        const fields = isRefused ? { ErrorId: 5, Code: 'BUSY', ResponseType: 0 } : { ResponseType: 0x10 };
        peer.send(Buffer.concat([answerTo(id, fields), ...(isRefused ? [] : [messageOf([])])]));
        expect(await asked).toBe(isRefused ? 'BUSY' : 'answered');
      }
      await turn();
      expect(getEventListeners(abort.signal, 'abort')).toEqual([]);
      client.forceClose();
    },
  );

  test('with an answer of another type names both types', async () => {
    const { client, peer } = await scriptedResponder();
    const asked = client.filesystems({ roots: null });
    const { id } = (await nextRequest(peer))!;
    peer.send(answerTo(id, { ResponseType: 0x12 }));
    const message = 'Filesystems: the peer answered with response type 0x12 where 0x10 belongs';
    await expect(asked).rejects.toMatchObject({ code: 'PROTOCOL_VIOLATION', message });
  });

  test('whose body does not come is truncated', async () => {
    const { client, peer } = await scriptedResponder();
    const asked = client.filesystems({ roots: null });
    const { id } = (await nextRequest(peer))!;
    peer.send(answerTo(id, { ResponseType: 0x10 }));
    peer.end();
    await expect(asked).rejects.toMatchObject({ code: 'STREAM_TRUNCATED' });
    await expect(asked).rejects.toThrow('the connection ended inside a answer to Filesystems');
  });

  test('that is not made because it was cancelled before closes its upload', async () => {
    const { client, peer } = await scriptedResponder();
    const closed = moment();
    const upload = {
      [Symbol.asyncIterator]: () => ({
        next: () => Promise.resolve(ended as IteratorResult<Uint8Array>),
        return: () => {
          closed.resolve();
          return Promise.resolve(ended as IteratorResult<Uint8Array>);
        },
      }),
    };
    const call = { type: 0x80, name: 'Store', answer: 'ok', upload: true } as const;
    const asked = client.request(call as never, {}, { upload, signal: AbortSignal.abort() });
    await expect(asked).rejects.toMatchObject({ code: 'CANCELLED' });
    await closed.promise;
    expect(peer.untaken).toHaveLength(0);
    client.forceClose();
  });
});

import { describe, expect, test } from 'vitest';
import { ByteStreamRPC } from '../../src/rpc/byte-stream-rpc.ts';
import { changedStream } from '../support/changed-stream.ts';
import { chunkOf, scripted } from '../support/scripted-peer.ts';
import { answerTo, nextRequest, scriptedResponder } from '../support/scripted-session.ts';
import { moment } from '../support/server-fixture.ts';
import { initial } from '../support/transfers.ts';

const ask = { roots: null };
const end = Buffer.alloc(4);

describe('detach', () => {
  test('follows a whole stream of version 1, which has no trailer', async () => {
    const { stream, peer } = scripted();
    const connecting = ByteStreamRPC.connect(stream, { maximumVersion: 1 });
    const hello = (await nextRequest(peer))!;
    peer.send(answerTo(hello.id, { ResponseType: 1 }));
    const client = await connecting;
    const asked = client.initialTransfer(initial);
    const { id } = (await nextRequest(peer))!;
    peer.send(Buffer.concat([answerTo(id, { ResponseType: 0x20 }), chunkOf(Buffer.from('hello'))]));
    const received = (await asked).bytes[Symbol.asyncIterator]();
    expect(await received.next()).toMatchObject({ done: false });
    // In a piece of its own: nothing of the payload is taken with it.
    peer.send(end);
    expect(await received.next()).toMatchObject({ done: true });
    const bare = client.detach();
    peer.send(Buffer.from('raw'));
    peer.end();
    const parts: Buffer[] = [];
    for await (const part of bare.source) parts.push(Buffer.from(part));
    expect(Buffer.concat(parts).toString()).toBe('raw');
    await expect(client.filesystems(ask)).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
    await expect(client.filesystems(ask)).rejects.toThrow('was handed over to another owner');
    await bare.close();
  });

  test('of a dead connection fails with what killed it', async () => {
    const { client } = await scriptedResponder();
    client.forceClose();
    expect(() => client.detach()).toThrow(expect.objectContaining({ code: 'CANCELLED' }));
  });
});

describe('close', () => {
  /** Our client on a stream that never ends in order, and its peer, which answers the goodbye. */
  async function reluctant() {
    const { stream, peer } = scripted();
    const close = async (): Promise<void> => {
      await stream.close();
      throw new Error('the other end was cut off');
    };
    const connecting = ByteStreamRPC.connect(changedStream(stream, { close }));
    const hello = (await nextRequest(peer))!;
    peer.send(answerTo(hello.id, { ResponseType: 1 }));
    return { client: await connecting, peer };
  }

  test('rejects if the stream does not end in order, and no call is made any more', async () => {
    const { client, peer } = await reluctant();
    const closing = client.close();
    const { id } = (await nextRequest(peer))!;
    peer.send(answerTo(id, { ResponseType: 1 }));
    await expect(closing).rejects.toThrow('the other end was cut off');
    await expect(client.filesystems(ask)).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
    await expect(client.filesystems(ask)).rejects.toThrow(/ is closed$/);
  });

  test('of a dead connection is no failure, and its cause stays', async () => {
    const { client } = await reluctant();
    client.forceClose();
    await client.close();
    await expect(client.filesystems(ask)).rejects.toMatchObject({ code: 'CANCELLED' });
  });
});

/** Our client in version 1 on a stream whose source breaks when it is told to. */
async function breakable() {
  const { stream, peer } = scripted();
  const broken = moment();
  const source = (async function* () {
    const first = await stream.source[Symbol.asyncIterator]().next();
    if (first.done !== true) yield first.value;
    await broken.promise;
    throw new Error('ECONNRESET');
  })();
  const connecting = ByteStreamRPC.connect(changedStream(stream, { description: 'the socket', source }));
  const { id } = (await nextRequest(peer))!;
  peer.send(answerTo(id, { ResponseType: 1 }));
  return { client: await connecting, broken };
}

/** What a call fails with. */
function failureOf(call: Promise<unknown>): Promise<unknown> {
  return call.then(
    () => null,
    (error: unknown) => error,
  );
}

describe('a stream that cannot be read any more', () => {
  test('is named with its reason by every call', async () => {
    const { client, broken } = await breakable();
    const failures = [failureOf(client.filesystems(ask)), failureOf(client.filesystems(ask))];
    broken.resolve();
    failures.push(failureOf(Promise.all(failures).then(() => client.filesystems(ask))));
    const expected = { code: 'CONNECTION_LOST', message: 'cannot read from the socket: ECONNRESET' };
    for (const failure of failures) expect(await failure).toMatchObject(expected);
  });

  test('because this side has dropped it, is not what is to be told', async () => {
    const { client, broken } = await breakable();
    const failure = failureOf(client.filesystems(ask));
    client.forceClose();
    broken.resolve();
    expect(await failure).toMatchObject({ code: 'CANCELLED', message: 'the connection was closed by this side' });
  });
});

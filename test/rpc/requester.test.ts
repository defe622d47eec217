import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import type { Pull, RPCRequester } from '../../src/rpc/interfaces.ts';
import { chunkOf, messageOf, type ScriptedPeer } from '../support/scripted-peer.ts';
import {
  answerTo,
  idOf,
  nextJSON,
  nextRequest,
  request,
  scriptedRequester,
  scriptedResponder,
} from '../support/scripted-session.ts';
import { filesystem, sessionHandler } from '../support/session.ts';
import { initial, turn } from '../support/transfers.ts';

const ask = { roots: null };
const end = Buffer.alloc(4);
const digest = { Algorithm: 'xxh64', Value: '26c7827d889f6da3' };
const stream = Buffer.concat([chunkOf(Buffer.from('hello')), end, messageOf({ ErrorId: 0, Bytes: 5, Digest: digest })]);

async function expectInService(client: RPCRequester, peer: ScriptedPeer): Promise<void> {
  const asked = client.filesystems(ask);
  const { id } = (await nextRequest(peer))!;
  peer.send(Buffer.concat([answerTo(id, { ResponseType: 0x10 }), messageOf([filesystem])]));
  expect(await asked).toEqual([filesystem]);
  client.forceClose();
}

/** Passes over the control chunks that have come. */
async function skipControls(peer: ScriptedPeer): Promise<void> {
  await turn();
  while (peer.untaken.byteLength >= 4 && peer.untaken.readUInt32LE() >= 0x8000_0000) {
    peer.skip(4 + peer.untaken.readUInt32LE() - 0x8000_0000);
  }
}

describe('a caller that has left', () => {
  test('before its transfer began does not keep the connection: what comes is read away', async () => {
    const { client, peer } = await scriptedResponder();
    const abort = new AbortController();
    const asked = client.initialTransfer(initial, { signal: abort.signal });
    const { id } = (await nextRequest(peer))!;
    abort.abort();
    await expect(asked).rejects.toMatchObject({ code: 'CANCELLED' });
    peer.send(Buffer.concat([answerTo(id, { ResponseType: 0x20 }), stream]));
    await skipControls(peer);
    await expectInService(client, peer);
  });

  test('before its push was confirmed is not pulled from: the connection is dropped', async () => {
    const { client, peer } = await scriptedResponder();
    const abort = new AbortController();
    const handled: string[] = [];
    const asked = client.pullMe({ initialReplicationPolicy: 'all' }, sessionHandler(handled), { signal: abort.signal });
    const { id } = (await nextRequest(peer))!;
    abort.abort();
    await expect(asked).rejects.toMatchObject({ code: 'CANCELLED' });
    peer.send(Buffer.concat([answerTo(id, { ResponseType: 1 }), request(0x10, idOf(7), { Roots: null })]));
    await peer.rest();
    expect(handled).toEqual([]);
    await expect(client.filesystems(ask)).rejects.toMatchObject({
      code: 'CANCELLED',
      message: 'the push was cancelled',
    });
  });
});

test('an estimate that is no number is refused by its name', async () => {
  const { client, peer } = await scriptedResponder();
  const asked = client.transferEstimate({ filesystem, from: null, to: initial.version });
  const { id } = (await nextRequest(peer))!;
  peer.send(Buffer.concat([answerTo(id, { ResponseType: 0x12 }), messageOf({ Bytes: 'many' })]));
  await expect(asked).rejects.toMatchObject({ code: 'PROTOCOL_VIOLATION' });
  await expect(asked).rejects.toThrow(
    'cannot decode answer to TransferEstimate: TransferEstimate.Bytes: expected an integer',
  );
});

describe('close', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  test.each([
    ['without a word', (client: RPCRequester) => client.close(), ''],
    ['with a word', (client: RPCRequester) => client.close('the job is done'), 'the job is done'],
    ['by the end of a block', (client: RPCRequester) => client[Symbol.asyncDispose](), ''],
  ])('%s says goodbye, once, and leaves no timer', async (_, close, goodbye) => {
    const { client, peer } = await scriptedResponder();
    const closing = [close(client), client.close('again')];
    const asked = (await nextRequest(peer))!;
    expect(asked).toMatchObject({ type: 0xf0, body: { Goodbye: goodbye } });
    const late = client.filesystems(ask);
    const refused = expect(late).rejects.toMatchObject({
      code: 'CONNECTION_LOST',
      message: expect.stringMatching(/ is closed$/) as string,
    });
    await turn();
    expect(peer.untaken).toHaveLength(0);
    peer.send(answerTo(asked.id, { ResponseType: 1 }));
    await Promise.all(closing);
    await refused;
    expect(await peer.rest()).toHaveLength(0);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('that is not answered is not waited for, and the log says so', async () => {
    const lines: string[] = [];
    const logger = pino({ level: 'debug' }, { write: (line: string) => lines.push(line) });
    const { client } = await scriptedResponder({ logger, heartbeatMs: 3_600_000 });
    const closing = client.close();
    await turn();
    await vi.advanceTimersByTimeAsync(10_000);
    await closing;
    const said = lines.map((line) => JSON.parse(line) as { msg: string; err?: { message: string } });
    expect(said.at(-1)).toMatchObject({
      msg: 'close was not answered',
      err: { code: 'TIMEOUT', message: 'no answer to Close within 10000 ms' },
    });
    expect(vi.getTimerCount()).toBe(0);
  });

  test('stops an open transfer, whose reader is told why', async () => {
    const { client, peer } = await scriptedResponder();
    const asked = client.initialTransfer(initial);
    const { id } = (await nextRequest(peer))!;
    peer.send(Buffer.concat([answerTo(id, { ResponseType: 0x20 }), chunkOf(Buffer.from('hello'))]));
    const received = (await asked).bytes[Symbol.asyncIterator]();
    await received.next();
    const waiting = received.next();
    const closing = client.close();
    const message = 'the transfer was stopped: the connection is being closed by this side';
    await expect(waiting).rejects.toMatchObject({ code: 'CANCELLED', message });
    await skipControls(peer);
    peer.send(Buffer.concat([end, messageOf({ ErrorId: 7, Bytes: 5 })]));
    const goodbye = (await nextRequest(peer))!;
    peer.send(answerTo(goodbye.id, { ResponseType: 1 }));
    await closing;
  });
});

describe('a pull over an inverted connection', () => {
  /** Our server, which pulls with `pull` from a scripted pusher: what it says when it has finished, and how it ended. */
  async function pulled(pull: Pull) {
    const { peer, served } = await scriptedRequester({ clientIdentity: 'tester', handler: sessionHandler([], pull) });
    peer.send(request(0x20, idOf(2), { Finished: false, InitialReplPolicy: 'all' }));
    expect(await nextJSON(peer)).toMatchObject({ RequestId: idOf(2), ErrorId: 0, ResponseType: 1 });
    return { peer, served };
  }

  async function finished(peer: ScriptedPeer): Promise<Record<string, unknown>> {
    const { type, id, body } = (await nextRequest(peer))!;
    expect(type).toBe(0x20);
    peer.send(answerTo(id, { ResponseType: 1 }));
    await turn();
    peer.abort();
    return body;
  }

  test('ends with its report and nothing else', async () => {
    const { peer } = await pulled(() => Promise.resolve({ filesystems: [] }));
    expect(await finished(peer)).toEqual({ Finished: true, InitialReplPolicy: '', Report: { Filesystems: [] } });
  });

  test.each([
    [
      'of ours',
      new SnapferryError('BUSY', 'the target is busy'),
      { Code: 'BUSY', Message: 'the target is busy', Retryable: true },
    ],
    [
      'of somebody else, whose words stay here',
      new Error('ENOENT: /root/.secret'),
      { Code: 'INTERNAL', Message: 'the pull failed; the log of the side that was asked says why', Retryable: false },
    ],
  ])('ends with an error %s', async (_, error, expected) => {
    const { peer } = await pulled(() => Promise.reject(error));
    expect(await finished(peer)).toEqual({ Finished: true, InitialReplPolicy: '', Error: { ErrorId: 5, ...expected } });
  });

  test('allows no other inside, nothing that would take the connection away, and nothing when it is over', async () => {
    const seen: unknown[] = [];
    let kept: RPCRequester | undefined;
    const codeOf = async (what: () => unknown): Promise<void> => {
      try {
        await what();
      } catch (error) {
        seen.push((error as SnapferryError).code, (error as SnapferryError).message);
      }
    };
    const { peer } = await pulled(async (client) => {
      kept = client;
      await codeOf(() => client.pullMe({ initialReplicationPolicy: 'all' }, sessionHandler([])));
      await codeOf(() => client.upgrade('shell'));
      await codeOf(() => client.detach());
      return { filesystems: [] };
    });
    await finished(peer);
    await codeOf(() => kept!.filesystems(ask));
    expect(seen).toEqual([
      ...['INVALID_REQUEST', 'PullMe inside a PullMe'],
      ...['INVALID_REQUEST', 'Upgrade inside a PullMe'],
      ...['INVALID_REQUEST', 'the connection is the peer’s to give'],
      ...['INVALID_REQUEST', 'the pull is over, and with it its client'],
    ]);
  });
});

describe('towards a version-1 peer', () => {
  test.each(['CANCELLED', 'GOODBYE', 'BUSY'] as const)(
    'an error with the code %s is the only kind it knows',
    async (code) => {
      const fails = () => Promise.reject(new SnapferryError(code, 'no'));
      const handler = { ...sessionHandler([]), filesystems: fails };
      const { peer } = await scriptedRequester({ clientIdentity: 'tester', handler }, { ClientVersion: 1 });
      peer.send(request(0x10, idOf(2), { Roots: null }));
      expect(await nextJSON(peer)).toEqual({ RequestId: idOf(2), ErrorId: 5, Message: 'no', ResponseType: 0 });
      peer.abort();
    },
  );
});

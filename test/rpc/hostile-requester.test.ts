import { describe, expect, test } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import { ByteStreamRPC } from '../../src/rpc/byte-stream-rpc.ts';
import { memoryPair } from '../../src/transport/memory.ts';
import type { RequestContext } from '../../src/rpc/interfaces.ts';
import { repetitions } from '../support/repetitions.ts';
import { framed, messageOf, ScriptedPeer } from '../support/scripted-peer.ts';
import { idOf, nextJSON, request, scriptedRequester } from '../support/scripted-session.ts';
import { filesystems, session, versions } from '../support/served-session.ts';
import { filesystem, sessionHandler } from '../support/session.ts';

describe('requests that are not what they should be', () => {
  test.each([
    ['Filesystems', request(0x10, idOf(2), { Roots: 'tank' })],
    ['FilesystemVersions', request(0x11, idOf(2), { Filesystem: [1] })],
    ['InitialTransfer', request(0x12, idOf(2), { Filesystem: filesystem, FilesystemVersion: { Guid: -1 } })],
    ['IncrementalTransfer', request(0x13, idOf(2), { Filesystem: filesystem, From: [] })],
    ['TransferEstimate', request(0x14, idOf(2), { Filesystem: filesystem, To: 'x' })],
    ['TransferCompleted', request(0x15, idOf(2), { Filesystem: filesystem, JobId: 7 })],
    ['PullMe', request(0x20, idOf(2), { Finished: 'yes' })],
    ['PullMe of an unknown policy', request(0x20, idOf(2), { InitialReplPolicy: 'some' })],
    ['Close', request(0xf0, idOf(2), { Goodbye: 7 })],
    ['no JSON', Buffer.concat([messageOf({ Type: 0x10, Id: idOf(2) }), framed(Buffer.from('{"Roots":'))])],
    ['JSON nested too deeply', Buffer.concat([messageOf({ Type: 0x10, Id: idOf(2) }), messageOf('['.repeat(33))])],
    ['a list', Buffer.concat([messageOf({ Type: 0x10, Id: idOf(2) }), messageOf([])])],
  ])('%s: error 3, INVALID_REQUEST, in step', async (_, bytes) => {
    const { peer, expectInService } = await session();
    peer.send(bytes);
    expect(await nextJSON(peer)).toMatchObject({ RequestId: idOf(2), ErrorId: 3, Code: 'INVALID_REQUEST' });
    await expectInService();
  });

  test.each([
    ['Finished', { Finished: true }, /without a PullMe/],
    ['a PullMe nobody may send', { Finished: false }, /identity/],
  ])('%s is refused, in step', async (_, body, text) => {
    const handler = sessionHandler([], () => Promise.reject(new Error('pulled')));
    for (const clientIdentity of ['', 'local']) {
      const { peer } = await scriptedRequester({ clientIdentity, handler });
      peer.send(request(0x20, idOf(2), body));
      expect(await nextJSON(peer)).toMatchObject({ ErrorId: 5, Message: expect.stringMatching(text) as string });
      peer.send(filesystems(3));
      expect(await nextJSON(peer)).toMatchObject({ RequestId: idOf(3), ErrorId: 0 });
      peer.abort();
    }
  });

  test('ten thousand of unknown types in a row are answered one by one, in constant memory', async () => {
    const { peer, expectInService } = await session();
    for (let round = 0; round < repetitions(100, 2); round++) {
      peer.send(Buffer.concat(Array.from({ length: 100 }, () => request(0x81, idOf(2), {}))));
      for (let count = 0; count < 100; count++) expect(await nextJSON(peer)).toMatchObject({ ErrorId: 2 });
    }
    await expectInService();
  });

  test('a body of n bytes is read, one of n+1 ends the connection', async () => {
    const limits = { headerBytesMax: 200, requestBodyBytesMax: 200, controlBytesMax: 200 };
    for (const surplus of [0, 1]) {
      const { peer, served, expectInService } = await session({}, limits);
      peer.send(Buffer.concat([messageOf({ Type: 0x10, Id: idOf(2) }), messageOf('{}'.padEnd(200 + surplus))]));
      if (surplus === 1) {
        expect(await served).toMatchObject({ code: 'LIMIT_EXCEEDED' });
        continue;
      }
      expect(await nextJSON(peer)).toMatchObject({ RequestId: idOf(2), ErrorId: 0 });
      expect(await nextJSON(peer)).toEqual([filesystem]);
      await expectInService();
    }
  });

  test('a header nested too deeply is error 1 and the end', async () => {
    const { peer, served } = await session();
    peer.send(messageOf('['.repeat(33)));
    expect(await nextJSON(peer)).toMatchObject({ ErrorId: 1 });
    expect(await served).toBeNull();
  });

  test('no more requests are read than may be ahead, and in the end all are answered', async () => {
    let open = (): void => undefined;
    const gate = new Promise<void>((resolve) => (open = resolve));
    const handler = { ...sessionHandler([]), filesystems: () => gate.then(() => []) };
    const [far, near] = memoryPair({ bufferBytesMax: 1 });
    const limits = { pipelinedRequestsMax: 2 };
    const served = ByteStreamRPC.listen(near, { clientIdentity: 'tester', handler, limits, maximumVersion: 1 });
    const peer = new ScriptedPeer(far);
    peer.send(request(1, idOf(1), { ClientVersion: 1 }));
    await peer.message();
    let written = 0;
    const writing = (async () => {
      for (const bytes of Array.from({ length: 20 }, (_, count) => filesystems(count))) {
        await far.write(bytes);
        written++;
      }
    })();
    for (let turns = 0; turns < 50; turns++) await new Promise((resolve) => setImmediate(resolve));
    // One is handled, two wait, and the next may be in the line.
    expect(written).toBeLessThanOrEqual(4);
    open();
    for (let count = 0; count < 20; count++) {
      expect(await nextJSON(peer)).toMatchObject({ RequestId: idOf(count), ErrorId: 0 });
      expect(await nextJSON(peer)).toEqual([]);
    }
    await writing;
    peer.end();
    await served;
  });
});

describe('what is told of an error', () => {
  test('is cut to what a header holds: its beginning and its end', async () => {
    const message = `tar failed: ${'"\u0001'.repeat(50_000)} the disk is full`;
    const failing = () => Promise.reject(new SnapferryError('SOURCE_FAILED', message));
    const { peer, expectInService } = await session({ filesystems: failing });
    peer.send(filesystems(2));
    const answer = (await peer.message())!.payload;
    expect(answer.byteLength).toBeLessThan(64 * 1024);
    const { Message: text } = JSON.parse(answer.toString()) as { Message: string };
    expect(text).toMatch(/^tar failed: .* \[…\] .* the disk is full$/s);
    await expectInService();
  });

  test('is nothing of the text of a foreign one, in answers and trailers', async () => {
    const secret = (): never => {
      throw new Error('ENOENT: /root/.secret');
    };
    const bytes = (async function* (): AsyncGenerator<Uint8Array> {
      await Promise.resolve();
      yield Buffer.from('a');
      secret();
    })();
    const transfer = { format: null, estimatedBytes: null, resumed: false, bytes };
    const { peer, expectInService } = await session({
      filesystems: secret,
      initialTransfer: () => Promise.resolve(transfer),
    });
    peer.send(filesystems(2));
    expect(await nextJSON(peer)).toMatchObject({
      ErrorId: 5,
      Code: 'INTERNAL',
      Message: expect.not.stringContaining('secret') as string,
    });
    peer.send(request(0x12, idOf(3), { Filesystem: filesystem, FilesystemVersion: {} }));
    await peer.message();
    await peer.message();
    expect(await nextJSON(peer)).toMatchObject({
      ErrorId: 5,
      Code: 'SOURCE_FAILED',
      Message: 'the transfer failed; the log of the side that was asked says why',
    });
    await expectInService();
  });

  test.each([
    [
      'a list with a number too large',
      {
        filesystemVersions: () =>
          Promise.resolve([{ type: 's', name: 'n', guid: 2n ** 64n, createTXG: 1n, creation: null }]),
      },
      versions(2),
    ],
    [
      'an estimate that is no integer',
      { transferEstimate: () => Promise.resolve(1.5) },
      request(0x14, idOf(2), { Filesystem: filesystem, To: {} }),
    ],
  ])('%s is an error, not half an answer', async (_, changes, bytes) => {
    const { peer } = await session(changes);
    peer.send(bytes);
    expect(await nextJSON(peer)).toMatchObject({ RequestId: idOf(2), ErrorId: 5, ResponseType: 0 });
    peer.send(filesystems(3));
    expect(await nextJSON(peer)).toMatchObject({ RequestId: idOf(3), ErrorId: 0 });
  });

  test('a transfer that cannot be announced is closed', async () => {
    const closed: string[] = [];
    const bytes = {
      [Symbol.asyncIterator]: () => ({
        next: () => new Promise<never>(() => undefined),
        return: () => {
          closed.push('closed');
          return Promise.resolve({ done: true as const, value: undefined });
        },
      }),
    };
    const transfer = { format: null, estimatedBytes: 0.5, resumed: false, bytes };
    const { peer, expectInService } = await session({ initialTransfer: () => Promise.resolve(transfer) });
    peer.send(request(0x12, idOf(2), { Filesystem: filesystem, FilesystemVersion: {} }));
    expect(await nextJSON(peer)).toMatchObject({ RequestId: idOf(2), ErrorId: 5, ResponseType: 0 });
    expect(closed).toEqual(['closed']);
    await expectInService();
  });
});

test('progress of a request that is over is not told', async () => {
  const contexts: RequestContext[] = [];
  const { peer } = await session({
    filesystems: (_, context) => {
      contexts.push(context);
      return Promise.resolve([]);
    },
  });
  peer.send(filesystems(2));
  await nextJSON(peer);
  expect(await nextJSON(peer)).toEqual([]);
  contexts[0]!.progress({ message: 'late', done: null, total: null });
  peer.send(filesystems(3));
  expect(await nextJSON(peer)).toMatchObject({ RequestId: idOf(3), ErrorId: 0 });
});

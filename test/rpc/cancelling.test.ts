import { describe, expect, test } from 'vitest';
import { idOf, nextJSON, request } from '../support/scripted-session.ts';
import { cancel, filesystems, session, versions } from '../support/served-session.ts';
import { filesystem } from '../support/session.ts';
import { hang } from '../support/transfers.ts';

describe('Cancel (scenario 18)', () => {
  test('of the request being handled', async () => {
    const hanging = hang();
    const { peer, expectInService } = await session({ filesystems: (_, context) => hanging.until(context) });
    peer.send(filesystems(2));
    await hanging.begun;
    peer.send(cancel(2));
    expect(await nextJSON(peer)).toMatchObject({ RequestId: idOf(2), ErrorId: 7, Code: 'CANCELLED', ResponseType: 0 });
    await hanging.stopped;
    await expectInService();
  });

  test('of one that still waits: it is never handled, the one before it is untouched', async () => {
    const hanging = hang();
    const handled: string[] = [];
    const { peer, expectInService } = await session({
      filesystems: (_, context) => hanging.until(context),
      transferEstimate: () => {
        handled.push('estimate');
        return Promise.resolve(1);
      },
    });
    peer.send(Buffer.concat([filesystems(2), request(0x14, idOf(3), { Filesystem: filesystem, To: {} }), cancel(3)]));
    await hanging.begun;
    peer.send(cancel(2));
    expect(await nextJSON(peer)).toMatchObject({ RequestId: idOf(2), ErrorId: 7 });
    expect(await nextJSON(peer)).toMatchObject({ RequestId: idOf(3), ErrorId: 7 });
    expect(handled).toEqual([]);
    await expectInService();
  });

  test('in the same piece as its request', async () => {
    const hanging = hang();
    const { peer, expectInService } = await session({ filesystems: (_, context) => hanging.until(context) });
    peer.send(Buffer.concat([filesystems(2), cancel(2)]));
    expect(await nextJSON(peer)).toMatchObject({ RequestId: idOf(2), ErrorId: 7 });
    await expectInService();
  });

  test('in mid-stream: the trailer says so', async () => {
    const endless = (async function* (): AsyncGenerator<Uint8Array> {
      for (;;) {
        await new Promise((resolve) => setImmediate(resolve));
        yield Buffer.alloc(10);
      }
    })();
    const transfer = { format: 'zfs', estimatedBytes: null, resumed: false, bytes: endless };
    const { peer, expectInService } = await session({ initialTransfer: () => Promise.resolve(transfer) });
    peer.send(request(0x12, idOf(2), { Filesystem: filesystem, FilesystemVersion: {} }));
    expect(await nextJSON(peer)).toMatchObject({ RequestId: idOf(2), StreamFormat: 'zfs' });
    peer.send(cancel(2));
    const { payload } = (await peer.message())!;
    expect(await nextJSON(peer)).toMatchObject({ ErrorId: 7, Code: 'CANCELLED', Bytes: payload.byteLength });
    await expectInService();
  });

  test('of nothing, of what is over, and twice, changes nothing', async () => {
    const hanging = hang();
    const { peer, expectInService } = await session({ filesystems: (_, context) => hanging.until(context) });
    await expectInService();
    peer.send(Buffer.concat([cancel(99), cancel(5)]));
    peer.send(Buffer.concat([filesystems(2), cancel(2), cancel(2)]));
    expect(await nextJSON(peer)).toMatchObject({ RequestId: idOf(2), ErrorId: 7 });
    peer.send(cancel(2));
    await expectInService();
  });

  test('is never lost or misled, wherever it races with the answer', async () => {
    const { peer, expectInService } = await session();
    for (let round = 0; round < 50; round++) {
      peer.send(versions(2));
      for (let turns = 0; turns < round % 10; turns++) await Promise.resolve();
      peer.send(Buffer.concat([cancel(2), filesystems(3)]));
      const answer = (await nextJSON(peer))!;
      if (answer['ErrorId'] === 0) expect(await nextJSON(peer)).toHaveLength(2);
      else expect(answer).toMatchObject({ RequestId: idOf(2), ErrorId: 7 });
      expect(await nextJSON(peer)).toMatchObject({ RequestId: idOf(3), ErrorId: 0 });
      expect(await nextJSON(peer)).toEqual([filesystem]);
    }
    await expectInService();
  });
});

describe('a requester that vanishes', () => {
  test.each(['end', 'abort'] as const)(
    'by %s stops what is being handled, and what waits is not begun',
    async (how) => {
      const hanging = hang();
      const handled: string[] = [];
      const { peer, served } = await session({
        filesystems: (_, context) => hanging.until(context),
        filesystemVersions: () => {
          handled.push('versions');
          return Promise.resolve([]);
        },
      });
      peer.send(Buffer.concat([filesystems(2), versions(3)]));
      await hanging.begun;
      peer[how]();
      await hanging.stopped;
      const failure = await served;
      expect(failure?.code ?? null).toBe(how === 'end' ? null : 'CONNECTION_LOST');
      expect(handled).toEqual([]);
    },
  );

  test('in mid-stream stops the source', async () => {
    const stopping = hang();
    const bytes = (async function* (): AsyncGenerator<Uint8Array> {
      try {
        for (;;) {
          await new Promise((resolve) => setImmediate(resolve));
          yield Buffer.alloc(10);
        }
      } finally {
        stopping.stop();
      }
    })();
    const transfer = { format: null, estimatedBytes: null, resumed: false, bytes };
    const { peer, served } = await session({ initialTransfer: () => Promise.resolve(transfer) });
    peer.send(request(0x12, idOf(2), { Filesystem: filesystem, FilesystemVersion: {} }));
    await peer.message();
    peer.abort();
    await stopping.stopped;
    expect(await served).toMatchObject({ code: 'CONNECTION_LOST' });
  });
});

import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { ByteStreamRPC, type ByteStreamRPCOptions } from '../../src/rpc/byte-stream-rpc.ts';
import type { RequestContext } from '../../src/rpc/interfaces.ts';
import type { ByteStream } from '../../src/transport/byte-stream.ts';
import { changedStream } from '../support/changed-stream.ts';
import { chunkOf, controlOf, messageOf, scripted } from '../support/scripted-peer.ts';
import { answerTo, idOf, nextJSON, nextRequest, request, scriptedResponder } from '../support/scripted-session.ts';
import { moment, type Moment } from '../support/server-fixture.ts';
import { cancel, filesystems, session } from '../support/served-session.ts';
import { filesystem, sessionHandler } from '../support/session.ts';
import { turn } from '../support/transfers.ts';

const ask = { roots: null };
const heartbeatMs = 1000;

/** Our client in version 2, connected through a stream that takes writes only while it is not held. */
async function throttled(options: ByteStreamRPCOptions = {}) {
  const { stream, peer } = scripted();
  const held: Moment[] = [];
  let isHeld = false;
  let writes = 0;
  const write: ByteStream['write'] = async (bytes) => {
    writes++;
    if (isHeld) {
      held.push(moment());
      await held.at(-1)!.promise;
    }
    return stream.write(bytes);
  };
  const connecting = ByteStreamRPC.connect(changedStream(stream, { write }), { heartbeatMs, ...options });
  const { id } = (await nextRequest(peer))!;
  peer.send(answerTo(id, { ResponseType: 1, Version: 2, HeartbeatMs: 1, Digest: 'xxh64' }));
  const client = await connecting;
  const hold = (): void => void (isHeld = true);
  const release = (): void => {
    isHeld = false;
    held.splice(0).forEach((one) => one.resolve());
  };
  return { client, peer, hold, release, writes: () => writes };
}

describe('while nothing can be written', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  test('no signs of life pile up: what is written says enough when it can leave', async () => {
    const { client, peer, hold, release, writes } = await throttled();
    hold();
    const before = writes();
    const asked = client.filesystems(ask);
    for (let count = 0; count < 20; count++) {
      await vi.advanceTimersByTimeAsync(heartbeatMs);
      peer.send(controlOf());
      await turn();
    }
    expect(writes()).toBe(before + 1);
    release();
    const { id } = (await nextRequest(peer))!;
    await turn();
    expect(peer.untaken).toHaveLength(0);
    peer.send(Buffer.concat([answerTo(id, { ResponseType: 0x10 }), messageOf([filesystem])]));
    expect(await asked).toEqual([filesystem]);
    client.forceClose();
  });

  test('a connection that is dropped leaves no timer, whatever was still to be written', async () => {
    const { client, hold, release } = await throttled();
    hold();
    const calls = [client.filesystems(ask), client.filesystems(ask)].map((call) =>
      call.catch((error: unknown) => error),
    );
    client.forceClose();
    release();
    for (const call of calls) expect(await call).toMatchObject({ code: 'CANCELLED' });
    await turn();
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe('progress', () => {
  /** What a peer hears of a handler that tells `messages` before it answers. */
  async function heardOf(messages: readonly string[]): Promise<string[]> {
    const { peer } = await session({
      filesystems: async (_, context: RequestContext) => {
        for (const message of messages) {
          context.progress({ message, done: null, total: null });
          await turn();
        }
        return [];
      },
    });
    peer.send(filesystems(2));
    await turn();
    const heard: string[] = [];
    while (heard.length < messages.length) {
      while (peer.untaken.byteLength < 4) await turn();
      const length = peer.untaken.readUInt32LE() - 0x8000_0000;
      const json = JSON.parse(peer.untaken.subarray(4, 4 + length).toString()) as { Progress: { Message: string } };
      heard.push(json.Progress.Message);
      peer.skip(4 + length);
    }
    expect(await nextJSON(peer)).toMatchObject({ RequestId: idOf(2), ErrorId: 0 });
    peer.abort();
    return heard;
  }

  test('is cut to 512 characters: the peer takes no longer control chunk', async () => {
    const [fits, long] = ['x'.repeat(512), 'y'.repeat(100_000)];
    expect(await heardOf([fits, long])).toEqual([fits, 'y'.repeat(512)]);
  });

  test('that cannot leave at once is dropped: it would be old when it can', async () => {
    const { stream, peer } = scripted();
    let goOn = (): void => undefined;
    let isHeld = false;
    const written: string[] = [];
    const write: ByteStream['write'] = async (bytes) => {
      written.push(Buffer.from(bytes.subarray()).toString());
      if (isHeld) await new Promise<void>((resolve) => (goOn = resolve));
      return stream.write(bytes);
    };
    const told = moment();
    const handler = {
      ...sessionHandler([]),
      filesystems: async (_: unknown, context: RequestContext) => {
        isHeld = true;
        for (const message of ['first', 'second', 'third']) context.progress({ message, done: null, total: null });
        await turn();
        isHeld = false;
        told.resolve();
        return [];
      },
    };
    const options = { clientIdentity: 'tester', handler, heartbeatMs: 60_000 };
    const served = ByteStreamRPC.listen(changedStream(stream, { write }), options);
    served.catch(() => undefined);
    peer.send(request(1, idOf(1), { ClientVersion: 1, MaxVersion: 2 }));
    await peer.message();
    peer.send(filesystems(2));
    await told.promise;
    goOn();
    await turn();
    expect(
      written.filter((text) => text.includes('Progress')).map((text) => /"Message":"(\w+)"/.exec(text)?.[1]),
    ).toEqual(['first']);
    peer.abort();
  });

  test('whose receiver fails is logged, and the call goes on', async () => {
    const lines: string[] = [];
    const logger = pino({ level: 'warn' }, { write: (line: string) => lines.push(line) });
    const { client, peer } = await scriptedResponder({ logger });
    const onProgress = (): never => {
      throw new Error('the display is gone');
    };
    const asked = client.filesystems(ask, { onProgress });
    const { id } = (await nextRequest(peer))!;
    const progress = controlOf({ Progress: { Message: 'm', Done: 1, Total: 2 } });
    peer.send(Buffer.concat([progress, answerTo(id, { ResponseType: 0x10 }), messageOf([filesystem])]));
    expect(await asked).toEqual([filesystem]);
    expect(lines.map((line) => JSON.parse(line) as unknown)).toMatchObject([
      { msg: 'the receiver of progress failed', err: { message: 'the display is gone' } },
    ]);
    client.forceClose();
  });
});

describe('control chunks that are for nobody', () => {
  const strays = [
    controlOf(),
    controlOf({ Cancel: idOf(9) }),
    controlOf({ Other: 1 }),
    controlOf({ Progress: { Message: 'm' } }),
  ];

  test('change nothing at a client', async () => {
    const lines: string[] = [];
    const logger = pino({ level: 'info' }, { write: (line: string) => lines.push(line) });
    const { client, peer } = await scriptedResponder({ logger });
    peer.send(Buffer.concat(strays));
    for (let count = 0; count < 2; count++) {
      const asked = client.filesystems(ask);
      const { id } = (await nextRequest(peer))!;
      peer.send(
        Buffer.concat([...strays, answerTo(id, { ResponseType: 0x10 }), ...strays, messageOf([filesystem]), ...strays]),
      );
      expect(await asked).toEqual([filesystem]);
    }
    expect(lines).toEqual([]);
    client.forceClose();
  });

  test('change nothing at a server', async () => {
    const { peer, expectInService } = await session();
    peer.send(Buffer.concat([...strays, cancel(9)]));
    await expectInService();
    peer.send(Buffer.concat(strays));
    await expectInService();
    peer.abort();
  });

  test('change nothing at a server that is busy', async () => {
    const goOn = moment();
    const { peer, expectInService } = await session({ filesystems: () => goOn.promise.then(() => []) });
    peer.send(filesystems(2));
    await turn();
    peer.send(Buffer.concat(strays));
    await turn();
    goOn.resolve();
    expect(await nextJSON(peer)).toMatchObject({ RequestId: idOf(2), ErrorId: 0 });
    expect(await nextJSON(peer)).toEqual([]);
    await expectInService();
    peer.abort();
  });

  test('nested too deeply end the connection, and are named', async () => {
    const { client, peer } = await scriptedResponder();
    const asked = client.filesystems(ask);
    await nextRequest(peer);
    peer.send(chunkOf(Buffer.from(`{"Other":${'['.repeat(32)}`), 0x8000_0000));
    await expect(asked).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' });
    await expect(asked).rejects.toThrow('cannot decode control chunk: JSON nested deeper than 32');
  });
});

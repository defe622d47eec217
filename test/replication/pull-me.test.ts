import { describe, expect, it } from 'vitest';
import { boundReport, pullInto } from '../../src/replication/pull-me.ts';
import type { FilesystemResult, RPCHandler } from '../../src/rpc/interfaces.ts';
import { LocalRPC } from '../../src/rpc/local-rpc.ts';
import { connectByWire } from '../support/connect.ts';
import { memoryBackend } from '../support/memory-backend.ts';
import { SnapferryError } from '../../src/errors.ts';

const policy = { initialReplicationPolicy: 'all' } as const;

/** A client with two snapshots of two datasets, and a server that receives. */
function pusherAndReceiver(options: Partial<Parameters<typeof pullInto>[0]> = {}) {
  const pusher = memoryBackend();
  const receiver = memoryBackend();
  for (const name of ['a', 'b']) for (const s of ['s1', 's2']) pusher.snapshot(name, s, `${name} ${s}`);
  const pullMe = pullInto({ sink: receiver.sink, jobId: 'push', ...options });
  const handler: RPCHandler = { ...receiver.handler, pullMe };
  return { pusher, receiver, handler };
}

describe('pullInto', () => {
  it('pulls what is pushed, with the request’s policy, into a place of the client’s own', async () => {
    const seen = new Set<string>();
    const { pusher, receiver, handler } = pusherAndReceiver({
      target: (filesystem, identity) => ['clients', identity, ...filesystem],
      select: ([name], identity) => name !== 'b' || identity !== 'laptop',
      onEvent: ({ kind }, identity) => void seen.add(`${identity} ${kind}`),
    });
    const connection = await connectByWire(handler, { clientIdentity: 'laptop' });
    const report = await connection.client.pullMe(policy, pusher.handler);
    expect(report?.filesystems).toMatchObject([{ filesystem: ['a'], ok: true, steps: 2 }]);
    expect(receiver.list('clients/laptop/a')).toBe('@s1 @s2');
    expect(pusher.list('a')).toContain('#cursor_push');
    expect(seen).toContain('laptop filesystemDone');

    pusher.snapshot('a', 's3', 'new');
    expect((await connection.client.pullMe(policy, pusher.handler))?.filesystems).toMatchObject([{ steps: 1 }]);
    expect(await connection.client.filesystems({ roots: null })).toContainEqual(['clients', 'laptop', 'a']);
    await connection.close();
  });

  it('tells the pusher which dataset failed, and why (scenario 19)', async () => {
    const { pusher, receiver, handler } = pusherAndReceiver();
    receiver.faults.beforeCommit = ([name]) => {
      if (name === 'a') throw new SnapferryError('INTERNAL', 'the disk is full');
    };
    const connection = await connectByWire(handler, { clientIdentity: 'laptop' });
    const report = await connection.client.pullMe(policy, pusher.handler);
    expect(report?.filesystems.map(({ ok, message }) => `${ok} ${message}`)).toEqual([
      'false the disk is full',
      'true ',
    ]);
    await connection.close();
  });

  it.each(['', 'local'])('refuses the identity "%s" before anything is asked of the client', async (clientIdentity) => {
    const { pusher, receiver, handler } = pusherAndReceiver();
    const asked: string[] = [];
    pusher.faults.call = (name) => void asked.push(name);
    const near = LocalRPC.connect(handler, { clientIdentity });
    await expect(near.pullMe(policy, pusher.handler)).rejects.toMatchObject({ code: 'ACCESS_DENIED' });
    const far = await connectByWire(handler, { clientIdentity });
    await expect(far.client.pullMe(policy, pusher.handler)).rejects.toMatchObject({ code: 'ACCESS_DENIED' });
    await far.close();
    expect(asked).toEqual([]);
    expect(receiver.datasets.size).toBe(0);
  });

  it('lets a caller in this process push when told so', async () => {
    const { pusher, receiver, handler } = pusherAndReceiver({ allowLocal: true });
    const report = await LocalRPC.connect(handler).pullMe(policy, pusher.handler);
    expect(report?.filesystems.map(({ ok }) => ok)).toEqual([true, true]);
    expect(receiver.list('b')).toBe('@s1 @s2');
  });

  it('a pull that cannot even list is a failed push', async () => {
    const { pusher, handler } = pusherAndReceiver();
    pusher.faults.call = () => {
      throw new SnapferryError('SOURCE_FAILED', 'pool is suspended');
    };
    const connection = await connectByWire(handler, { clientIdentity: 'laptop' });
    await expect(connection.client.pullMe(policy, pusher.handler)).rejects.toThrow(/pool is suspended/);
    await connection.close();
  });

  it('goes on when its watcher throws', async () => {
    const { pusher, handler } = pusherAndReceiver({
      allowLocal: true,
      onEvent: () => {
        throw new Error('display is gone');
      },
    });
    const report = await LocalRPC.connect(handler).pullMe(policy, pusher.handler);
    expect(report?.filesystems.map(({ ok }) => ok)).toEqual([true, true]);
  });
});

describe('boundReport', () => {
  const result = (index: number, text: string): FilesystemResult => ({
    filesystem: [`d${index}`],
    ok: false,
    code: 'SOURCE_FAILED',
    message: text,
    notices: [text],
    missing: [text, text],
    bytes: 1,
    steps: 1,
  });

  it('leaves an ordinary report alone', () => {
    const report = { filesystems: [result(1, 'x'), result(2, 'y')] };
    expect(boundReport(report)).toBe(report);
  });

  it('keeps every result of a large one', () => {
    const bounded = boundReport({ filesystems: Array.from({ length: 500 }, (_, n) => result(n, 'long '.repeat(500))) });
    expect(bounded.filesystems.map(({ filesystem }) => filesystem[0])).toEqual(
      Array.from({ length: 500 }, (_, n) => `d${n}`),
    );
    expect(bounded.filesystems[7]?.message).toMatch(/^long .*…$/s);
    expect(bounded.filesystems[7]?.ok).toBe(false);
    expect(JSON.stringify(bounded.filesystems[7]?.message).length).toBeLessThan(600);
  });
});

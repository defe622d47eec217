import { pino } from 'pino';
import { expect, test } from 'vitest';
import { leavingHandler, watchedTransfers } from '../../src/cli/watched-handler.ts';
import type { FilesystemVersion } from '../../src/dataset.ts';
import { SnapferryError } from '../../src/errors.ts';
import type { RequestContext, RPCHandler } from '../../src/rpc/interfaces.ts';

const context: RequestContext = {
  clientIdentity: 'test',
  signal: new AbortController().signal,
  logger: pino({ level: 'silent' }),
  progress: () => {},
};
const version: FilesystemVersion = { type: 'snapshot', name: 'a', guid: 1n, createTXG: 1n, creation: null };
const request = { filesystem: ['a'], version };

function handlerOf(pieces: () => AsyncGenerator<Uint8Array>): RPCHandler {
  const transfer = () =>
    Promise.resolve({ format: 'x', estimatedBytes: 3, resumed: false, bytes: { [Symbol.asyncIterator]: pieces } });
  return {
    filesystems: () => Promise.resolve([['a']]),
    filesystemVersions: () => Promise.resolve([version]),
    initialTransfer: transfer,
    incrementalTransfer: transfer,
    pullMe: () => Promise.resolve(() => Promise.resolve({ filesystems: [] })),
  };
}

async function* threeBytes() {
  yield await Promise.resolve(new Uint8Array(1));
  yield new Uint8Array(2);
}

async function drain(handler: RPCHandler, piecesMax = Infinity): Promise<void> {
  const iterator = (await handler.initialTransfer(request, context)).bytes[Symbol.asyncIterator]();
  for (let pieces = 0; pieces < piecesMax; pieces += 1) {
    if ((await iterator.next()).done === true) return;
  }
  await iterator.return?.();
}

test('a watched transfer tells its bytes, and its failure but not that it was left or cancelled', async () => {
  let bytes = 0;
  const failures: unknown[] = [];
  const watch = { onBytes: (count: number) => (bytes += count), onTransferFailed: (e: unknown) => failures.push(e) };
  await drain(watchedTransfers(handlerOf(threeBytes), watch));
  expect(bytes).toBe(3);
  await drain(watchedTransfers(handlerOf(threeBytes), watch), 1);
  const failing = (error: Error) =>
    watchedTransfers(
      handlerOf(async function* () {
        yield* threeBytes();
        throw error;
      }),
      watch,
    );
  const cancelled = new SnapferryError('CANCELLED', 'stopped');
  await expect(drain(failing(cancelled))).rejects.toBe(cancelled);
  expect(failures).toEqual([]);
  const broken = new Error('broken');
  await expect(drain(failing(broken))).rejects.toBe(broken);
  expect(failures).toEqual([broken]);
});

test('leaving is done at once when nothing is under way, and refuses what comes later', async () => {
  const { handler, leave } = leavingHandler(handlerOf(threeBytes));
  await drain(handler);
  await drain(handler, 1);
  await handler.filesystems({ roots: null }, context);
  await leave();
  const goodbye = { code: 'GOODBYE', retryable: true };
  await expect(handler.filesystems({ roots: null }, context)).rejects.toMatchObject(goodbye);
  await expect(handler.filesystemVersions({ filesystem: ['a'] }, context)).rejects.toMatchObject(goodbye);
  await expect(handler.initialTransfer(request, context)).rejects.toMatchObject(goodbye);
  await expect(handler.pullMe!({ initialReplicationPolicy: 'all' }, context)).rejects.toMatchObject(goodbye);
});

test('leaving waits for a transfer and for a pull that is under way', async () => {
  const { handler, leave } = leavingHandler(handlerOf(threeBytes));
  const transfer = await handler.initialTransfer(request, context);
  const iterator = transfer.bytes[Symbol.asyncIterator]();
  await iterator.next();
  let hasLeft = false;
  const left = leave().then(() => (hasLeft = true));
  await iterator.next();
  expect(hasLeft).toBe(false);
  await iterator.next();
  await left;

  let finish = () => {};
  const pulling = leavingHandler({
    ...handlerOf(threeBytes),
    pullMe: () => Promise.resolve(() => new Promise((resolve) => (finish = () => resolve({ filesystems: [] })))),
  });
  const pull = await pulling.handler.pullMe!({ initialReplicationPolicy: 'all' }, context);
  const report = pull({} as never);
  const gone = pulling.leave();
  finish();
  await Promise.all([report, gone]);
});

test('a transfer that fails to start is not waited for', async () => {
  const { handler, leave } = leavingHandler({
    ...handlerOf(threeBytes),
    initialTransfer: () => Promise.reject(new Error('no')),
  });
  await expect(handler.initialTransfer(request, context)).rejects.toThrow('no');
  await leave();
});

import { pino } from 'pino';
import { expect, test } from 'vitest';
import { watchedTransfers } from '../../src/jobs/watched-transfers.ts';
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

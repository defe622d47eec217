import { pino } from 'pino';
import { expect, it, vi } from 'vitest';
import type { DatasetPath, FilesystemVersion } from '../../src/dataset.ts';
import { restricted } from '../../src/handlers/restricted.ts';
import type { RequestContext, RPCHandler } from '../../src/rpc/interfaces.ts';

const context: RequestContext = {
  clientIdentity: 'web1',
  signal: new AbortController().signal,
  logger: pino({ level: 'silent' }),
  progress: () => {},
};
const version: FilesystemVersion = { type: 'snapshot', name: 'a', guid: 1n, createTXG: 1n, creation: null };
const transfer = {
  format: null,
  estimatedBytes: null,
  resumed: false,
  bytes: { [Symbol.asyncIterator]: () => ({ next: () => Promise.resolve({ done: true as const, value: undefined }) }) },
};

const open = () => ({
  filesystems: vi.fn<RPCHandler['filesystems']>(() => Promise.resolve([['mine'], ['listed'], ['other']])),
  filesystemVersions: vi.fn<RPCHandler['filesystemVersions']>(() => Promise.resolve([version])),
  initialTransfer: vi.fn<RPCHandler['initialTransfer']>(() => Promise.resolve(transfer)),
  incrementalTransfer: vi.fn<RPCHandler['incrementalTransfer']>(() => Promise.resolve(transfer)),
  transferEstimate: vi.fn<NonNullable<RPCHandler['transferEstimate']>>(() => Promise.resolve(1)),
  transferCompleted: vi.fn<NonNullable<RPCHandler['transferCompleted']>>(() => Promise.resolve()),
  pullMe: vi.fn<NonNullable<RPCHandler['pullMe']>>(() => Promise.resolve(() => Promise.resolve({ filesystems: [] }))),
});

const policy = {
  mayList: (filesystem: DatasetPath) => ['mine', 'listed'].includes(filesystem[0] ?? ''),
  // `other` may be read but not listed: reading needs both.
  mayRead: (filesystem: DatasetPath) => ['mine', 'other'].includes(filesystem[0] ?? ''),
  mayPush: false,
};

/** Every call, with what it needs. */
const calls: [keyof ReturnType<typeof open>, (handler: RPCHandler, filesystem: DatasetPath) => Promise<unknown>][] = [
  ['filesystemVersions', (handler, filesystem) => handler.filesystemVersions({ filesystem }, context)],
  ['initialTransfer', (handler, filesystem) => handler.initialTransfer({ filesystem, version }, context)],
  [
    'incrementalTransfer',
    (handler, filesystem) => handler.incrementalTransfer({ filesystem, from: version, to: version }, context),
  ],
  [
    'transferEstimate',
    (handler, filesystem) => handler.transferEstimate!({ filesystem, from: null, to: version }, context),
  ],
  [
    'transferCompleted',
    (handler, filesystem) => handler.transferCompleted!({ filesystem, version, jobId: 'j' }, context),
  ],
];

it('lists only what may be listed', async () => {
  expect(await restricted(open(), policy).filesystems({ roots: null }, context)).toEqual([['mine'], ['listed']]);
});

it.each(calls)('%s of a dataset that is allowed is passed on', async (name, call) => {
  const handler = open();
  await call(restricted(handler, policy), ['mine']);
  expect(handler[name]).toHaveBeenCalledOnce();
});

it.each(calls)('%s of another dataset is refused and never reaches the handler', async (name, call) => {
  const forbidden = name === 'filesystemVersions' ? [['other'], ['absent']] : [['other'], ['listed'], ['absent']];
  for (const filesystem of forbidden) {
    const handler = open();
    await expect(call(restricted(handler, policy), filesystem)).rejects.toMatchObject({
      code: 'ACCESS_DENIED',
      message: expect.stringContaining(`web1 may not`) as string,
    });
    expect(handler[name]).not.toHaveBeenCalled();
  }
});

it('refuses PullMe before the handler confirms it', async () => {
  const handler = open();
  const request = { initialReplicationPolicy: 'all' } as const;
  await expect(restricted(handler, policy).pullMe!(request, context)).rejects.toMatchObject({ code: 'ACCESS_DENIED' });
  expect(handler.pullMe).not.toHaveBeenCalled();
  await restricted(handler, { ...policy, mayPush: true }).pullMe!(request, context);
  expect(handler.pullMe).toHaveBeenCalledOnce();
});

it('leaves absent what the handler lacks', () => {
  const { filesystems, filesystemVersions, initialTransfer, incrementalTransfer } = open();
  const handler = restricted({ filesystems, filesystemVersions, initialTransfer, incrementalTransfer }, policy);
  expect(Object.keys(handler).sort()).toEqual([
    'filesystemVersions',
    'filesystems',
    'incrementalTransfer',
    'initialTransfer',
  ]);
});

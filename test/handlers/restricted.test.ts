import { pino } from 'pino';
import { describe, expect, it, vi } from 'vitest';
import { parseDatasetFilter } from '../../src/dataset-filter.ts';
import type { DatasetPath, FilesystemVersion } from '../../src/dataset.ts';
import { SnapferryError } from '../../src/errors.ts';
import type { ResumeTokenClaims } from '../../src/handlers/admit-token.ts';
import { restricted } from '../../src/handlers/restricted.ts';
import type { AccessPolicy } from '../../src/handlers/restricted.ts';
import { calls as callTable } from '../../src/rpc/call-table.ts';
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

type CallName = keyof typeof callTable;

/** Every request of the protocol, made of whatever names it is given. */
const requests: Record<CallName, (handler: RPCHandler, named: Named) => Promise<unknown>> = {
  filesystems: (handler, { filesystem }) => handler.filesystems({ roots: [filesystem.join('/')] }, context),
  filesystemVersions: (handler, { filesystem }) => handler.filesystemVersions({ filesystem }, context),
  initialTransfer: (handler, { filesystem, to, resumeToken, jobId }) =>
    handler.initialTransfer({ filesystem, version: to, resumeToken, jobId }, context),
  incrementalTransfer: (handler, { filesystem, from, to, resumeToken, jobId }) =>
    handler.incrementalTransfer({ filesystem, from, to, resumeToken, jobId }, context),
  transferEstimate: (handler, { filesystem, from, to, resumeToken }) =>
    handler.transferEstimate!({ filesystem, from, to, resumeToken }, context),
  transferCompleted: (handler, { filesystem, to, jobId }) =>
    handler.transferCompleted!({ filesystem, version: to, jobId: jobId ?? 'job' }, context),
  pullMe: (handler) => handler.pullMe!({ initialReplicationPolicy: 'all' }, context),
};

interface Named {
  readonly filesystem: DatasetPath;
  readonly from: FilesystemVersion;
  readonly to: FilesystemVersion;
  readonly resumeToken?: string;
  readonly jobId?: string;
}

const base: FilesystemVersion = { ...version, name: 'base', guid: 7n };
const harmless: Named = { filesystem: ['mine', 'data'], from: base, to: version, jobId: 'job' };

/** A handler of which nothing may be reached. */
function untouchable() {
  const handler = open();
  return {
    handler,
    reached: () => Object.entries(handler).flatMap(([name, call]) => (call.mock.calls[0] ? [name] : [])),
  };
}

describe('every request of the call table', () => {
  const names = Object.keys(callTable) as CallName[];

  it('is one this suite makes', () => {
    expect(Object.keys(requests).sort()).toEqual([...names].sort());
  });

  it.each(names)(
    '%s of what nobody allowed is refused before the handler sees it, or answers nothing',
    async (name) => {
      const { handler, reached } = untouchable();
      const nothing: AccessPolicy = { mayList: () => false, mayRead: () => false, mayPush: false };
      const answer = await requests[name](restricted(handler, nothing), harmless).catch((error: unknown) => error);
      if (name === 'filesystems') expect(answer).toEqual([]);
      else expect(answer).toMatchObject({ code: 'ACCESS_DENIED' });
      expect(reached()).toEqual(name === 'filesystems' ? [name] : []);
    },
  );

  it.each(names)('%s of what is allowed reaches the handler once', async (name) => {
    const { handler, reached } = untouchable();
    const filter = parseDatasetFilter({ 'mine<': true });
    const everything: AccessPolicy = { mayList: filter.matches, mayRead: filter.matches, mayPush: true };
    await requests[name](restricted(handler, everything), harmless);
    expect(reached()).toEqual([name]);
  });

  const hostileNames: [string, Partial<Named>][] = [
    ['a parent', { filesystem: ['mine', '..', 'other'] }],
    ['a slash inside a component', { filesystem: ['mine', 'a/b'] }],
    ['an empty component', { filesystem: ['mine', ''] }],
    ['a newline', { filesystem: ['mine', 'a\nb'] }],
    ['a NUL', { filesystem: ['mine', 'a\0b'] }],
    ['an option, by the backend', { filesystem: ['-r', 'mine'] }],
    ['a snapshot, by the backend', { filesystem: ['mine', 'a@b'] }],
  ];
  const named = names.filter((name) => name !== 'pullMe');
  it.each(named.flatMap((name) => hostileNames.map(([what, names]) => [name, what, names] as const)))(
    '%s with %s in the name of the dataset is refused',
    async (name, what, hostile) => {
      const { handler, reached } = untouchable();
      const zfsLike = (path: DatasetPath) => {
        if (path.some((component) => /^-|[@#]/.test(component)))
          throw new SnapferryError('INVALID_REQUEST', 'bad name');
      };
      const policy = { mayList: () => true, mayRead: () => true, mayPush: true, checkDataset: zfsLike };
      // A root is one text, in which a slash separates.
      if (name === 'filesystems' && what.includes('slash')) return;
      const call = requests[name](restricted(handler, policy), { ...harmless, ...hostile });
      if (name === 'filesystems' && what.includes('empty')) await call;
      else {
        await expect(call).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
        expect(reached()).toEqual([]);
      }
    },
  );

  const versionNames = ['', '..', '-F', 'a/b', 'a@b', 'a#b', 'a\tb', 'x'.repeat(256)];
  const withVersions = ['initialTransfer', 'incrementalTransfer', 'transferEstimate', 'transferCompleted'] as const;
  it.each(withVersions.flatMap((name) => versionNames.map((text) => [name, text] as const)))(
    '%s of a snapshot named %j is refused',
    async (name, text) => {
      const allowed: AccessPolicy = { mayList: () => true, mayRead: () => true, mayPush: true };
      const hostile = [{ to: { ...version, name: text } }];
      if (name === 'incrementalTransfer' || name === 'transferEstimate') {
        hostile.push({ from: { ...version, name: text } } as never);
      }
      for (const names of hostile) {
        const { handler, reached } = untouchable();
        const call = requests[name](restricted(handler, allowed), { ...harmless, ...names });
        await expect(call).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
        expect(reached()).toEqual([]);
      }
    },
  );

  it.each(['initialTransfer', 'incrementalTransfer', 'transferCompleted'] as const)(
    '%s for a job whose name could be an option or another name is refused',
    async (name) => {
      const allowed: AccessPolicy = { mayList: () => true, mayRead: () => true, mayPush: true };
      for (const jobId of ['-r', 'a/b', 'a@b', 'a\nb', '..']) {
        const { handler, reached } = untouchable();
        const call = requests[name](restricted(handler, allowed), { ...harmless, jobId });
        await expect(call).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
        expect(reached()).toEqual([]);
      }
    },
  );
});

describe('a resume token', () => {
  const transfers = ['initialTransfer', 'incrementalTransfer', 'transferEstimate'] as const;
  const claimsOf = (name: (typeof transfers)[number]): ResumeTokenClaims => ({
    filesystem: harmless.filesystem,
    fromGuid: name === 'initialTransfer' ? null : base.guid,
    toGuid: version.guid,
  });
  const policyWith = (claims: ResumeTokenClaims): AccessPolicy => ({
    mayList: () => true,
    mayRead: () => true,
    mayPush: false,
    readResumeToken: () => claims,
  });

  it.each(transfers)('of exactly the transfer %s asks for is passed on', async (name) => {
    for (const claims of [claimsOf(name), { ...claimsOf(name), filesystem: null }]) {
      const handler = open();
      await requests[name](restricted(handler, policyWith(claims)), { ...harmless, resumeToken: 'token' });
      expect(handler[name].mock.calls[0]![0]).toMatchObject({ resumeToken: 'token' });
    }
  });

  it.each(transfers)('of anything else is refused by %s before the handler sees it', async (name) => {
    const own = claimsOf(name);
    const others: ResumeTokenClaims[] = [
      { ...own, filesystem: ['other'] },
      { ...own, filesystem: ['mine'] },
      { ...own, filesystem: ['mine', 'data', 'below'] },
      { ...own, toGuid: own.toGuid + 1n },
      { ...own, fromGuid: own.fromGuid === null ? 1n : null },
      { ...own, fromGuid: 99n },
    ];
    for (const claims of others) {
      const { handler, reached } = untouchable();
      const call = requests[name](restricted(handler, policyWith(claims)), { ...harmless, resumeToken: 'token' });
      await expect(call).rejects.toMatchObject({ code: 'RESUME_TOKEN_INVALID' });
      expect(reached()).toEqual([]);
    }
  });

  it('that cannot be read is refused, whatever the reader throws', async () => {
    for (const thrown of [new RangeError('cut off'), new SnapferryError('RESUME_TOKEN_INVALID', 'no token')]) {
      const { handler, reached } = untouchable();
      const readResumeToken = () => {
        throw thrown;
      };
      const policy = { ...policyWith(claimsOf('initialTransfer')), readResumeToken };
      const call = requests.initialTransfer(restricted(handler, policy), { ...harmless, resumeToken: 'token' });
      await expect(call).rejects.toMatchObject({ code: 'RESUME_TOKEN_INVALID' });
      expect(reached()).toEqual([]);
    }
  });

  it.each(transfers)('is left out of %s where nobody can read it', async (name) => {
    const handler = open();
    const policy: AccessPolicy = { mayList: () => true, mayRead: () => true, mayPush: false };
    await requests[name](restricted(handler, policy), { ...harmless, resumeToken: 'token' });
    expect(handler[name].mock.calls[0]![0].resumeToken).toBeUndefined();
  });
});

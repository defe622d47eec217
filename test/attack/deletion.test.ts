import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { FilesystemVersion } from '../../src/dataset.ts';
import { directoryDestroyer } from '../../src/handlers/directory/destroy.ts';
import { directoryHandler } from '../../src/handlers/directory/handler.ts';
import { delegating } from '../../src/handlers/delegating.ts';
import { restricted } from '../../src/handlers/restricted.ts';
import { pullInto } from '../../src/replication/pull-me.ts';
import { executeRetention } from '../../src/retention/execute-retention.ts';
import { planRetention } from '../../src/retention/plan-retention.ts';
import type { RetentionRule } from '../../src/retention/retention-rule.ts';
import type { RPCHandler, RPCRequester } from '../../src/rpc/interfaces.ts';
import { requestType } from '../../src/rpc/protocol.ts';
import { connectByWire, type TestConnection } from '../support/connect.ts';
import { describeTree, DirectoryFixture, filesystem } from '../support/directory-fixture.ts';

const hourMs = 3_600_000;

let honest: DirectoryFixture;
let liar: DirectoryFixture;
let taken: FilesystemVersion[];
let connection: TestConnection;
let kept: Record<string, string>;

/** A copy with three snapshots, and a client that may do with it all that clients may. */
beforeEach(async () => {
  honest = new DirectoryFixture();
  liar = new DirectoryFixture();
  taken = [];
  for (const content of ['one', 'two', 'three']) {
    writeFileSync(join(honest.source, 'file'), content);
    taken.push(await honest.snapshot());
    await honest.transfer(taken.at(-2) ?? null, taken.at(-1)!);
  }
  const stored = directoryHandler({ datasets: [{ path: filesystem, directory: honest.copy }] });
  const pullMe = pullInto({ sink: honest.sink, jobId: 'push', retry: { attemptsMax: 1 } });
  const everything = { mayList: () => true, mayRead: () => true, mayPush: true, mayAsk: () => true };
  connection = await connectByWire(restricted(delegating(stored, { pullMe }), everything), { clientIdentity: 'thief' });
  kept = trees();
});
afterEach(async () => {
  await connection.close();
  await honest.cleanup();
  await liar.cleanup();
});

/** The tree of each of the snapshots that were there. */
function trees(): Record<string, string> {
  const snapshots = join(honest.copy, 'snapshots');
  const names = readdirSync(snapshots).filter((name) => taken.some((version) => version.name === name));
  return Object.fromEntries(names.map((name) => [name, JSON.stringify(describeTree(join(snapshots, name)))]));
}

const push = (handler: RPCHandler) => connection.client.pullMe({ initialReplicationPolicy: 'all' }, handler);

describe('what a client says it has', () => {
  const lies: Record<string, () => Promise<RPCHandler> | RPCHandler> = {
    'nothing at all': () => delegating(honest.handler, { filesystems: () => Promise.resolve([]) }),
    'the dataset, without a snapshot': () =>
      delegating(honest.handler, { filesystemVersions: () => Promise.resolve([]) }),
    'only the oldest, as after a rollback': () =>
      delegating(honest.handler, { filesystemVersions: () => Promise.resolve(taken.slice(0, 1)) }),
    'another history under the same names': async () => {
      for (const { name } of taken) {
        writeFileSync(join(liar.source, 'file'), `not ${name}`);
        await liar.snapshot();
      }
      const names = taken.map(({ name }) => name);
      const forged = async (...[request, context]: Parameters<RPCHandler['filesystemVersions']>) =>
        (await liar.handler.filesystemVersions(request, context)).map((version, index) => ({
          ...version,
          name: names[index] ?? version.name,
        }));
      return delegating(liar.handler, { filesystemVersions: forged });
    },
    'a new one on top, with the guid of one that is there': () =>
      delegating(honest.handler, {
        filesystemVersions: () =>
          Promise.resolve([...taken, { ...taken[0]!, name: 'again', createTXG: taken[2]!.createTXG + 1n }]),
      }),
    'a new one on top, with the name of one that is there': () =>
      delegating(honest.handler, {
        filesystemVersions: () =>
          Promise.resolve([...taken, { ...taken[2]!, name: taken[0]!.name, guid: 7n, createTXG: 2n ** 62n }]),
      }),
  };

  test.each(Object.entries(lies))('%s: all that was stored stays as it was', async (_, lie) => {
    await push(await lie());
    expect(trees()).toEqual(kept);
  });
});

test('no call there is, of any version of the copy, removes or changes one', async () => {
  const { client } = connection;
  const calls: ((version: FilesystemVersion, other: FilesystemVersion) => Promise<unknown>)[] = [
    () => client.filesystems({ roots: null }),
    () => client.filesystemVersions({ filesystem }),
    (version) => client.transferEstimate({ filesystem, from: null, to: version }),
    (version) => left(client, { version }),
    (version, other) => client.transferCompleted({ filesystem, version: { ...version, name: other.name }, jobId: 'x' }),
    (version) => client.transferCompleted({ filesystem, version, jobId: 'push' }),
  ];
  for (const version of taken) {
    for (const other of taken) for (const call of calls) await call(version, other).catch(() => undefined);
  }
  expect(trees()).toEqual(kept);
});

async function left(client: RPCRequester, { version }: { version: FilesystemVersion }): Promise<void> {
  const { bytes } = await client.initialTransfer({ filesystem, version, jobId: 'x' });
  for await (const piece of bytes) if (piece.byteLength > 0) break;
}

test('a flood of snapshots evicts nothing that is younger than its floor, whatever the other rules say', async () => {
  const lie = { creation: '2099-01-01T00:00:00Z' };
  for (let round = 0; round < 5; round++) {
    writeFileSync(join(honest.source, 'file'), `flood ${round}`);
    await honest.snapshot();
  }
  const forged = async (...[request, context]: Parameters<RPCHandler['filesystemVersions']>) =>
    (await honest.handler.filesystemVersions(request, context)).map((version) => ({ ...version, ...lie }));
  const report = await push(delegating(honest.handler, { filesystemVersions: forged }));
  expect(report?.filesystems).toMatchObject([{ ok: true, steps: 5 }]);
  const destroyer = directoryDestroyer(honest.copy);
  const prune = async (now: Date): Promise<void> => {
    const rules: RetentionRule[] = [
      { type: 'last_n', count: 1, regex: null },
      { type: 'keep_for', ageMs: hourMs, regex: null },
    ];
    const plan = planRetention({ ...(await destroyer.list()), rules, others: 'destroy', now });
    expect((await executeRetention(plan, destroyer)).ok).toBe(true);
  };
  await prune(new Date());
  expect(trees()).toEqual(kept);
  // Without this the test would also hold where nothing is ever pruned.
  await prune(new Date(Date.now() + 2 * hourMs));
  expect(trees()).toEqual({});
});

test('the wire has no request that removes anything', () => {
  expect(Object.keys(requestType)).toMatchInlineSnapshot(`
    [
      "protocolVersion",
      "filesystems",
      "filesystemVersions",
      "initialTransfer",
      "incrementalTransfer",
      "transferEstimate",
      "transferCompleted",
      "pullMe",
      "upgrade",
      "close",
    ]
  `);
});

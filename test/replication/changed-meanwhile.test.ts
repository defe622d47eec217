import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { zfsTool } from '../../src/handlers/zfs/commands-tool.ts';
import { zfsSink } from '../../src/handlers/zfs/sink.ts';
import { delegating } from '../../src/handlers/delegating.ts';
import { takeSnapshot } from '../../src/handlers/directory/snapshot.ts';
import { replicate } from '../../src/replication/replicate.ts';
import type { FilesystemResult, RPCHandler } from '../../src/rpc/interfaces.ts';
import type { ReplicationSink } from '../../src/sink.ts';
import { connectByWire } from '../support/connect.ts';
import { contextWith, describeTree, DirectoryFixture } from '../support/directory-fixture.ts';
import type { FakePool } from '../support/fake-zfs-pool.ts';
import { outcomes } from '../support/replication-fixture.ts';
import { ZfsFixture } from '../support/zfs-fixture.ts';

/** A run over a connection of its own. */
async function run(handler: RPCHandler, sink: ReplicationSink): Promise<readonly FilesystemResult[]> {
  const connection = await connectByWire(handler);
  try {
    const retry = { attemptsMax: 1 };
    return (await replicate({ client: connection.client, sink, jobId: 'job', retry, policy: 'all' }).report)
      .filesystems;
  } finally {
    await connection.close();
  }
}

describe('ZFS, between the plan and any command behind it', () => {
  const copy = 'backup/home';
  let fixture: ZfsFixture;
  let pool: FakePool;

  beforeEach(async () => {
    fixture = await ZfsFixture.start();
    ({ pool } = fixture.fake);
    pool.create('backup');
    fixture.snapshot('one');
    expect(outcomes(await runOnce())).toEqual(['home ok 1']);
    fixture.snapshot('two');
  });
  afterEach(() => fixture.fake.stop());

  function runOnce() {
    const tool = zfsTool({ argv: [fixture.fake.program] });
    const sink = zfsSink({ locate: (path) => ['backup', ...path].join('/'), tool, jobId: 'job' });
    // As it is named on the wire: below the root.
    const handler = fixture.handler({ roots: [{ dataset: 'tank/home', path: ['home'] }] });
    return run(handler, sink);
  }

  const history = (name: string) =>
    (pool.datasets.get(name)?.snapshots ?? []).map((item) => `${item.name}=${item.content.toString()}`).join(' ');

  const rename = (from: string, to: string): void => {
    const dataset = pool.get(from);
    pool.datasets.delete(from);
    dataset.name = to;
    pool.datasets.set(to, dataset);
  };

  const before = 'one=content of one';
  const after = 'one=content of one two=content of two';

  const changes: Record<string, { change: () => void; then: string; ends: readonly string[] }> = {
    'the snapshot that is to be sent destroyed': {
      change: () => pool.destroy('tank/home', '@two'),
      then: 'home ok 0',
      ends: [before, after],
    },
    'the snapshot it starts from destroyed: the cursor stands in': {
      change: () => pool.destroy('tank/home', '@one'),
      then: 'home ok',
      ends: [after],
    },
    'the dataset renamed': {
      change: () => rename('tank/home', 'tank/house'),
      then: 'home DATASET_NOT_FOUND 0',
      ends: [before],
    },
    'the dataset made anew, with snapshots of the same names': {
      change() {
        pool.datasets.delete('tank/home');
        pool.create('tank/home');
        for (const name of ['one', 'two']) pool.snapshot('tank/home', name, Buffer.from(`another ${name}`));
      },
      then: 'home CONFLICT 0',
      ends: [before],
    },
    'a snapshot taken of the copy': {
      change: () => void pool.snapshot(copy, 'mine', Buffer.from('mine')),
      then: 'home CONFLICT 0',
      ends: [`${before} mine=mine`],
    },
    'something written into the copy': {
      change: () => void (pool.get(copy).isModified = true),
      then: 'home INVALID_REQUEST 0',
      ends: [before],
    },
    'the copy renamed: it is begun anew': {
      change: () => rename(copy, 'backup/elsewhere'),
      then: 'home ok',
      ends: [after, 'two=content of two'],
    },
  };

  test.each(Object.entries(changes))('%s', async (_, { change, then, ends }) => {
    const listings = await planningCalls();
    const seen = new Set<string>();
    for (let call = listings; ; call += 5) {
      let calls = -1;
      const moment = { isChanged: false };
      fixture.fake.intercept = () => {
        calls += 1;
        if (calls === call) {
          moment.isChanged = true;
          change();
        }
        return undefined;
      };
      const [result] = await runOnce();
      fixture.fake.intercept = () => undefined;
      if (!moment.isChanged) break;
      const when = `before call ${call}: ${result?.code ?? 'ok'} ${result?.message ?? ''}`;
      // What was committed before the change came is in order; what is there is never a mixture.
      const [late] = outcomes(await runOnce());
      const arrived = history(copy) === after || history(copy).startsWith(`${after} `);
      if (!arrived) expect(late, when).toContain(then);
      if (!arrived || then.startsWith('home ok'))
        expect(ends.includes(history(copy)), `${when}: ${history(copy)}`).toBe(true);
      expect(
        fixture.fake.callsOf('recv').some((args) => / -F /.test(args)),
        when,
      ).toBe(false);
      seen.add(result?.ok === true ? 'ok' : (result?.code ?? ''));
      await fixture.fake.stop();
      fixture = await ZfsFixture.start();
      ({ pool } = fixture.fake);
      pool.create('backup');
      fixture.snapshot('one');
      await runOnce();
      fixture.snapshot('two');
    }
    // Late enough, it does no harm any more.
    expect(seen, [...seen].join(' ')).toContain('ok');
  });

  /** How many calls of `zfs` a run makes until it has its plan. */
  async function planningCalls(): Promise<number> {
    const start = fixture.fake.calls.length;
    const connection = await connectByWire(fixture.handler({ roots: [{ dataset: 'tank/home', path: ['home'] }] }));
    await connection.client.filesystems({ roots: null });
    await connection.client.filesystemVersions({ filesystem: ['home'] });
    await connection.close();
    return fixture.fake.calls.length - start + 2;
  }
});

describe('a directory, between the plan and the transfer', () => {
  let fixture: DirectoryFixture;
  beforeEach(() => void (fixture = new DirectoryFixture()));
  afterEach(() => fixture.cleanup());

  async function changedBeforeSending(change: () => Promise<void> | void) {
    const handler = delegating(fixture.handler, {
      async incrementalTransfer(request, context) {
        await change();
        return fixture.handler.incrementalTransfer(request, context);
      },
    });
    writeFileSync(join(fixture.source, 'file'), 'one');
    const one = await fixture.snapshot();
    expect(outcomes(await run(fixture.handler, fixture.sink))).toEqual(['data ok 1']);
    writeFileSync(join(fixture.source, 'file'), 'two');
    const two = await fixture.snapshot();
    const kept = describeTree(fixture.copied(one));
    const [result] = await run(handler, fixture.sink);
    expect(describeTree(fixture.copied(one))).toEqual(kept);
    return { result, two };
  }

  test('moved away: it is not found, and back in its place the next run goes on', async () => {
    const away = `${fixture.source}-away`;
    const { result, two } = await changedBeforeSending(() => renameSync(fixture.source, away));
    expect(result).toMatchObject({ ok: false, code: 'DATASET_NOT_FOUND', steps: 0 });
    renameSync(away, fixture.source);
    expect(outcomes(await run(fixture.handler, fixture.sink))).toEqual(['data ok 1']);
    expect(describeTree(fixture.copied(two))).toEqual(describeTree(fixture.sent(two)));
  });

  test('made anew with snapshots of the same names: none is taken for what it was', async () => {
    const { result } = await changedBeforeSending(async () => {
      const versions = await fixture.handler.filesystemVersions({ filesystem: ['data'] }, contextWith());
      renameSync(fixture.source, `${fixture.source}-away`);
      mkdirSync(fixture.source);
      for (const { name } of versions.filter(({ type }) => type === 'snapshot')) {
        writeFileSync(join(fixture.source, 'file'), `another ${name}`);
        await takeSnapshot(fixture.source, { name });
      }
    });
    expect(result).toMatchObject({ ok: false, code: 'VERSION_NOT_FOUND', steps: 0 });
    expect(outcomes(await run(fixture.handler, fixture.sink))).toEqual(['data CONFLICT 0']);
  });

  test('received by somebody else meanwhile: nothing comes twice', async () => {
    const { result, two } = await changedBeforeSending(async () => {
      expect(outcomes(await run(fixture.handler, fixture.sink))).toEqual(['data ok 1']);
    });
    expect(result?.steps).toBe(0);
    expect(describeTree(fixture.copied(two))).toEqual(describeTree(fixture.sent(two)));
    expect(outcomes(await run(fixture.handler, fixture.sink))).toEqual(['data ok 0']);
  });
});

import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { FilesystemVersion } from '../../../src/dataset.ts';
import { zfsTool } from '../../../src/handlers/zfs/commands-tool.ts';
import {
  destroySnapshotsArguments,
  zfsDestroyer,
  type ZfsDestroyerOptions,
} from '../../../src/handlers/zfs/destroy.ts';
import { executeRetention } from '../../../src/retention/execute-retention.ts';
import { planRetention } from '../../../src/retention/plan-retention.ts';
import type { SnapshotDestroyer } from '../../../src/snapshot-destroyer.ts';
import { childrenAlive, failure } from '../../support/directory-fixture.ts';
import { ZfsFixture } from '../../support/zfs-fixture.ts';

let fixture: ZfsFixture;
let destroyer: SnapshotDestroyer;
let taken: FilesystemVersion[];

function destroyerOf(options: Partial<ZfsDestroyerOptions> = {}): SnapshotDestroyer {
  const tool = zfsTool({ argv: [fixture.fake.program] });
  return zfsDestroyer({ dataset: fixture.dataset, isCopy: false, tool, ...options });
}

beforeEach(async () => {
  fixture = await ZfsFixture.start();
  destroyer = destroyerOf();
  taken = ['a', 'b', 'c', 'd'].map((name) => fixture.snapshot(name));
  fixture.fake.pool.create('tank/home/below');
  fixture.fake.pool.snapshot('tank/home/below', 'a');
});

afterEach(async () => {
  expect(childrenAlive()).toEqual([]);
  await fixture.fake.stop();
});

/** The fake knows one snapshot a command; this is what ZFS does with several: all of them, or an error. */
function allowSeveral(): void {
  fixture.fake.intercept = ([command, name = '']) => {
    if (command !== 'destroy' || !name.includes(',')) return undefined;
    const [dataset = '', list = ''] = name.split('@');
    const snapshots = fixture.fake.pool.get(dataset).snapshots;
    const wanted = list.split(',').map((item) => snapshots.find((snapshot) => snapshot.name === item));
    const held = wanted.find((snapshot) => (snapshot?.holds.size ?? 0) > 0);
    if (held !== undefined) {
      return { status: 1, stderr: `cannot destroy snapshot ${dataset}@${held.name}: dataset is busy\n` };
    }
    for (const snapshot of wanted) if (snapshot !== undefined) fixture.fake.pool.destroy(dataset, `@${snapshot.name}`);
    return { status: 0 };
  };
}

const left = (): string[] => fixture.fake.pool.get(fixture.dataset).snapshots.map(({ name }) => name);
const results = async (versions: readonly FilesystemVersion[]): Promise<string[]> =>
  (await destroyer.destroy(versions)).map(({ version, result }) => `${version.name} ${result}`);

test('several snapshots are destroyed by one command, and nothing else is touched', async () => {
  allowSeveral();
  expect(await results(taken.slice(0, 3))).toEqual(['a destroyed', 'b destroyed', 'c destroyed']);
  expect(fixture.fake.callsOf('destroy')).toEqual(['tank/home@a,b,c']);
  expect(left()).toEqual(['d']);
  expect(fixture.fake.pool.get('tank/home/below').snapshots.map(({ name }) => name)).toEqual(['a']);
});

test('when one of them cannot go, the others go one by one', async () => {
  allowSeveral();
  fixture.fake.pool.get(fixture.dataset).snapshots[1]!.holds.add('mine');
  const outcomes = await destroyer.destroy(taken.slice(0, 3));
  expect(outcomes.map(({ result }) => result)).toEqual(['destroyed', 'failed', 'destroyed']);
  expect(outcomes[1]!.error).toMatchObject({
    code: 'BUSY',
    message: expect.stringContaining('dataset is busy') as unknown,
  });
  expect(left()).toEqual(['b', 'd']);
});

test('one that the command for all had already destroyed is destroyed', async () => {
  fixture.fake.intercept = ([command, name = '']) => {
    if (command !== 'destroy') return undefined;
    if (name.includes(',')) {
      fixture.fake.pool.destroy(fixture.dataset, '@a');
      return { status: 1, stderr: `cannot destroy snapshot ${fixture.dataset}@b: dataset is busy\n` };
    }
    if (name.endsWith('@a'))
      return { status: 1, stderr: 'could not find any snapshots to destroy; check snapshot names.\n' };
    return undefined;
  };
  expect(await results(taken.slice(0, 2))).toEqual(['a destroyed', 'b destroyed']);
  expect(left()).toEqual(['c', 'd']);
});

test('what is another snapshot, gone or a bookmark is told apart', async () => {
  const [a, b, c, d] = taken as [FilesystemVersion, FilesystemVersion, FilesystemVersion, FilesystemVersion];
  fixture.fake.pool.destroy(fixture.dataset, '@b');
  expect(await results([{ ...a, guid: 4711n }, b, { ...c, type: 'bookmark' }, d])).toEqual([
    'a refused',
    'b gone',
    'c refused',
    'd destroyed',
  ]);
  expect(left()).toEqual(['a', 'c']);
});

describe('no name can mean more than one snapshot:', () => {
  test.each(['a,b', 'a%c', '%', '', '-r', 'a@b', 'x/y', 'a#b'])('%j', (name) => {
    expect(() => destroySnapshotsArguments('tank/home', [name])).toThrow(/name/);
    expect(() => destroySnapshotsArguments('tank/home', ['fine', name])).toThrow(/name/);
  });

  test('nor a dataset anything else', () => {
    expect(() => destroySnapshotsArguments('-r', ['a'])).toThrow(/name/);
    expect(() => destroySnapshotsArguments('tank', [])).toThrow(RangeError);
    expect(() => zfsDestroyer({ dataset: 'tank@a', isCopy: false })).toThrow(/name/);
    expect(destroySnapshotsArguments('tank', ['a', 'b c'])).toEqual(['destroy', 'tank@a,b c']);
  });
});

test('holds are told with their tags, and cursors with their owners', async () => {
  const handler = fixture.handler();
  await fixture.transfer(handler, { from: null, to: taken[0]! });
  await fixture.complete(handler, taken[0]!);
  await fixture.transfer(handler, { from: taken[0]!, to: taken[1]! });
  fixture.fake.pool.get(fixture.dataset).snapshots[2]!.holds.add('keep me');
  const { holds, cursors, versions } = await destroyer.list();
  expect(holds).toEqual([
    { guid: taken[0]!.guid, why: 'by snapferry_STEP_I_test_J_job' },
    { guid: taken[1]!.guid, why: 'by snapferry_STEP_I_test_J_job' },
    { guid: taken[2]!.guid, why: 'by keep me' },
  ]);
  expect(cursors).toEqual([{ owner: 'I_test_J_job', guid: taken[0]!.guid, createTXG: taken[0]!.createTXG }]);
  expect(versions.filter(({ type }) => type === 'snapshot').map(({ name }) => name)).toEqual(['a', 'b', 'c', 'd']);
  expect(versions.every(({ isReceived, receivedAt }) => !isReceived && receivedAt === null)).toBe(true);
});

test('on a copy it tells what was noted about receiving', async () => {
  const noted = new Map([[taken[1]!.guid, '2027-01-01T00:00:00Z']]);
  destroyer = destroyerOf({ isCopy: true, receivedAt: (guid) => noted.get(guid) ?? null });
  const { versions } = await destroyer.list();
  expect(versions.map(({ isReceived, receivedAt }) => [isReceived, receivedAt])).toEqual([
    [true, null],
    [true, '2027-01-01T00:00:00Z'],
    [true, null],
    [true, null],
  ]);
});

test('a plan is carried out around holds and cursors', async () => {
  allowSeveral();
  const handler = fixture.handler({ protection: 'incremental' });
  await fixture.transfer(handler, { from: null, to: taken[1]! });
  await fixture.complete(handler, taken[1]!);
  const plan = planRetention({
    ...(await destroyer.list()),
    rules: [{ type: 'last_n', count: 1, regex: null }],
    others: 'keep',
    now: new Date(),
  });
  expect((await executeRetention(plan, destroyer)).ok).toBe(true);
  expect(left()).toEqual(['b', 'd']);
});

test('no dataset, nothing to prune', async () => {
  destroyer = destroyerOf({ dataset: 'tank/nowhere' });
  expect((await failure(destroyer.list())).code).toBe('DATASET_NOT_FOUND');
  expect((await failure(destroyer.destroy(taken))).code).toBe('DATASET_NOT_FOUND');
});

test('a run that is cancelled destroys nothing', async () => {
  const controller = new AbortController();
  fixture.fake.intercept = ([command]) => {
    if (command === 'list') controller.abort();
    return undefined;
  };
  const outcome = await destroyer.destroy(taken, controller.signal).catch((error: unknown) => [{ error }]);
  for (const { error } of outcome) expect(error).toMatchObject({ code: 'CANCELLED' });
  expect(left()).toHaveLength(4);
});

import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { FilesystemVersion } from '../../../src/dataset.ts';
import { zfsTool } from '../../../src/handlers/zfs/commands-tool.ts';
import { placeholderProperty } from '../../../src/handlers/zfs/names-ours.ts';
import { zfsSink } from '../../../src/handlers/zfs/sink.ts';
import type { ZfsSinkOptions } from '../../../src/handlers/zfs/sink.ts';
import { ZfsFixture } from '../../support/zfs-fixture.ts';

const copy = 'backup/home';
const filesystem = ['home'];
const last = 'snapferry_LAST_I_web1_J_nightly';

let fixture: ZfsFixture;
let one: FilesystemVersion;
let two: FilesystemVersion;

beforeEach(async () => {
  fixture = await ZfsFixture.start();
  one = fixture.snapshot('one');
  two = fixture.snapshot('two');
  const { pool } = fixture.fake;
  for (const name of ['backup', copy]) pool.create(name);
  pool.get(copy).snapshots = pool.get(fixture.dataset).snapshots.map((item) => ({ ...item, holds: new Set<string>() }));
});
afterEach(() => fixture.fake.stop());

/** The sink of a process that has just begun. */
function sinkOf(options: Partial<ZfsSinkOptions> = {}) {
  return zfsSink({
    locate: () => copy,
    tool: zfsTool({ argv: [fixture.fake.program] }),
    jobId: 'nightly',
    identity: 'web1',
    ...options,
  });
}

const snapshots = () => fixture.fake.pool.get(copy).snapshots;
const held = () => snapshots().map(({ name, holds }) => `${name}: ${[...holds].join(' ')}`.trim());

describe('after a receive that was killed', () => {
  test.each([
    ['before it held anything', [], []],
    ['before the hold was moved', [last], []],
    ['while it was', [last], [last]],
  ])('%s, the newest is held and no other; holds of others stay', async (_, onOne, onTwo) => {
    for (const tag of [...onOne, 'mine']) snapshots()[0]!.holds.add(tag);
    for (const tag of onTwo) snapshots()[1]!.holds.add(tag);
    expect(await sinkOf().settle!(filesystem, two)).toEqual([]);
    expect(held()).toEqual(['one: mine', `two: ${last}`]);
  });

  test('a copy that took the place of a placeholder is none any more, and can be replicated on', async () => {
    const { properties } = fixture.fake.pool.get(copy);
    for (const [name, value] of [
      [placeholderProperty, 'on'],
      ['canmount', 'off'],
      ['mountpoint', 'none'],
    ] as const) {
      properties.set(name, value);
    }
    expect(await sinkOf({ jobId: undefined }).settle!(filesystem, two)).toEqual([]);
    expect(Object.fromEntries(properties)).toEqual({ canmount: 'noauto' });
  });

  test('what cannot be finished is told, and is no failure', async () => {
    fixture.fake.intercept = ([command]) =>
      command === 'hold' ? { status: 1, stderr: `cannot hold snapshot '${copy}@two': permission denied\n` } : undefined;
    const notices = await sinkOf().settle!(filesystem, two);
    expect(notices).toEqual([expect.stringMatching(/backup\/home@two is complete, but .*permission denied/s)]);
  });
});

describe('where nothing is left to do', () => {
  test('one command finds that out, and in the same process none', async () => {
    snapshots()[1]!.holds.add(last);
    await sinkOf().settle!(filesystem, two);
    expect(fixture.fake.calls.map(([command]) => command)).toEqual(['list']);
    const sink = sinkOf();
    snapshots()[1]!.holds.clear();
    await sink.settle!(filesystem, two);
    const { length } = fixture.fake.calls;
    await sink.settle!(filesystem, two);
    expect(fixture.fake.calls).toHaveLength(length);
  });

  test('because the version is not here, nothing is touched', async () => {
    fixture.fake.pool.destroy(copy, '@two');
    snapshots()[0]!.holds.add(last);
    expect(await sinkOf().settle!(filesystem, { ...two, name: one.name })).toEqual([]);
    expect(held()).toEqual([`one: ${last}`]);
  });
});

import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FakeZfs } from '../support/fake-zfs.ts';
import { JobFixture } from './job-fixture.ts';

let fixture: JobFixture;
let fake: FakeZfs;
beforeEach(async () => void (fake = await FakeZfs.start()));
afterEach(async () => {
  await fixture.cleanup();
  await fake.stop();
});

const hour = 3_600_000;

function local({
  more = '',
  keepSender = '{ type: regex, regex: ".*" }',
  keepReceiver = '{ type: regex, regex: ".*" }',
} = {}): string {
  return `
  - name: copy
    type: local
    filesystems: { "tank<": true, "tank/tmp<": false }
    root_fs: backup/here
    snapshotting: { type: periodic, prefix: p_, interval: 1h }
    interval: manual
    pruning: { keep_sender: [${keepSender}], keep_receiver: [${keepReceiver}] }
    ${more}
`;
}

function prepared(options: Parameters<typeof local>[0] = {}): JobFixture {
  const made = new JobFixture(local(options), `tools: { zfs: [${fake.program}] }`);
  for (const name of ['tank', 'tank/home', 'tank/tmp', 'backup']) fake.pool.create(name);
  return made;
}

describe('jobs on ZFS', () => {
  test('take all snapshots with one command, and leave out what is not meant', async () => {
    fixture = prepared();
    const result = await fixture.run('copy');
    expect(result).toMatchObject({ outcome: 'ok' });
    expect(result.datasets.map(({ dataset, target, steps }) => [dataset, target, steps])).toEqual([
      ['tank', 'backup/here/tank', 1],
      ['tank/home', 'backup/here/tank/home', 1],
    ]);
    expect(fake.callsOf('snapshot')).toEqual(['tank@p_20260307_050609_000 tank/home@p_20260307_050609_000']);
  });

  test('keep a cursor by their name, and hold the newest copy', async () => {
    fixture = prepared();
    await fixture.run('copy');
    expect(fake.callsOf('bookmark').some((call) => call.includes('J_copy'))).toBe(true);
    expect(fake.callsOf('hold').some((call) => call.includes('backup/here/tank/home@'))).toBe(true);
  });

  test('protect first transfers and later ones as they are told', async () => {
    fixture = prepared({
      more: 'replication: { protection: { initial: guarantee_incremental, incremental: guarantee_resumability } }',
    });
    await fixture.run('copy');
    const held = () => fake.callsOf('hold').filter((call) => call.includes('STEP'));
    expect(held()).toEqual([]);
    for (const name of ['tank', 'tank/home']) fake.pool.snapshot(name, 'p_later', Buffer.from('more'));
    await fixture.run('copy', 'schedule');
    expect(held().length).toBeGreaterThan(0);
    const marks = fake.pool.get('tank/home').bookmarks.map(({ name }) => name);
    expect(marks.filter((name) => name.includes('TENTATIVE'))).toEqual([]);
    expect(marks.filter((name) => name.includes('CURSOR'))).toHaveLength(1);
  });

  test('leave nothing at the source if they are told so', async () => {
    fixture = prepared({
      more: 'replication: { protection: { initial: guarantee_nothing, incremental: guarantee_nothing } }',
      keepSender: '{ type: not_replicated }, { type: last_n, count: 1 }',
    });
    for (let round = 0; round < 3; round++) {
      fixture.clock.jump(hour);
      expect(await fixture.run('copy')).toMatchObject({ outcome: 'ok' });
    }
    expect(fake.callsOf('bookmark')).toEqual([]);
    expect(fake.pool.get('tank/home').snapshots.map(({ name }) => name)).toEqual(['p_20260307_080609_000']);
  });

  test('know when a copy was received, so that a floor holds, also in another process', async () => {
    fixture = prepared({ keepReceiver: '{ type: keep_for, age: 3h }, { type: last_n, count: 1 }' });
    const stored = () => fake.pool.get('backup/here/tank/home').snapshots.map(({ name }) => name.slice(11, 13));
    for (let round = 0; round < 3; round++) {
      await fixture.run('copy');
      fixture.clock.jump(hour);
    }
    expect(stored()).toEqual(['05', '06', '07']);
    fixture.forget('copy');
    await fixture.run('copy');
    expect(stored()).toEqual(['06', '07', '08']);
  });

  test('tell which dataset is not there', async () => {
    fixture = new JobFixture(
      local().replace('"tank<": true, "tank/tmp<": false', 'tank: true, tank/gone: true'),
      `tools: { zfs: [${fake.program}] }`,
    );
    for (const name of ['tank', 'backup']) fake.pool.create(name);
    const result = await fixture.run('copy');
    expect(result.datasets).toMatchObject([
      { dataset: 'tank', error: null },
      { dataset: 'tank/gone', error: { code: 'DATASET_NOT_FOUND' } },
    ]);
  });
});

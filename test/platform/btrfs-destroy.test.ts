import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { FilesystemVersion } from '../../src/dataset.ts';
import { btrfsDestroyer } from '../../src/handlers/btrfs/destroy.ts';
import { executeRetention } from '../../src/retention/execute-retention.ts';
import { planRetention } from '../../src/retention/plan-retention.ts';
import type { SnapshotDestroyer } from '../../src/snapshot-destroyer.ts';
import { BtrfsFixture, filesystem } from '../support/btrfs-fixture.ts';
import { BtrfsVolume, run, whyNoBtrfs } from '../support/btrfs-volume.ts';
import { contextWith, describeTree, failure } from '../support/directory-fixture.ts';
import { describePlatform } from '../support/platform.ts';

describePlatform('destroying snapshots on btrfs', whyNoBtrfs(), () => {
  let volume: BtrfsVolume;
  let fixture: BtrfsFixture;
  let source: SnapshotDestroyer;
  let copy: SnapshotDestroyer;
  let taken: FilesystemVersion[];

  beforeEach(async () => {
    volume = new BtrfsVolume(128 * 1024 * 1024);
    fixture = new BtrfsFixture(volume, volume);
    source = btrfsDestroyer({ directory: fixture.live });
    copy = btrfsDestroyer({ directory: fixture.copy });
    taken = [];
    for (const name of ['a', 'b', 'c', 'd']) {
      fixture.write('file', `content ${name}`);
      taken.push(await fixture.snapshot(name));
    }
  });

  afterEach(() => {
    volume.remove();
  });

  async function replicateAll(): Promise<void> {
    for (const [index, version] of taken.entries()) {
      await fixture.transfer(taken[index - 1] ?? null, version);
      await fixture.handler.transferCompleted!({ filesystem, version, jobId: 'job' }, contextWith());
    }
  }

  const names = async (of: SnapshotDestroyer): Promise<string[]> => (await of.list()).versions.map(({ name }) => name);

  test('snapshots go, and the others stay whole', async () => {
    const before = describeTree(fixture.taken(taken[1]!));
    const outcomes = await source.destroy([taken[0]!, taken[2]!]);
    expect(outcomes.map(({ result }) => result)).toEqual(['destroyed', 'destroyed']);
    expect(await names(source)).toEqual(['b', 'd']);
    expect(existsSync(fixture.taken(taken[0]!))).toBe(false);
    expect(describeTree(fixture.taken(taken[1]!))).toEqual(before);
    expect(describeTree(fixture.live)['file']).toBeDefined();
  });

  test('what is another snapshot, or gone, is told apart', async () => {
    run('btrfs', 'subvolume', 'delete', fixture.taken(taken[1]!));
    const outcomes = await source.destroy([
      { ...taken[0]!, guid: 4711n },
      taken[1]!,
      { ...taken[2]!, type: 'bookmark' },
    ]);
    expect(outcomes.map(({ result }) => result)).toEqual(['refused', 'gone', 'refused']);
    expect(await names(source)).toEqual(['a', 'c', 'd']);
  });

  test('what a cursor stands at is refused, also by itself', async () => {
    await fixture.transfer(null, taken[1]!);
    await fixture.handler.transferCompleted!({ filesystem, version: taken[1]!, jobId: 'job' }, contextWith());
    expect((await source.list()).cursors).toEqual([
      { owner: 'job', guid: taken[1]!.guid, createTXG: taken[1]!.createTXG },
    ]);
    const [outcome] = await source.destroy([taken[1]!]);
    expect(outcome).toMatchObject({
      result: 'refused',
      error: { message: expect.stringContaining('job starts from it') as unknown },
    });
    expect(await names(source)).toContain('b');
  });

  test('both sides are pruned by plans, and the next transfer is incremental', async () => {
    const begin = Date.now();
    await replicateAll();
    for (const side of [source, copy]) {
      const plan = planRetention({
        ...(await side.list()),
        rules: [{ type: 'last_n', count: 1, regex: null }],
        others: 'keep',
        now: new Date(),
      });
      expect((await executeRetention(plan, side)).ok).toBe(true);
      expect(await names(side)).toEqual(['d']);
    }
    const [received] = (await copy.list()).versions;
    expect(received).toMatchObject({ isReceived: true, guid: taken[3]!.guid });
    expect(Date.parse(received!.receivedAt!)).toBeGreaterThanOrEqual(Math.floor(begin / 1000) * 1000 - 1000);
    fixture.write('file', 'after');
    const next = await fixture.snapshot('e');
    await fixture.transfer(taken[3]!, next);
    expect(describeTree(fixture.copied(next))).toEqual(describeTree(fixture.taken(next)));
  });

  test('one that has become writable is left alone', async () => {
    run('btrfs', 'property', 'set', '-f', fixture.taken(taken[0]!), 'ro', 'false');
    expect((await source.destroy([taken[0]!]))[0]!.result).toBe('gone');
    expect(existsSync(fixture.taken(taken[0]!))).toBe(true);
  });

  test('no dataset, nothing to prune, and nothing is made', async () => {
    const nowhere = btrfsDestroyer({ directory: join(fixture.live, 'nowhere/below') });
    expect((await failure(nowhere.list())).code).toBe('DATASET_NOT_FOUND');
    expect((await failure(nowhere.destroy(taken))).code).toBe('DATASET_NOT_FOUND');
    expect(existsSync(join(fixture.live, 'nowhere'))).toBe(false);
  });
});

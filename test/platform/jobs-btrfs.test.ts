import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { JobFixture } from '../jobs/job-fixture.ts';
import { BtrfsVolume, run as tool, whyNoBtrfs } from '../support/btrfs-volume.ts';
import { describePlatform } from '../support/platform.ts';

describePlatform('jobs on btrfs', whyNoBtrfs(), () => {
  let volume: BtrfsVolume;
  let made = 0;
  let place: string;
  let fixture: JobFixture;

  beforeAll(() => {
    volume = new BtrfsVolume();
  });
  afterAll(() => volume.remove());
  beforeEach(() => {
    place = join(volume.top, `t${++made}`);
    for (const name of ['', 'data', 'data/ann', 'data/tmp', 'copies']) {
      tool('btrfs', '-q', 'subvolume', 'create', join(place, name));
    }
    writeFileSync(join(place, 'data/f'), 'first\n');
    writeFileSync(join(place, 'data/ann/f'), 'of ann\n');
  });
  afterEach(() => fixture.cleanup());

  const keepTwo = '[{ type: last_n, count: 2 }]';
  /** Names of the snapshots beside a dataset, oldest first. */
  const beside = (dataset: string): string[] =>
    readdirSync(join(dataset, '..'))
      .filter((name) => name.startsWith(`${basename(dataset)}@`))
      .sort();

  test('copy to another place, subvolumes inside too, and prune both sides', async () => {
    fixture = new JobFixture(`
  - name: second-disk
    type: local
    backend: btrfs
    filesystems: { "${place}/data<": true, ${place}/data/tmp: false }
    root_fs: ${place}/copies
    snapshotting: { type: periodic, prefix: p_, interval: 1h }
    interval: manual
    pruning: { keep_sender: ${keepTwo}, keep_receiver: ${keepTwo} }
`);
    for (let round = 0; round < 4; round++) {
      fixture.clock.jump(3_600_000);
      writeFileSync(join(place, 'data/f'), `round ${round}\n`);
      const result = await fixture.run('second-disk', 'snapshots');
      expect(result, JSON.stringify(result)).toMatchObject({ outcome: 'ok' });
      expect(result.datasets.map(({ dataset, steps }) => [dataset, steps])).toEqual([
        [join(place, 'data'), 1],
        [join(place, 'data/ann'), 1],
      ]);
    }
    const kept = ['p_20260307_080609_000', 'p_20260307_090609_000'];
    const copy = join(place, 'copies', place, 'data');
    for (const dataset of [join(place, 'data'), join(place, 'data/ann'), copy, join(copy, 'ann')]) {
      expect(beside(dataset), dataset).toEqual(kept.map((name) => `${basename(dataset)}@${name}`));
    }
    expect(readFileSync(join(`${copy}@${kept[1]!}`, 'f'), 'utf8')).toBe('round 3\n');
    expect(beside(join(place, 'data/tmp'))).toEqual([]);
  });

  test('push to a sink, into a folder for snapshots of their own', async () => {
    tool('mkdir', join(place, 'snapshots'));
    fixture = new JobFixture(`
  - name: vault
    type: sink
    backend: btrfs
    serve: { type: local, listener_name: vault }
    root_fs: ${place}/copies
    pruning: { keep: ${keepTwo} }
  - name: send
    type: push
    backend: btrfs
    connect: { type: local, listener_name: vault, client_identity: web1 }
    filesystems: { ${place}/data/ann: true }
    snapshot_folder: ${place}/snapshots
    snapshotting: { type: periodic, prefix: p_, interval: 1h }
    pruning: { keep_sender: ${keepTwo} }
`);
    await fixture.serve('vault');
    for (let round = 0; round < 3; round++) {
      fixture.clock.jump(3_600_000);
      const ended = fixture.runEnd('vault');
      const result = await fixture.run('send');
      expect(result, JSON.stringify(result)).toMatchObject({ outcome: 'ok', datasets: [{ steps: 1 }] });
      expect(await ended).toMatchObject({ outcome: 'ok', identity: 'web1' });
    }
    expect(readdirSync(join(place, 'snapshots'))).toHaveLength(2);
    expect(beside(join(place, 'copies/web1', place, 'data/ann'))).toHaveLength(2);
    fixture.forget('send');
    const takenMs = fixture.clock.nowMs();
    expect(await fixture.job('send').nextSnapshotMs(new AbortController().signal)).toBeGreaterThan(takenMs);
  });
});

import { afterEach, describe, expect, test } from 'vitest';
import { settled } from '../support/fake-clock.ts';
import { JobFixture } from './job-fixture.ts';

let fixture: JobFixture;
afterEach(() => fixture.cleanup());

const hour = 3_600_000;

function localJob(more = ''): string {
  return `
  - name: second-disk
    type: local
    backend: directory
    filesystems: { ROOT/one: true, ROOT/two: true }
    root_fs: ROOT/disk
    snapshotting: { type: periodic, prefix: p_, interval: 1h }
    interval: manual
    pruning:
      keep_sender: [{ type: last_n, count: 2 }]
      keep_receiver: [{ type: last_n, count: 3 }]
    ${more}
`;
}

function prepared(more = ''): JobFixture {
  const made = new JobFixture(localJob(more));
  made.write('one/file', 'one');
  made.write('two/file', 'two');
  return made;
}

describe('a local job', () => {
  test('takes snapshots, copies them, and prunes both sides', async () => {
    fixture = prepared();
    for (let round = 0; round < 5; round++) {
      fixture.clock.jump(hour);
      fixture.write('one/file', `round ${round}`);
      const result = await fixture.run('second-disk', 'snapshots');
      expect(result).toMatchObject({ outcome: 'ok', datasets: [{ steps: 1 }, { steps: 1 }] });
    }
    expect(fixture.taken('one')).toEqual(['p_20260307_090609_000', 'p_20260307_100609_000']);
    expect(fixture.stored(fixture.below('disk', 'one'))).toHaveLength(3);
    const result = fixture.eventsOf('runEnded').at(-1)!.result;
    expect(result.datasets[0]).toMatchObject({
      dataset: fixture.path('one'),
      target: fixture.path(fixture.below('disk', 'one')),
      snapshot: 'p_20260307_100609_000',
      newest: { name: 'p_20260307_100609_000' },
      pruned: 2,
    });
  });

  test('by its schedule takes none', async () => {
    fixture = prepared();
    await fixture.run('second-disk');
    fixture.clock.jump(hour);
    expect(await fixture.run('second-disk', 'schedule')).toMatchObject({ outcome: 'ok', bytes: 0 });
    expect(fixture.taken('one')).toHaveLength(1);
  });

  test('keeps to its bandwidth', async () => {
    fixture = prepared('send: { bandwidth_limit: { max: 10 KiB, bucket_capacity: 1 KiB } }');
    fixture.write('one/file', Buffer.alloc(100 * 1024, 'x'));
    const running = fixture.run('second-disk');
    const beganMs = fixture.clock.monotonicMs();
    // Time passes only while the bandwidth is waited for: the disk keeps no time of ours.
    while (fixture.eventsOf('runEnded').length === 0) {
      const { nextMs } = fixture.clock;
      await (nextMs !== null && nextMs < 60_000 ? fixture.clock.pass(nextMs) : settled());
    }
    const result = await running;
    expect(result.outcome).toBe('ok');
    const seconds = (fixture.clock.monotonicMs() - beganMs) / 1000;
    expect(result.bytes / seconds).toBeLessThan(11 * 1024);
  });

  test('replicates what there is although one dataset has no snapshot', async () => {
    fixture = new JobFixture(localJob());
    fixture.write('two/file', 'two');
    const result = await fixture.run('second-disk');
    expect(result.outcome).toBe('failed');
    expect(result.datasets.map(({ error }) => error?.code ?? null)).toEqual(['DATASET_NOT_FOUND', null]);
    expect(fixture.stored(fixture.below('disk', 'two'))).toHaveLength(1);
  });
});

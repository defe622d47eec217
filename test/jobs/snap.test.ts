import { readFileSync, writeFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { JobFixture } from './job-fixture.ts';

let fixture: JobFixture;
afterEach(() => fixture.cleanup());

const never = new AbortController().signal;
const hour = 3_600_000;

function snapJob({
  snapshotting = 'type: periodic, prefix: hourly_, interval: 1h',
  pruning = '{ type: regex, regex: ".*" }',
} = {}) {
  return `
  - name: home
    type: snap
    backend: directory
    filesystems: { ROOT/one: true, ROOT/two: true }
    snapshotting: { ${snapshotting} }
    pruning: { keep: [${pruning}] }
`;
}

function twoDirectories(options: Parameters<typeof snapJob>[0] = {}): JobFixture {
  const made = new JobFixture(snapJob(options));
  made.write('one/a', 'a');
  made.write('two/b', 'b');
  return made;
}

describe('a run of a snap job', () => {
  test('takes a snapshot of each dataset, all of one name', async () => {
    fixture = twoDirectories();
    const result = await fixture.run('home');
    expect(result).toMatchObject({ job: 'home', cause: 'wakeup', outcome: 'ok', error: null, identity: null });
    expect(result.datasets).toMatchObject([
      { dataset: fixture.path('one'), target: null, error: null, snapshot: 'hourly_20260307_050609_000', pruned: 0 },
      { dataset: fixture.path('two'), snapshot: 'hourly_20260307_050609_000' },
    ]);
    expect(fixture.taken('one')).toEqual(['hourly_20260307_050609_000']);
    expect(fixture.taken('two')).toEqual(['hourly_20260307_050609_000']);
  });

  test('tells it in order', async () => {
    fixture = twoDirectories();
    await fixture.run('home');
    expect(fixture.kinds()).toEqual([
      'runBegan',
      ...['datasetBegan', 'snapshotTaken', 'datasetBegan', 'snapshotTaken'],
      ...['datasetDone', 'datasetDone', 'runEnded'],
    ]);
    expect(new Set(fixture.events.map((event) => 'run' in event && event.run)).size).toBe(1);
  });

  test('takes one although nothing has changed', async () => {
    fixture = twoDirectories();
    await fixture.run('home', 'snapshots');
    fixture.clock.jump(hour);
    await fixture.run('home', 'snapshots');
    expect(fixture.taken('one')).toHaveLength(2);
  });

  test('takes none by the schedule of replication, which it does not have, or when others do', async () => {
    fixture = twoDirectories({ snapshotting: 'type: manual' });
    expect(await fixture.run('home')).toMatchObject({ outcome: 'ok', datasets: [] });
    expect(() => fixture.taken('one')).toThrow('ENOENT');
  });

  test('prunes what the rules do not keep, and says so', async () => {
    fixture = twoDirectories({ pruning: '{ type: last_n, count: 2 }' });
    for (let round = 0; round < 3; round++) {
      fixture.clock.jump(hour);
      await fixture.run('home');
    }
    fixture.clock.jump(hour);
    const result = await fixture.run('home');
    expect(fixture.taken('one')).toEqual(['hourly_20260307_080609_000', 'hourly_20260307_090609_000']);
    expect(result.datasets[0]).toMatchObject({ pruned: 1, error: null });
    expect(fixture.eventsOf('pruned').at(-1)).toMatchObject({ side: 'sender', destroyed: 1, kept: 2, errors: [] });
  });

  test('goes on with the others when one fails', async () => {
    fixture = new JobFixture(snapJob());
    fixture.write('two/b', 'b');
    const result = await fixture.run('home');
    expect(result.outcome).toBe('failed');
    expect(result.datasets).toMatchObject([
      { dataset: fixture.path('one'), error: { code: 'DATASET_NOT_FOUND' }, snapshot: null },
      { dataset: fixture.path('two'), error: null, snapshot: 'hourly_20260307_050609_000' },
    ]);
  });

  test('changes nothing in a dry run, and says what it would', async () => {
    fixture = twoDirectories({ pruning: '{ type: last_n, count: 1 }' });
    await fixture.run('home');
    fixture.clock.jump(hour);
    await fixture.job('home').run({ cause: 'once', signal: never });
    fixture.clock.jump(hour);
    const before = fixture.taken('one');
    const result = await fixture.job('home').run({ cause: 'once', signal: never, dryRun: true });
    expect(fixture.taken('one')).toEqual(before);
    expect(result.datasets[0]).toMatchObject({ snapshot: null, pruned: 0 });
    expect(result.datasets[0]!.notices.join()).toContain('@hourly_20260307_070609_000 would be taken');
  });

  test('that is cancelled says so, and prunes nothing', async () => {
    fixture = twoDirectories({ pruning: '{ type: last_n, count: 1 }' });
    await fixture.run('home');
    fixture.clock.jump(hour);
    const controller = new AbortController();
    fixture.onEvent = ({ kind }) => kind === 'snapshotTaken' && controller.abort();
    const result = await fixture.run('home', 'wakeup', controller.signal);
    expect(result).toMatchObject({ outcome: 'cancelled', error: { code: 'CANCELLED' } });
    expect(fixture.taken('one')).toHaveLength(2);
  });

  test('fails as a whole while another run of the job goes on', async () => {
    fixture = twoDirectories();
    const [one, other] = await Promise.all([fixture.run('home'), fixture.run('home')]);
    expect(one.outcome).toBe('ok');
    expect(other).toMatchObject({ outcome: 'failed', error: { code: 'BUSY' }, datasets: [] });
  });
});

describe('when snapshots are due', () => {
  const due = () => fixture.job('home').nextSnapshotMs(never);

  test('at once if there is none', async () => {
    fixture = twoDirectories();
    expect(await due()).toBe(fixture.clock.nowMs());
  });

  test('the interval after the newest one, also for a process that was just started', async () => {
    fixture = twoDirectories();
    await fixture.run('home');
    const takenMs = fixture.clock.nowMs();
    fixture.clock.jump(20 * 60_000);
    expect(await due()).toBe(takenMs + hour);
    fixture.forget('home');
    expect(await due()).toBe(takenMs + hour);
    fixture.clock.jump(5 * hour);
    expect(await due()).toBe(takenMs + hour);
  });

  test('is not moved by snapshots of others', async () => {
    fixture = new JobFixture(snapJob() + snapJob().replace('home', 'other').replace('hourly_', 'other_'));
    fixture.write('one/a', 'a');
    fixture.write('two/a', 'a');
    await fixture.run('home');
    const takenMs = fixture.clock.nowMs();
    fixture.clock.jump(20 * 60_000);
    await fixture.run('other');
    fixture.forget('home');
    expect(await due()).toBe(takenMs + hour);
  });

  test('at most the interval from now on when the clock was set back', async () => {
    fixture = twoDirectories();
    await fixture.run('home');
    fixture.clock.jump(-100 * hour);
    expect(await due()).toBe(fixture.clock.nowMs() + hour);
  });

  test('the interval after a round that failed', async () => {
    fixture = new JobFixture(snapJob());
    expect((await fixture.run('home')).outcome).toBe('failed');
    expect(await due()).toBe(fixture.clock.nowMs() + hour);
  });

  test('when cron says', async () => {
    fixture = twoDirectories({ snapshotting: 'type: cron, prefix: nightly_, cron: "30 * * * *"' });
    const at = new Date((await due())!);
    expect([at.getMinutes(), at.getSeconds()]).toEqual([30, 0]);
    expect(at.getTime() - fixture.clock.nowMs()).toBeLessThan(hour);
  });

  test('never, if others take them', async () => {
    fixture = twoDirectories({ snapshotting: 'type: manual' });
    expect(await due()).toBeNull();
  });
});

describe('hooks', () => {
  const withHook = (more: string, count = 1): string =>
    snapJob({
      snapshotting: `type: periodic, prefix: p_, interval: 1h, hooks: [${Array.from(
        { length: count },
        (_, index) => `{ type: command, path: ROOT/hook${index}, ${more} }`,
      ).join(', ')}]`,
    });
  const prepared = (configuration: string, ...scripts: string[]): JobFixture => {
    const made = new JobFixture(configuration);
    made.write('one/a', 'a');
    made.write('two/b', 'b');
    scripts.forEach((script, index) => {
      writeFileSync(made.path(`hook${index}`), `#!/bin/sh\n${script.replaceAll('ROOT', made.root)}\n`, { mode: 0o755 });
    });
    return made;
  };
  const said = (): string[] => readFileSync(fixture.path('said'), 'utf8').trim().split('\n');

  test('run around each snapshot with what they are run for', async () => {
    const tell =
      'echo "$SNAPFERRY_HOOKTYPE $SNAPFERRY_FS $SNAPFERRY_SNAPNAME $SNAPFERRY_DRYRUN $SNAPFERRY_TIMEOUT" >> ROOT/said';
    fixture = prepared(withHook('timeout: 30s'), tell);
    expect((await fixture.run('home')).outcome).toBe('ok');
    const name = 'p_20260307_050609_000 false 30';
    expect(said()).toEqual([
      `pre_snapshot ${fixture.path('one')} ${name}`,
      `post_snapshot ${fixture.path('one')} ${name}`,
      `pre_snapshot ${fixture.path('two')} ${name}`,
      `post_snapshot ${fixture.path('two')} ${name}`,
    ]);
  });

  test('run in order before and in the opposite one after, by the names of zrepl too', async () => {
    const tell = (name: string) => `echo "${name} $ZREPL_HOOKTYPE" >> ROOT/said`;
    fixture = prepared(withHook('filesystems: { ROOT/one: true }', 2), tell('a'), tell('b'));
    await fixture.run('home');
    expect(said()).toEqual(['a pre_snapshot', 'b pre_snapshot', 'b post_snapshot', 'a post_snapshot']);
  });

  test('that fail are a notice, and the snapshot is taken', async () => {
    fixture = prepared(withHook('err_is_fatal: false'), 'echo no >&2; exit 3');
    const result = await fixture.run('home');
    expect(result.outcome).toBe('ok');
    expect(result.datasets[0]!.notices.join()).toMatch(/hook0 before the snapshot of .*one failed: .*no/s);
    expect(fixture.taken('one')).toHaveLength(1);
  });

  test('that must not fail keep the snapshot of that dataset from being taken, and what went before is undone', async () => {
    const fails = '[ "$SNAPFERRY_FS" != ROOT/one ]';
    fixture = prepared(
      withHook('err_is_fatal: true', 2),
      'echo "a $SNAPFERRY_HOOKTYPE $(basename $SNAPFERRY_FS)" >> ROOT/said',
      fails,
    );
    const result = await fixture.run('home');
    expect(result.datasets).toMatchObject([
      { error: { code: 'SOURCE_FAILED' }, snapshot: null },
      { error: null, snapshot: 'p_20260307_050609_000' },
    ]);
    expect(said()).toEqual(['a pre_snapshot one', 'a post_snapshot one', 'a pre_snapshot two', 'a post_snapshot two']);
  });

  test('that hang are killed with all they have started', async () => {
    fixture = prepared(
      withHook('timeout: 1s, err_is_fatal: true, filesystems: { ROOT/one: true }'),
      'sleep 300 & echo $! > ROOT/pid; wait',
    );
    const result = await fixture.run('home');
    expect(result.datasets[0]).toMatchObject({ error: { code: 'TIMEOUT' }, snapshot: null });
    const pid = Number(readFileSync(fixture.path('pid'), 'utf8'));
    expect(isAlive(pid)).toBe(false);
  });

  test('are not run in a dry run', async () => {
    fixture = prepared(withHook('timeout: 1s'), 'touch ROOT/said');
    await fixture.job('home').run({ cause: 'once', signal: never, dryRun: true });
    expect(() => said()).toThrow('ENOENT');
  });
});

/** Killed but not yet reaped by whoever inherited it is dead enough. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

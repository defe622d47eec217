import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { createJob } from '../../src/jobs/create-job.ts';
import { JobLock } from '../../src/jobs/job-lock.ts';
import type { RunResult } from '../../src/jobs/run-result.ts';
import { JobFixture } from './job-fixture.ts';

let fixture: JobFixture;
afterEach(() => fixture.cleanup());

const hour = 3_600_000;
const never = new AbortController().signal;

interface Options {
  readonly datasets?: readonly string[];
  readonly source?: string;
  readonly pull?: string;
  readonly keepSource?: string;
  readonly keepCopies?: string;
}

function jobs({ datasets = ['one', 'two'], source = '', pull = '', keepSource, keepCopies }: Options = {}): string {
  const all = '{ type: regex, regex: ".*" }';
  return `
  - name: web1
    type: source
    backend: directory
    serve: { type: local, listener_name: web1 }
    filesystems: { ${datasets.map((name) => `ROOT/${name}: true`).join(', ')} }
    snapshotting: { type: periodic, prefix: p_, interval: 1h }
    pruning: { keep: [${keepSource ?? all}] }
    ${source}
  - name: fetch
    type: pull
    backend: directory
    connect: { type: local, listener_name: web1, client_identity: vault }
    root_fs: ROOT/copies
    interval: 1h
    pruning: { keep_receiver: [${keepCopies ?? all}] }
    ${pull}
`;
}

async function prepared(options: Options = {}): Promise<JobFixture> {
  fixture = new JobFixture(jobs(options));
  for (const name of options.datasets ?? ['one', 'two']) fixture.write(`${name}/file`, `content of ${name}`);
  await fixture.run('web1');
  fixture.events.length = 0;
  await fixture.serve('web1');
  return fixture;
}

function codes({ datasets }: RunResult): (string | null)[] {
  return datasets.map(({ error }) => error?.code ?? null);
}

describe('a pull', () => {
  test('brings everything below its root, and tells how', async () => {
    await prepared();
    const result = await fixture.run('fetch');
    expect(result).toMatchObject({ outcome: 'ok', error: null, retries: 0 });
    expect(result.bytes).toBeGreaterThan(0);
    expect(result.datasets).toMatchObject([
      { dataset: fixture.path('one'), target: fixture.path(fixture.below('copies', 'one')), error: null, steps: 1 },
      { dataset: fixture.path('two'), error: null, steps: 1, newest: { name: 'p_20260307_050609_000' } },
    ]);
    expect(result.datasets.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(result.bytes);
    expect(fixture.stored(fixture.below('copies', 'one'))).toEqual(['p_20260307_050609_000']);
    const own = fixture.events.filter(({ job }) => job === 'fetch').map(({ kind }) => kind);
    expect(own.filter((kind) => kind !== 'bytes')).toEqual([
      ...['runBegan', 'planned'],
      ...['datasetBegan', 'stepBegan', 'stepDone', 'datasetBegan', 'stepBegan', 'stepDone'],
      ...['datasetDone', 'datasetDone', 'runEnded'],
    ]);
    expect(fixture.eventsOf('planned')[0]).toMatchObject({ datasets: [{ steps: 1, error: null }, { steps: 1 }] });
  });

  test('has nothing to do the second time, and knows what both sides have', async () => {
    await prepared();
    await fixture.run('fetch');
    const result = await fixture.run('fetch');
    expect(result).toMatchObject({ outcome: 'ok', bytes: 0 });
    expect(result.datasets[0]).toMatchObject({ steps: 0, newest: { name: 'p_20260307_050609_000' } });
  });

  test('takes only what it is told to', async () => {
    await prepared({ pull: 'filesystems: { ROOT/two: true }' });
    const result = await fixture.run('fetch');
    expect(result.datasets.map(({ dataset }) => dataset)).toEqual([fixture.path('two')]);
  });

  test('fails if nothing on offer is meant', async () => {
    await prepared({ pull: 'filesystems: { ROOT/three: true }' });
    expect(await fixture.run('fetch')).toMatchObject({ outcome: 'failed', error: { code: 'DATASET_NOT_FOUND' } });
  });

  test('does not call a dataset good of which there is no snapshot', async () => {
    fixture = new JobFixture(jobs());
    fixture.write('one/file', 'x');
    fixture.write('two/file', 'x');
    await fixture.serve('web1');
    const result = await fixture.run('fetch');
    expect(result.outcome).toBe('failed');
    expect(codes(result)).toEqual(['VERSION_NOT_FOUND', 'VERSION_NOT_FOUND']);
  });

  test('sends only snapshots of a prefix, and goes on from the last of them', async () => {
    await prepared({
      datasets: ['one'],
      pull: 'replication: { snapshot_prefix: p_2026 }\n    conflict_resolution: { initial_replication: all }',
    });
    fixture.clock.jump(24 * 365 * hour);
    await fixture.run('web1');
    const result = await fixture.run('fetch');
    expect(result.outcome).toBe('ok');
    expect(fixture.stored(fixture.below('copies', 'one'))).toEqual(['p_20260307_050609_000']);
  });

  test('waits for a person if that is how a first transfer is to be handled', async () => {
    await prepared({ pull: 'conflict_resolution: { initial_replication: fail }' });
    const result = await fixture.run('fetch');
    expect(codes(result)).toEqual(['CONFLICT', 'CONFLICT']);
    expect(result.datasets[0]!.error!.message).toContain('initial_replication');
    expect(existsSync(fixture.path('copies'))).toBe(false);
  });

  test('goes on with the others when one cannot be stored', async () => {
    await prepared();
    fixture.write(`${fixture.below('copies', 'one')}/in-the-way`, 'x');
    const result = await fixture.run('fetch');
    expect(codes(result)).toEqual(['INVALID_REQUEST', null]);
    expect(result).toMatchObject({ outcome: 'failed', error: null });
    expect(fixture.stored(fixture.below('copies', 'two'))).toHaveLength(1);
  });

  test('takes several at once over connections of their own', async () => {
    const datasets = ['a', 'b', 'c', 'd', 'e'];
    await prepared({ datasets, pull: 'replication: { concurrency: { steps: 3 } }' });
    const result = await fixture.run('fetch');
    expect(result.outcome).toBe('ok');
    expect(fixture.listeners.connections).toBe(3);
    expect(fixture.eventsOf('sessionEnded').map(({ error }) => error)).toEqual([null, null, null]);
  });

  test('says in a dry run what it would do, and does nothing', async () => {
    await prepared();
    const result = await fixture.job('fetch').run({ cause: 'once', signal: never, dryRun: true });
    expect(result).toMatchObject({ outcome: 'ok', bytes: 0 });
    expect(fixture.eventsOf('planned')[0]).toMatchObject({ datasets: [{ steps: 1 }, { steps: 1 }] });
    expect(existsSync(fixture.path('copies'))).toBe(false);
    expect(existsSync(fixture.path('state/locks/fetch.lock'))).toBe(false);
  });

  test('fails as a whole if nobody answers, after all attempts', async () => {
    fixture = new JobFixture(jobs({ pull: 'replication: { retry: { attempts: 3, wait_min: 1s, wait_max: 1h } }' }));
    const result = await fixture.run('fetch');
    expect(result).toMatchObject({ outcome: 'failed', error: { code: 'CONNECT_FAILED' }, retries: 2, datasets: [] });
    expect(fixture.eventsOf('retrying').map(({ waitMs, dataset }) => [waitMs, dataset])).toEqual([
      [1000, null],
      [2000, null],
    ]);
  });
});

/** A transfer that is interrupted goes on at the last file that was whole. */
function writeMany(directory: string, count: number): void {
  for (let index = 0; index < count; index++) fixture.write(`${directory}/file${index}`, randomBytes(100_000));
}

describe('a line that breaks', () => {
  const patient = 'replication: { retry: { attempts: 4, wait_min: 1s, wait_max: 1m } }';

  test('is made again within the run, which goes on where it was', async () => {
    await prepared({ pull: patient });
    writeMany('one', 30);
    fixture.clock.jump(hour);
    await fixture.run('web1');
    fixture.listeners.faults.push({ cutAfterBytes: 1_500_000 }, { cutAfterBytes: 700_000 });
    const result = await fixture.run('fetch');
    expect(result).toMatchObject({ outcome: 'ok', error: null });
    expect(result.retries).toBeGreaterThanOrEqual(2);
    expect(codes(result)).toEqual([null, null]);
    expect(fixture.listeners.connections).toBe(3);
    expect(fixture.eventsOf('stepBegan').some(({ resumed }) => resumed)).toBe(true);
    expect(fixture.eventsOf('planned')).toHaveLength(3);
    // What was received before the cut counts, and is not fetched again.
    expect(result.bytes).toBeLessThan(3_800_000);
  });

  test('ends the run with what failed when patience is over', async () => {
    await prepared({ datasets: ['one'], pull: 'replication: { retry: { attempts: 2, wait_min: 1s } }' });
    writeMany('one', 30);
    fixture.clock.jump(hour);
    await fixture.run('web1');
    fixture.listeners.faults.push({ cutAfterBytes: 500_000 }, { cutAfterBytes: 500_000 });
    const result = await fixture.run('fetch');
    expect(result.outcome).toBe('failed');
    expect(['CONNECTION_LOST', 'STREAM_TRUNCATED']).toContain(result.datasets[0]!.error!.code);
    expect((await fixture.run('fetch')).outcome).toBe('ok');
  });

  test('or that stands still is given up after the time that was set', async () => {
    await prepared({ datasets: ['one'], pull: 'replication: { stall_timeout: 10m }' });
    writeMany('one', 30);
    fixture.clock.jump(hour);
    await fixture.run('web1');
    fixture.listeners.faults.push({ silentAfterBytes: 500_000 });
    const began = new Promise<void>((resolve) => {
      fixture.onEvent = ({ kind }) => kind === 'stepBegan' && resolve();
    });
    const running = fixture.run('fetch');
    await began;
    let result: RunResult | undefined;
    void running.then((ended) => (result = ended));
    for (let minute = 0; result === undefined && minute < 100; minute++) await fixture.clock.pass(60_000);
    expect(await running).toMatchObject({ outcome: 'failed', datasets: [{ error: { code: 'TIMEOUT' } }] });
    expect((await running).datasets[0]!.error!.message).toContain('nothing has moved for 10m');
  });
});

describe('a cancel', () => {
  test('keeps what has arrived, and the next run goes on from there', async () => {
    await prepared({ datasets: ['one'] });
    writeMany('one', 50);
    fixture.clock.jump(hour);
    await fixture.run('web1');
    fixture.events.length = 0;
    const controller = new AbortController();
    fixture.listeners.faults.push({ callAfterBytes: 2_000_000, call: () => controller.abort() });
    const cancelled = await fixture.run('fetch', 'wakeup', controller.signal);
    expect(cancelled).toMatchObject({ outcome: 'cancelled' });
    expect(codes(cancelled)).toEqual(['CANCELLED']);
    fixture.events.length = 0;
    const next = await fixture.run('fetch');
    expect(next.outcome).toBe('ok');
    expect(fixture.eventsOf('stepBegan')[0]).toMatchObject({ resumed: true });
  });

  test('ends a wait between attempts', async () => {
    fixture = new JobFixture(jobs());
    const controller = new AbortController();
    const { dependencies } = fixture;
    const job = createJob(fixture.settings('fetch'), {
      ...dependencies,
      onEvent: ({ kind }) => kind === 'retrying' && controller.abort(),
    });
    const result = await job.run({ cause: 'wakeup', signal: controller.signal });
    expect(result).toMatchObject({ outcome: 'cancelled', error: { code: 'CANCELLED' }, retries: 1 });
    expect(fixture.clock.waiting).toBe(0);
  });
});

describe('pruning', () => {
  test('of the copies never removes what the next transfer starts from', async () => {
    await prepared({ datasets: ['one'], keepCopies: '{ type: last_n, count: 1 }' });
    for (let round = 0; round < 4; round++) {
      fixture.clock.jump(hour);
      fixture.write('one/file', `round ${round}`);
      await fixture.run('web1');
      const result = await fixture.run('fetch');
      expect(result).toMatchObject({ outcome: 'ok', datasets: [{ steps: 1 }] });
    }
    expect(fixture.stored(fixture.below('copies', 'one'))).toEqual(['p_20260307_090609_000']);
    expect(fixture.eventsOf('pruned').filter(({ side }) => side === 'receiver')).toHaveLength(4 - 1);
  });

  test('of a source leaves what its client has not fetched yet', async () => {
    await prepared({ datasets: ['one'], keepSource: '{ type: not_replicated }, { type: last_n, count: 1 }' });
    await fixture.run('fetch');
    for (let round = 0; round < 3; round++) {
      fixture.clock.jump(hour);
      await fixture.run('web1');
    }
    // The cursor's base is kept, and so is what came after it.
    expect(fixture.taken('one')).toHaveLength(4);
    await fixture.run('fetch');
    fixture.clock.jump(hour);
    await fixture.run('web1');
    expect(fixture.taken('one')).toEqual(['p_20260307_080609_000', 'p_20260307_090609_000']);
    expect((await fixture.run('fetch')).datasets).toMatchObject([{ error: null, steps: 1 }]);
  });

  test('of copies whose source is gone goes on', async () => {
    await prepared({ datasets: ['one', 'two'], keepCopies: '{ type: last_n, count: 1 }' });
    for (let round = 0; round < 2; round++) {
      await fixture.run('fetch');
      fixture.clock.jump(hour);
      await fixture.run('web1');
    }
    expect(fixture.stored(fixture.below('copies', 'two'))).toHaveLength(1);
  });

  test('waits until a dataset is no longer being replicated', async () => {
    await prepared({ datasets: ['one'], keepSource: '{ type: last_n, count: 1 }' });
    const end = fixture.listeners.turns.tryRead('directory', fixture.path('one').slice(1).split('/'))!;
    fixture.clock.jump(hour);
    const busy = await fixture.run('web1');
    expect(busy.datasets[0]!.notices.join()).toContain('being replicated');
    expect(fixture.taken('one')).toHaveLength(2);
    end();
    fixture.clock.jump(hour);
    await fixture.run('web1');
    expect(fixture.taken('one')).toHaveLength(1);
  });
});

describe('a job that another process is running', () => {
  const nothing = () => Promise.resolve();

  test('is not run, and the other process is named', async () => {
    await prepared({ datasets: ['one'] });
    const release = await new JobLock(fixture.path('state'), 'fetch').acquire(nothing);
    const result = await fixture.run('fetch');
    expect(result).toMatchObject({ outcome: 'failed', error: { code: 'BUSY' } });
    expect(result.error!.message).toContain(`process ${process.pid} since`);
    await release();
    expect((await fixture.run('fetch')).outcome).toBe('ok');
  });

  test('is run after that, if it is to be waited for', async () => {
    await prepared({ datasets: ['one'] });
    const release = await new JobLock(fixture.path('state'), 'fetch').acquire(nothing);
    const running = fixture.job('fetch').run({ cause: 'once', signal: never, waitsForOthers: true });
    await release();
    expect((await running).outcome).toBe('ok');
  });
});

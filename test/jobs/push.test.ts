import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import type { PushJob } from '../../src/config/job.ts';
import { openStore } from '../../src/handlers/directory/store.ts';
import { connectPeer } from '../../src/jobs/connect-peer.ts';
import { createJob } from '../../src/jobs/create-job.ts';
import type { RunResult } from '../../src/jobs/run-result.ts';
import { failure } from '../support/directory-fixture.ts';
import { JobFixture } from './job-fixture.ts';

let fixture: JobFixture;
afterEach(() => fixture.cleanup());

const hour = 3_600_000;
const never = new AbortController().signal;

interface Options {
  readonly datasets?: readonly string[];
  readonly push?: string;
  readonly sink?: string;
  readonly keepSender?: string;
  readonly keepCopies?: string;
}

function jobs({ datasets = ['one', 'two'], push = '', sink = '', keepSender, keepCopies }: Options = {}): string {
  const all = '{ type: regex, regex: ".*" }';
  return `
  - name: backups
    type: sink
    backend: directory
    serve: { type: local, listener_name: vault }
    root_fs: ROOT/vault
    pruning: { keep: [${keepCopies ?? all}] }
    ${sink}
  - name: send
    type: push
    backend: directory
    connect: { type: local, listener_name: vault, client_identity: web1 }
    filesystems: { ${datasets.map((name) => `ROOT/${name}: true`).join(', ')} }
    snapshotting: { type: periodic, prefix: p_, interval: 1h }
    pruning: { keep_sender: [${keepSender ?? all}] }
    ${push}
  - name: take
    type: snap
    backend: directory
    filesystems: { ${datasets.map((name) => `ROOT/${name}: true`).join(', ')} }
    snapshotting: { type: periodic, prefix: p_, interval: 1h }
    pruning: { keep: [${all}] }
`;
}

async function prepared(options: Options = {}): Promise<JobFixture> {
  fixture = new JobFixture(jobs(options));
  for (const name of options.datasets ?? ['one', 'two']) fixture.write(`${name}/file`, `content of ${name}`);
  await fixture.serve('backups');
  return fixture;
}

const copyOf = (name: string): string => fixture.below('vault/web1', name);

function codes({ datasets }: RunResult): (string | null)[] {
  return datasets.map(({ error }) => error?.code ?? null);
}

describe('a push', () => {
  test('takes snapshots and has them stored below its identity', async () => {
    await prepared();
    const ended = fixture.runEnd('backups');
    const result = await fixture.run('send');
    expect(result).toMatchObject({ outcome: 'ok', error: null });
    expect(result.datasets).toMatchObject([
      {
        dataset: fixture.path('one'),
        steps: 1,
        snapshot: 'p_20260307_050609_000',
        newest: { name: 'p_20260307_050609_000' },
      },
      { dataset: fixture.path('two'), steps: 1 },
    ]);
    expect(fixture.stored(copyOf('one'))).toEqual(['p_20260307_050609_000']);
    expect(await ended).toMatchObject({ job: 'backups', cause: 'peer', identity: 'web1', outcome: 'ok' });
    expect((await ended).datasets).toMatchObject([
      { dataset: fixture.path('one'), target: fixture.path(copyOf('one')), steps: 1, bytes: result.datasets[0]!.bytes },
      { dataset: fixture.path('two') },
    ]);
  });

  test('tells its side of it in order', async () => {
    await prepared({ datasets: ['one'] });
    await fixture.run('send');
    const own = fixture.events.filter(({ job }) => job === 'send').map(({ kind }) => kind);
    expect(own.filter((kind) => kind !== 'bytes')).toEqual([
      ...['runBegan', 'datasetBegan', 'snapshotTaken', 'stepBegan', 'stepDone', 'datasetDone', 'runEnded'],
    ]);
    expect(fixture.eventsOf('stepBegan').find(({ job }) => job === 'send')).toMatchObject({
      stepIndex: 0,
      stepCount: 1,
    });
  });

  test('keeps its cursor under its own name, whatever the sink is called', async () => {
    await prepared({ datasets: ['one'] });
    await fixture.run('send');
    const versions = await (await openStore(fixture.path('one'))).versions();
    expect(versions.filter(({ type }) => type === 'bookmark').map(({ name }) => name)).toEqual([
      'snapferry_cursor_send',
    ]);
  });

  test('by its schedule takes no snapshots', async () => {
    await prepared({ datasets: ['one'] });
    await fixture.run('send');
    fixture.clock.jump(hour);
    expect(await fixture.run('send', 'schedule')).toMatchObject({
      outcome: 'ok',
      bytes: 0,
      datasets: [{ snapshot: null }],
    });
    expect(fixture.taken('one')).toHaveLength(1);
  });

  test('counts its steps', async () => {
    await prepared({ datasets: ['one'] });
    await fixture.run('send');
    for (let round = 0; round < 2; round++) {
      fixture.clock.jump(hour);
      await fixture.run('take');
    }
    fixture.clock.jump(hour);
    fixture.events.length = 0;
    await fixture.run('send');
    const steps = fixture.eventsOf('stepBegan').filter(({ job }) => job === 'send');
    expect(steps.map(({ stepIndex, stepCount }) => `${stepIndex + 1} of ${stepCount}`).at(-1)).toMatch(/^(\d) of \1$/);
  });

  test('sends only snapshots of a prefix, also after others that both sides have', async () => {
    await prepared({ datasets: ['one'] });
    await fixture.run('send');
    fixture.clock.jump(hour);
    await fixture.run('take');
    const settings = fixture.settings('send') as PushJob;
    const replication = { ...settings.replication, snapshotPrefix: 'q_' };
    const snapshotting = { ...settings.snapshotting, prefix: 'q_' } as PushJob['snapshotting'];
    fixture.clock.jump(hour);
    const picky = createJob({ ...settings, replication, snapshotting }, fixture.dependencies);
    expect((await picky.run({ cause: 'wakeup', signal: never })).outcome).toBe('ok');
    expect(fixture.stored(copyOf('one'))).toEqual(['p_20260307_050609_000', 'q_20260307_070609_000']);
  });

  test('does not call a dataset good of which nothing is to be sent', async () => {
    await prepared({ datasets: ['one'], push: 'replication: { snapshot_prefix: q_ }' });
    expect(codes(await fixture.run('send'))).toEqual(['VERSION_NOT_FOUND']);
    expect(existsSync(fixture.path(copyOf('one')))).toBe(false);
  });

  test('fails without sending anything if a person has to look first', async () => {
    await prepared({ push: 'conflict_resolution: { initial_replication: fail }' });
    const result = await fixture.run('send');
    expect(codes(result)).toEqual(['CONFLICT', 'CONFLICT']);
    expect(result.bytes).toBe(0);
  });

  test('deals datasets out to several connections', async () => {
    await prepared({ datasets: ['a', 'b', 'c', 'd', 'e'], push: 'replication: { concurrency: { steps: 2 } }' });
    const result = await fixture.run('send');
    expect(codes(result)).toEqual([null, null, null, null, null]);
    expect(fixture.listeners.connections).toBe(2);
  });

  test('goes on with the others when one cannot be stored', async () => {
    await prepared();
    fixture.write(`${copyOf('one')}/in-the-way`, 'x');
    const result = await fixture.run('send');
    expect(codes(result)).toEqual(['INVALID_REQUEST', null]);
    expect(fixture.stored(copyOf('two'))).toHaveLength(1);
  });

  test('is cut off, and goes on within the run', async () => {
    await prepared({ push: 'replication: { retry: { attempts: 4, wait_min: 1s } }' });
    fixture.write('one/large', randomBytes(3_000_000));
    fixture.listeners.faults.push({ cutAfterBytes: 900 });
    const result = await fixture.run('send');
    expect(result).toMatchObject({ outcome: 'ok', retries: 1 });
    expect(fixture.stored(copyOf('one'))).toHaveLength(1);
  });

  test('is refused by nobody who listens: all attempts, then the run fails', async () => {
    fixture = new JobFixture(jobs({ push: 'replication: { retry: { attempts: 2, wait_min: 1s } }' }));
    fixture.write('one/file', 'x');
    fixture.write('two/file', 'x');
    const result = await fixture.run('send');
    expect(result).toMatchObject({ outcome: 'failed', error: { code: 'CONNECT_FAILED' }, retries: 1 });
    expect(fixture.taken('one')).toHaveLength(1);
  });

  test('says in a dry run what would be sent, and changes nothing on either side', async () => {
    await prepared({ datasets: ['one'] });
    await fixture.run('send');
    fixture.clock.jump(hour);
    await fixture.run('take');
    fixture.events.length = 0;
    const before = fixture.taken('one');
    const result = await fixture.job('send').run({ cause: 'once', signal: never, dryRun: true });
    expect(result.outcome).toBe('ok');
    expect(fixture.eventsOf('planned')[0]!.datasets).toMatchObject([
      { dataset: fixture.path('one'), steps: before.length - 1 },
    ]);
    expect(fixture.taken('one')).toEqual(before);
    expect(fixture.stored(copyOf('one'))).toHaveLength(1);
  });

  test('is cancelled, and goes on with the next run', async () => {
    await prepared({ datasets: ['one'] });
    fixture.write('one/large', randomBytes(5_000_000));
    const controller = new AbortController();
    fixture.onEvent = (event) => event.kind === 'bytes' && event.job === 'send' && controller.abort();
    const ended = fixture.runEnd('backups');
    expect(await fixture.run('send', 'wakeup', controller.signal)).toMatchObject({ outcome: 'cancelled' });
    // Its side may take a while to let go, and the clock of the attempts is not this one's.
    await ended;
    fixture.onEvent = () => undefined;
    fixture.clock.jump(hour);
    expect(await fixture.run('send', 'schedule')).toMatchObject({ outcome: 'ok' });
    expect(fixture.stored(copyOf('one')).length).toBeGreaterThan(0);
  });
});

describe('pruning', () => {
  test('of both sides keeps what the next push starts from', async () => {
    const keep = '{ type: last_n, count: 1 }';
    await prepared({ datasets: ['one'], keepSender: keep, keepCopies: keep });
    for (let round = 0; round < 4; round++) {
      fixture.clock.jump(hour);
      const ended = fixture.runEnd('backups');
      expect(await fixture.run('send')).toMatchObject({ outcome: 'ok', datasets: [{ steps: 1 }] });
      await ended;
    }
    expect(fixture.taken('one')).toEqual(['p_20260307_090609_000']);
    expect(fixture.stored(copyOf('one'))).toEqual(['p_20260307_090609_000']);
  });

  test('of the sink by itself', async () => {
    await prepared({ datasets: ['one'], keepCopies: '{ type: last_n, count: 1 }' });
    await fixture.run('send');
    expect(await fixture.run('backups')).toMatchObject({
      cause: 'wakeup',
      identity: null,
      outcome: 'ok',
      datasets: [],
    });
  });

  test('of a sender leaves what has not arrived', async () => {
    fixture = new JobFixture(
      jobs({
        datasets: ['one'],
        keepSender: '{ type: not_replicated }, { type: last_n, count: 1 }',
        push: 'replication: { retry: { attempts: 1 } }',
      }),
    );
    fixture.write('one/file', 'x');
    for (let round = 0; round < 3; round++) {
      fixture.clock.jump(hour);
      await fixture.run('send');
    }
    expect(fixture.taken('one')).toHaveLength(3);
  });
});

describe('what a client of a sink may do', () => {
  const connect = async (identity: string) => {
    const stream = { type: 'local', listenerName: 'vault', clientIdentity: identity, dialTimeoutMs: 1000 } as const;
    const { logger } = fixture.dependencies;
    return connectPeer(stream, { localListeners: fixture.listeners, logger, signal: never });
  };

  test('see its own copies under its own names, read nothing, and see nothing of others', async () => {
    await prepared({ datasets: ['one'] });
    await fixture.run('send');
    const filesystem = fixture.path('one').slice(1).split('/');
    const own = await connect('web1');
    expect(await own.filesystems({ roots: null })).toEqual([filesystem]);
    const [version] = await own.filesystemVersions({ filesystem });
    expect(version!.name).toBe('p_20260307_050609_000');
    expect((await failure(own.initialTransfer({ filesystem, version: version! }))).code).toBe('ACCESS_DENIED');
    await own.close();
    const other = await connect('db1');
    expect(await other.filesystems({ roots: null })).toEqual([]);
    expect((await failure(other.filesystemVersions({ filesystem }))).code).toBe('DATASET_NOT_FOUND');
    await other.close();
  });

  test.each(['..', 'a/b', '', '.hidden', '-x'])('not be called %j', async (identity) => {
    await prepared({ datasets: ['one'] });
    expect((await failure(connect(identity))).code).toBe('ACCESS_DENIED');
  });
});

describe('a sink that is stopped', () => {
  test('lets a push that is under way finish, and no new one in', async () => {
    fixture = new JobFixture(jobs({ datasets: ['one'], push: 'replication: { retry: { attempts: 1 } }' }));
    fixture.write('one/large', randomBytes(3_000_000));
    const service = await fixture.serve('backups');
    let stopped: Promise<void> | undefined;
    fixture.onEvent = ({ kind, job }) => {
      if (kind === 'stepBegan' && job === 'backups') stopped ??= service.stop(60_000);
    };
    const result = await fixture.run('send');
    expect(result.outcome).toBe('ok');
    await stopped;
    expect(fixture.clock.waiting).toBe(0);
    expect(await fixture.run('send')).toMatchObject({ error: { code: 'CONNECT_FAILED' } });
  });

  test('at once keeps what has arrived, and the next push goes on', async () => {
    fixture = new JobFixture(jobs({ datasets: ['one'], push: 'replication: { retry: { attempts: 1 } }' }));
    fixture.write('one/large', randomBytes(5_000_000));
    const service = await fixture.serve('backups');
    let stopped: Promise<void> | undefined;
    fixture.onEvent = (event) => {
      if (event.kind === 'bytes' && event.job === 'backups') stopped ??= service.stop(0);
    };
    const result = await fixture.run('send');
    await stopped;
    expect(result.outcome).not.toBe('ok');
    fixture.onEvent = () => undefined;
    await fixture.serve('backups');
    expect((await fixture.run('send', 'schedule')).outcome).toBe('ok');
  });
});

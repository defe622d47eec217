import { mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Notification } from '../../../src/config/global-settings.ts';
import type { JobStatus } from '../../../src/daemon/daemon-status.ts';
import type { Deliver } from '../../../src/daemon/notify/deliver.ts';
import type { Notice } from '../../../src/daemon/notify/notice.ts';
import { notifyExtension, notifyStateName } from '../../../src/daemon/notify/notify-extension.ts';
import { SnapferryError } from '../../../src/errors.ts';
import {
  beganMs,
  commandNotification,
  datasetResult,
  failedRun,
  handClock,
  jobStatus,
  playedDaemon,
  problem,
  runResult,
} from '../../support/daemon-fixture.ts';
import type { HandClock, PlayedDaemon } from '../../support/daemon-fixture.ts';
import { moment } from '../../support/server-fixture.ts';

const minuteMs = 60_000;
const dayMs = 24 * 60 * minuteMs;

let stateDir: string;
let statePath: string;
beforeEach(async () => {
  stateDir = await mkdtemp(join(tmpdir(), 'snapferry-notifier-'));
  statePath = join(stateDir, notifyStateName);
});
afterEach(() => rm(stateDir, { recursive: true }));

/** Somebody who is told, and can be made deaf. */
class Listener {
  readonly heard: Notice[] = [];
  attempts = 0;
  isDeaf = false;
  #waiting: { count: number; resolve: () => void }[] = [];

  readonly deliver: Deliver = async (_notification, notice) => {
    this.attempts += 1;
    for (const { count, resolve } of this.#waiting) if (count <= this.attempts) resolve();
    if (this.isDeaf) throw new SnapferryError('CONNECT_FAILED', 'nobody listens');
    this.heard.push(notice);
    await Promise.resolve();
  };

  /** Resolves at the so manieth attempt. */
  attempted(count: number): Promise<void> {
    const { promise, resolve } = moment();
    this.#waiting.push({ count, resolve });
    if (this.attempts >= count) resolve();
    return promise;
  }

  get story(): string[] {
    return this.heard.map(({ event, isReminder, troubles }) =>
      [isReminder ? 'still' : '', event, ...troubles.map(({ dataset, code }) => dataset ?? code)].join(' ').trim(),
    );
  }
}

interface Daemon extends PlayedDaemon {
  /** Ends the notifications, after what is under way. */
  stop(): Promise<void>;
}

async function start(
  listener: Listener,
  options: {
    jobs?: readonly JobStatus[];
    notifications?: readonly Notification[];
    clock?: HandClock;
    configured?: readonly string[];
    onAttempt?: (type: string, outcome: string) => void;
  } = {},
): Promise<Daemon> {
  const { jobs, clock = handClock(), notifications = [commandNotification()], onAttempt, configured } = options;
  const played = playedDaemon({ stateDir, notifications }, jobs, clock, configured);
  const extension = notifyExtension({ host: 'here', deliver: listener.deliver, onAttempt });
  const running = await extension.start(played.context);
  return Object.assign(played, { stop: () => Promise.resolve(running[Symbol.asyncDispose]()) });
}

test('a failure is told once, its end is told, and nothing is left behind', async () => {
  const listener = new Listener();
  const attempts: string[] = [];
  const daemon = await start(listener, { onAttempt: (...attempt) => void attempts.push(attempt.join(' ')) });
  daemon.endRun(runResult());
  daemon.endRun(failedRun());
  daemon.endRun(failedRun());
  await listener.attempted(1);
  daemon.endRun(runResult());
  await listener.attempted(2);
  await daemon.stop();
  expect(listener.story).toEqual(['failure CONNECT_FAILED', 'recovery CONNECT_FAILED']);
  expect(attempts).toEqual(['command delivered', 'command delivered']);
  expect(daemon.clock.waiting()).toBe(0);
  expect(await readdir(stateDir)).toEqual([notifyStateName]);
});

test('what is told says what to do, as the status does', async () => {
  const listener = new Listener();
  const daemon = await start(listener);
  const conflict = { code: 'CONFLICT', dataset: 'tank/a' };
  daemon.status = {
    ...daemon.status,
    jobs: [
      jobStatus({
        problems: [
          problem({ ...conflict, identity: 'other', advice: 'wrong' }),
          problem({ ...conflict, advice: 'do this' }),
        ],
      }),
    ],
  };
  const error = { code: 'CONFLICT', message: 'line one\nline two' };
  daemon.endRun(runResult({ outcome: 'failed', datasets: [datasetResult({ dataset: 'tank/a', error })] }));
  await listener.attempted(1);
  await daemon.stop();
  expect(listener.heard).toMatchObject([
    { host: 'here', troubles: [{ dataset: 'tank/a', advice: 'do this', message: 'line one line two' }] },
  ]);
});

test('what becomes stale is told within a minute, and when it is so no longer', async () => {
  const listener = new Listener();
  const daemon = await start(listener);
  daemon.status = { ...daemon.status, jobs: [jobStatus({ problems: [problem()] })] };
  daemon.clock.advance(minuteMs);
  await listener.attempted(1);
  daemon.clock.advance(10 * minuteMs);
  daemon.status = { ...daemon.status, jobs: [jobStatus()] };
  daemon.endRun(runResult());
  await listener.attempted(2);
  await daemon.stop();
  expect(listener.story).toEqual(['stale tank/data', 'recovery tank/data']);
});

test('what became stale while no daemon ran is told as one begins', async () => {
  const listener = new Listener();
  const daemon = await start(listener, { jobs: [jobStatus({ problems: [problem()] })] });
  await listener.attempted(1);
  await daemon.stop();
  expect(listener.story).toEqual(['stale tank/data']);
});

test('a restart tells nothing again, and goes on where the last one was', async () => {
  const listener = new Listener();
  const failed = failedRun();
  const first = await start(listener, { jobs: [jobStatus({ problems: [problem()] })] });
  first.endRun(failed);
  await listener.attempted(2);
  await first.stop();
  const jobs = [jobStatus({ lastRun: failed, problems: [problem()] })];
  const second = await start(listener, { jobs });
  second.endRun(runResult());
  await listener.attempted(3);
  await second.stop();
  expect(listener.story).toEqual(['stale tank/data', 'failure CONNECT_FAILED', 'recovery CONNECT_FAILED']);
});

test('a run that ended as the daemon was killed is told by the next one', async () => {
  const listener = new Listener();
  const jobs = [jobStatus({ lastRun: failedRun('CANCELLED', 'snapferry was killed') })];
  await (await start(listener, { jobs })).stop();
  const again = await start(listener, { jobs });
  await listener.attempted(1);
  await again.stop();
  expect(listener.story).toEqual(['failure CANCELLED']);
});

test('a daemon that tells of its jobs only later is not taken for one without any', async () => {
  const listener = new Listener();
  const failed = failedRun();
  const first = await start(listener, { jobs: [jobStatus({ problems: [problem()] })] });
  first.endRun(failed);
  await listener.attempted(2);
  await first.stop();
  const missed = failedRun('TIMEOUT');
  const second = await start(listener, { jobs: [], configured: ['web1'] });
  second.status = { ...second.status, jobs: [jobStatus({ lastRun: missed, problems: [problem()] })] };
  second.emit({ kind: 'runBegan', run: 'next', cause: 'schedule', identity: null });
  second.clock.advance(1000);
  await listener.attempted(3);
  await second.stop();
  expect(listener.story).toEqual(['stale tank/data', 'failure CONNECT_FAILED', 'failure TIMEOUT']);
});

test('what could not be told is told later, also after a restart, and in order', async () => {
  const listener = new Listener();
  const clock = handClock();
  const attempts: string[] = [];
  const onAttempt = (type: string, outcome: string): void => void attempts.push(`${type} ${outcome}`);
  listener.isDeaf = true;
  const failed = failedRun();
  const ok = runResult();
  const first = await start(listener, { clock, onAttempt });
  first.endRun(failed);
  await listener.attempted(1);
  first.endRun(ok);
  await first.stop();
  expect(first.log.join('')).toMatch(
    /cannot tell of failure of job web1 by command: nobody listens; it is tried again in 1 min/,
  );
  listener.isDeaf = false;
  const second = await start(listener, { clock, onAttempt, jobs: [jobStatus({ lastRun: ok })] });
  clock.advance(2 * minuteMs);
  await listener.attempted(3);
  await second.stop();
  expect(listener.story).toEqual(['failure CONNECT_FAILED', 'recovery CONNECT_FAILED']);
  expect(attempts).toEqual(['command failed', 'command delivered', 'command delivered']);
});

test('everything is on disk before anybody is told: a crash tells twice rather than never, with one id', async () => {
  const listener = new Listener();
  let stored = '';
  const daemon = playedDaemon({ stateDir, notifications: [commandNotification()] });
  const told = moment<Notice>();
  const extension = notifyExtension({
    async deliver(_notification, notice) {
      stored = await readFile(statePath, 'utf8');
      told.resolve(notice);
    },
  });
  const running = await extension.start(daemon.context);
  const failed = failedRun();
  daemon.endRun(failed);
  const { id } = await told.promise;
  await running[Symbol.asyncDispose]();
  await writeFile(statePath, stored);
  const again = await start(listener, { jobs: [jobStatus({ lastRun: failed })] });
  await listener.attempted(1);
  await again.stop();
  expect(listener.heard).toMatchObject([{ id, event: 'failure' }]);
});

test('one who is deaf does not keep others from hearing', async () => {
  const notifications = [commandNotification({ argv: ['/deaf'] }), commandNotification({ argv: ['/hears'] })];
  const daemon = playedDaemon({ stateDir, notifications });
  const told = moment();
  const extension = notifyExtension({
    deliver(notification, _notice, signal) {
      if (notification.type === 'command' && notification.argv[0] === '/hears') {
        told.resolve();
        return Promise.resolve();
      }
      return new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(new SnapferryError('CANCELLED', 'cancelled')));
      });
    },
  });
  const running = await extension.start(daemon.context);
  daemon.endRun(failedRun());
  await told.promise;
  const ended = running[Symbol.asyncDispose]();
  daemon.clock.advance(5000);
  await ended;
  expect(daemon.clock.waiting()).toBe(0);
  const state = JSON.parse(await readFile(statePath, 'utf8')) as { told: Record<string, { outbox: unknown[] }> };
  expect(Object.values(state.told).map(({ outbox }) => outbox.length)).toEqual([1, 0]);
});

test('a job that cannot be reached is told of until a client comes, or it listens again', async () => {
  const listener = new Listener();
  const error = { code: 'BUSY', message: 'cannot listen on port 8888' };
  const serving = (isListening: boolean) =>
    jobStatus({ type: 'sink', problems: isListening ? [] : [problem({ code: 'BUSY', dataset: null })] });
  const daemon = await start(listener, { jobs: [serving(true)] });
  const fail = (): void => {
    daemon.status = { ...daemon.status, jobs: [serving(false)] };
    daemon.emit({ kind: 'listenFailed', error });
  };
  fail();
  fail();
  await listener.attempted(1);
  daemon.status = { ...daemon.status, jobs: [serving(true)] };
  daemon.emit({ kind: 'sessionBegan', session: 's', identity: 'web1', address: '127.0.0.1' });
  await listener.attempted(2);
  fail();
  await listener.attempted(3);
  daemon.status = { ...daemon.status, jobs: [serving(true)] };
  daemon.clock.advance(minuteMs);
  await listener.attempted(4);
  await daemon.stop();
  expect(listener.story).toEqual(['failure BUSY', 'recovery BUSY', 'failure BUSY', 'recovery BUSY']);
});

test('a reminder comes after a day, with nobody doing anything', async () => {
  const listener = new Listener();
  const daemon = await start(listener);
  daemon.endRun(failedRun());
  await listener.attempted(1);
  daemon.clock.advance(dayMs + minuteMs);
  await listener.attempted(2);
  await daemon.stop();
  expect(listener.story).toEqual(['failure CONNECT_FAILED', 'still failure CONNECT_FAILED']);
});

test('a reload brings somebody new up to date, leaves others in peace, and forgets who is gone', async () => {
  const listener = new Listener();
  const daemon = await start(listener, { notifications: [commandNotification({ argv: ['/one'] })] });
  daemon.endRun(failedRun());
  await listener.attempted(1);
  daemon.reload({
    stateDir,
    notifications: [commandNotification({ argv: ['/two'] }), commandNotification({ argv: ['/one'] })],
  });
  await listener.attempted(2);
  daemon.reload({ stateDir, notifications: [commandNotification({ argv: ['/two'], jobs: ['web2'] })] });
  daemon.endRun(failedRun('TIMEOUT'));
  await daemon.stop();
  expect(listener.story).toEqual(['failure CONNECT_FAILED', 'failure CONNECT_FAILED']);
  const state = JSON.parse(await readFile(statePath, 'utf8')) as { told: object };
  expect(Object.keys(state.told)).toHaveLength(1);
});

test('two notifications to one place are two', async () => {
  const listener = new Listener();
  const notifications = [commandNotification({ on: ['failure'] }), commandNotification({ on: ['recovery'] })];
  const daemon = await start(listener, { notifications });
  daemon.endRun(failedRun());
  daemon.endRun(runResult());
  await listener.attempted(2);
  await daemon.stop();
  expect(listener.story.toSorted()).toEqual(['failure CONNECT_FAILED', 'recovery CONNECT_FAILED']);
});

test('a job that leaves the configuration is not told of any more', async () => {
  const listener = new Listener();
  const daemon = await start(listener);
  daemon.endRun(failedRun());
  await listener.attempted(1);
  daemon.status = { ...daemon.status, jobs: [] };
  daemon.clock.advance(2 * dayMs);
  await daemon.stop();
  expect(listener.story).toEqual(['failure CONNECT_FAILED']);
  expect(JSON.parse(await readFile(statePath, 'utf8'))).toMatchObject({ runs: {}, troubles: [] });
});

test('the file names no secret, and nobody else may read it', async () => {
  const listener = new Listener();
  const webhook: Notification = {
    ...{ type: 'webhook', url: 'https://example.com/s3cr3t', urlFile: null, bearerTokenFile: null },
    ...{ headers: { 'X-Key': 't0k3n' }, on: ['failure'], jobs: null, repeatMsMin: dayMs, timeoutMs: 1000 },
  };
  const daemon = await start(listener, { notifications: [webhook] });
  daemon.endRun(failedRun());
  await listener.attempted(1);
  await daemon.stop();
  expect(await readFile(statePath, 'utf8')).not.toMatch(/s3cr3t|t0k3n/);
  expect((await stat(statePath)).mode & 0o777).toBe(0o600);
  expect(daemon.log.join('')).not.toMatch(/s3cr3t|t0k3n/);
});

test('a file that cannot be understood is put aside, and what is wrong now is told', async () => {
  const listener = new Listener();
  await writeFile(statePath, '{"version":1,"runs":');
  const daemon = await start(listener, { jobs: [jobStatus({ lastRun: failedRun() })] });
  await listener.attempted(1);
  await daemon.stop();
  expect(listener.story).toEqual(['failure CONNECT_FAILED']);
  expect((await readdir(stateDir)).sort()).toEqual([notifyStateName, `${notifyStateName}.damaged`]);
  expect(daemon.log.join('')).toContain('it is put aside');
});

test('a disk that is full keeps nobody from being told, and is logged once', async () => {
  const listener = new Listener();
  const daemon = await start(listener);
  await rm(stateDir, { recursive: true });
  daemon.endRun(failedRun());
  await listener.attempted(1);
  await daemon.stop();
  expect(listener.story).toEqual(['failure CONNECT_FAILED']);
  expect(daemon.log.filter((line) => line.includes('cannot write'))).toHaveLength(1);
  stateDir = await mkdtemp(join(tmpdir(), 'snapferry-notifier-'));
});

test('news of bytes costs nothing', async () => {
  const daemon = await start(new Listener());
  const { status } = daemon.context;
  let asked = 0;
  Object.assign(daemon.context, {
    status: () => {
      asked += 1;
      return status();
    },
  });
  const progress = { bytes: 1, estimatedBytes: null, fraction: null, bytesPerSecond: null, remainingMs: null };
  daemon.emit({ kind: 'bytes', run: 'r', dataset: 'd', step: progress, total: progress });
  daemon.emit({ kind: 'sessionBegan', session: 's', identity: 'i', address: 'a' });
  expect(asked).toBe(0);
  daemon.endRun(runResult());
  expect(asked).toBe(1);
  await daemon.stop();
});

test('nobody to be told: nothing is written', async () => {
  const daemon = await start(new Listener(), { notifications: [] });
  daemon.endRun(failedRun('TIMEOUT', 'no', { endedMs: beganMs }));
  await daemon.stop();
  expect(await readdir(stateDir)).toEqual([]);
});

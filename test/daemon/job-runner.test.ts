import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import { JobRunner } from '../../src/daemon/job-runner.ts';
import type { JobRunnerOptions } from '../../src/daemon/job-runner.ts';
import type { Job } from '../../src/config/job.ts';
import { FakeClock, settled } from '../support/fake-clock.ts';
import { jobOf, pullJob, sinkText, snapText } from '../support/job-settings.ts';
import { ScriptedJob } from '../support/scripted-job.ts';

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;

function started(settings: Job, options: Partial<JobRunnerOptions> & { clock?: FakeClock } = {}) {
  const clock = options.clock ?? new FakeClock();
  const job = new ScriptedJob(settings, clock);
  const heard = { listening: 0 };
  const runner = new JobRunner({
    job,
    clock,
    logger: pino({ level: 'silent' }),
    lastBeganMs: null,
    isToResume: false,
    onListening: () => heard.listening++,
    ...options,
  });
  return { clock, job, runner, heard };
}

describe('an interval', () => {
  test('runs at once when it never ran, then from begin to begin', async () => {
    const { clock, job, runner } = started(pullJob('web1'));
    job.endsAtOnce = true;
    runner.start();
    const begin = clock.nowMs();
    await clock.pass(3 * hour);
    expect(job.runs.map(({ beganMs }) => beganMs - begin)).toEqual([0, hour, 2 * hour, 3 * hour]);
    expect(new Set(job.causes)).toEqual(new Set(['schedule']));
  });

  test('goes on where an earlier daemon was, and catches up once', async () => {
    const clock = new FakeClock();
    const recent = started(pullJob('web1'), { clock, lastBeganMs: clock.nowMs() - 20 * minute });
    recent.runner.start();
    await clock.pass(39 * minute);
    expect(recent.job.runs).toHaveLength(0);
    await clock.pass(minute);
    expect(recent.job.runs).toHaveLength(1);
    const old = started(pullJob('web1'), { clock, lastBeganMs: clock.nowMs() - 100 * hour });
    old.job.endsAtOnce = true;
    old.runner.start();
    await clock.pass(hour - 1);
    expect(old.job.runs).toHaveLength(1);
  });

  test('a run that takes longer than the interval is followed by the next at once, never by two at a time', async () => {
    const { clock, job, runner } = started(pullJob('web1'));
    runner.start();
    await clock.pass(5 * hour);
    expect(job.runs).toHaveLength(1);
    job.running.end();
    await clock.pass(1);
    expect(job.runs).toHaveLength(2);
    expect(runner.state).toBe('running');
  });

  test('a run that was interrupted by the end of a daemon goes on at once', async () => {
    const clock = new FakeClock();
    const { job, runner } = started(pullJob('web1', "cron: '0 3 * * *'"), {
      clock,
      lastBeganMs: clock.nowMs(),
      isToResume: true,
    });
    runner.start();
    await clock.pass(1000);
    expect(job.causes).toEqual(['schedule']);
    job.running.end();
    await clock.pass(hour);
    expect(job.runs).toHaveLength(1);
  });
});

describe('a clock that jumps', () => {
  test('a machine that slept for days runs at once, and once', async () => {
    const { clock, job, runner } = started(pullJob('web1'));
    job.endsAtOnce = true;
    runner.start();
    await clock.pass(10 * minute);
    expect(job.runs).toHaveLength(1);
    clock.jump(3 * day);
    await clock.pass(minute);
    expect(job.runs).toHaveLength(2);
    await clock.pass(hour - 2 * minute);
    expect(job.runs).toHaveLength(2);
  });

  test('one that is set back by a year waits no longer than the interval', async () => {
    const { clock, job, runner } = started(pullJob('web1'));
    job.endsAtOnce = true;
    runner.start();
    await clock.pass(10 * minute);
    clock.jump(-365 * day);
    await clock.pass(hour + minute);
    expect(job.runs).toHaveLength(2);
  });

  test('cron, set back by a day, comes due at its next time of the new clock', async () => {
    const { clock, job, runner } = started(pullJob('web1', "cron: '0 * * * *'"), {
      clock: new FakeClock('2026-03-07T10:30:00Z'),
    });
    job.endsAtOnce = true;
    runner.start();
    await clock.pass(31 * minute);
    expect(job.runs).toHaveLength(1);
    clock.jump(-day);
    await clock.pass(hour);
    expect(job.runs).toHaveLength(2);
  });

  test('a thousand jumps of any size never make it run twice at a time, nor stop it', async () => {
    const { clock, job, runner } = started(pullJob('web1', 'interval: 10m'));
    job.endsAtOnce = true;
    runner.start();
    let state = 42;
    for (let count = 0; count < 1000; count++) {
      state = (state * 1103515245 + 12345) % 2 ** 31;
      clock.jump(((state % 2001) - 1000) * minute);
      const before = job.runs.length;
      await clock.pass(12 * minute);
      expect(job.runs.length - before, `after jump ${count}`).toBeGreaterThanOrEqual(1);
      expect(job.runs.length - before, `after jump ${count}`).toBeLessThanOrEqual(2);
    }
  });
});

describe('a wakeup', () => {
  test('runs at once; during a run, once afterwards, however often it comes', async () => {
    const { clock, job, runner } = started(pullJob('web1', 'interval: manual'));
    runner.start();
    await clock.pass(day);
    expect(job.runs).toHaveLength(0);
    expect(runner.wakeup()).toBe('begun');
    expect([runner.wakeup(), runner.wakeup(), runner.wakeup()]).toEqual(['remembered', 'remembered', 'remembered']);
    job.running.end();
    await settled();
    expect(job.causes).toEqual(['wakeup', 'wakeup']);
    job.running.end();
    await settled();
    expect(runner.state).toBe('idle');
  });

  test('counts as a run of the interval', async () => {
    const { clock, job, runner } = started(pullJob('web1'));
    job.endsAtOnce = true;
    runner.start();
    await clock.pass(50 * minute);
    runner.wakeup();
    await clock.pass(59 * minute);
    expect(job.causes).toEqual(['schedule', 'wakeup']);
    await clock.pass(2 * minute);
    expect(job.causes).toEqual(['schedule', 'wakeup', 'schedule']);
  });
});

describe('cancel and reset', () => {
  test('cancel stops the run and forgets what was to come, the schedule goes on', async () => {
    const { clock, job, runner } = started(pullJob('web1'));
    runner.start();
    await clock.pass(0);
    runner.wakeup();
    expect(await runner.cancel('enough')).toBe(true);
    expect(job.running.signal.reason).toMatchObject({ code: 'CANCELLED', message: 'enough' });
    await clock.pass(30 * minute);
    expect(job.runs).toHaveLength(1);
    expect(await runner.cancel('enough')).toBe(false);
    await clock.pass(30 * minute);
    expect(job.runs).toHaveLength(2);
  });

  test('reset stops the run and begins anew at once', async () => {
    const { clock, job, runner } = started(pullJob('web1'));
    runner.start();
    await clock.pass(0);
    expect(await runner.reset('anew')).toBe('begun');
    expect(job.causes).toEqual(['schedule', 'wakeup']);
    expect(job.runs[0]?.signal.aborted).toBe(true);
    expect(job.running.signal.aborted).toBe(false);
  });

  test('clients of a job that serves are dropped, and it serves on', async () => {
    const { job, runner, heard } = started(jobOf(sinkText('vault')));
    runner.start();
    await settled();
    expect(runner.state).toBe('serving');
    expect(await runner.cancel('enough')).toBe(true);
    expect(job.services.map(({ graceMs }) => graceMs)).toEqual([0, null]);
    await settled();
    expect(heard.listening).toBe(2);
    expect(runner.state).toBe('serving');
  });
});

describe('snapshots', () => {
  const periodic = snapText('home', '{ type: periodic, interval: 10m, prefix: a_ }');

  test('are taken when the job says so, which is asked after each run', async () => {
    const clock = new FakeClock();
    const { job, runner } = started(jobOf(periodic), { clock });
    job.endsAtOnce = true;
    let next = clock.nowMs() + 5 * minute;
    job.nextSnapshot = () => Promise.resolve(next);
    runner.start();
    await clock.pass(4 * minute);
    expect(job.runs).toHaveLength(0);
    expect(runner.nextRunMs).toBe(next);
    next += 10 * minute;
    await clock.pass(minute);
    expect(job.causes).toEqual(['snapshots']);
    expect(runner.nextRunMs).toBe(next);
  });

  test('that cannot be looked at lead to a run that says so, with growing waits', async () => {
    const clock = new FakeClock();
    const { job, runner } = started(jobOf(periodic), { clock });
    job.nextSnapshot = () => Promise.reject(new SnapferryError('SOURCE_FAILED', 'no such pool'));
    job.endsAtOnce = true;
    const begin = clock.nowMs();
    runner.start();
    await clock.pass(3 * hour);
    const times = job.runs.map(({ beganMs }) => (beganMs - begin) / 1000);
    expect(times).toEqual([10, 70, 370, 1270, 4870, 8470]);
  });

  test('that another process keeps from being taken are not asked for in a busy loop', async () => {
    const clock = new FakeClock();
    const { job, runner } = started(jobOf(periodic), { clock });
    const overdue = clock.nowMs() - 1;
    job.nextSnapshot = () => Promise.resolve(overdue);
    job.endsAtOnce = true;
    runner.start();
    await clock.pass(hour);
    expect(job.runs.length).toBeGreaterThan(2);
    expect(job.runs.length).toBeLessThan(7);
  });

  test('of cron that came due during a long run are taken right after it, once', async () => {
    const clock = new FakeClock('2026-03-07T10:30:00Z');
    const { job, runner } = started(jobOf(snapText('home', "{ type: cron, cron: '0 * * * *', prefix: a_ }")), {
      clock,
    });
    job.nextSnapshot = () => Promise.resolve(Math.ceil((clock.nowMs() + 1) / hour) * hour);
    runner.start();
    await clock.pass(30 * minute);
    expect(job.causes).toEqual(['snapshots']);
    await clock.pass(3 * hour + 10 * minute);
    job.running.end();
    await clock.pass(1000);
    expect(job.runs).toHaveLength(2);
    job.running.end();
    await clock.pass(40 * minute);
    expect(job.runs).toHaveLength(2);
    await clock.pass(10 * minute);
    expect(job.runs).toHaveLength(3);
  });

  test('of a periodic job whose run took longer than the interval are overdue, not failing', async () => {
    const clock = new FakeClock();
    const { job, runner } = started(jobOf(periodic), { clock });
    let round = clock.nowMs();
    job.nextSnapshot = () => Promise.resolve((job.runs.at(-1)?.beganMs ?? round) + 10 * minute);
    runner.start();
    for (let count = 1; count <= 8; count++) {
      await clock.pass(11 * minute);
      expect(job.runs).toHaveLength(count);
      round = clock.nowMs();
      job.running.end();
    }
  });
});

describe('a stop', () => {
  test('waits for the run, then cancels it', async () => {
    const { clock, job, runner } = started(pullJob('web1'));
    runner.start();
    await clock.pass(0);
    runner.wakeup();
    runner.stop({ runMsMax: minute, serviceMsMax: minute });
    expect(runner.state).toBe('stopping');
    expect(runner.wakeup()).toBe('stopping');
    await clock.pass(59_000);
    expect(job.running.signal.aborted).toBe(false);
    await clock.pass(1000);
    expect(job.running.signal.aborted).toBe(true);
    await runner.finished;
    expect(job.runs).toHaveLength(1);
    expect(clock.waiting).toBe(0);
  });

  test('again with less time is sooner, with more is not later', async () => {
    const { clock, job, runner } = started(pullJob('web1'));
    runner.start();
    await clock.pass(0);
    runner.stop({ runMsMax: hour, serviceMsMax: hour });
    runner.stop({ runMsMax: 1000, serviceMsMax: 1000 });
    runner.stop({ runMsMax: day, serviceMsMax: day });
    await clock.pass(1000);
    expect(job.running.signal.aborted).toBe(true);
    await runner.finished;
  });

  test('of an idle job is over at once and leaves no timer', async () => {
    const { clock, runner } = started(pullJob('web1', 'interval: 5h'), { lastBeganMs: new FakeClock().nowMs() });
    runner.start();
    await clock.pass(0);
    expect(clock.waiting).toBe(1);
    runner.stop({ runMsMax: minute, serviceMsMax: minute });
    await runner.finished;
    expect(clock.waiting).toBe(0);
  });

  test('of a job that serves lets clients finish', async () => {
    const { clock, job, runner } = started(jobOf(sinkText('vault')));
    runner.start();
    runner.stop({ runMsMax: minute, serviceMsMax: minute });
    await settled();
    expect(runner.isFinished).toBe(false);
    expect(job.services[0]?.graceMs).toBe(minute);
    job.services[0]?.end();
    await runner.finished;
    expect(clock.waiting).toBe(0);
  });
});

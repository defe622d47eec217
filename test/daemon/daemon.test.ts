import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Configuration } from '../../src/config/configuration.ts';
import { readConfiguration } from '../../src/config/load-configuration.ts';
import { Daemon } from '../../src/daemon/daemon.ts';
import type { DaemonOptions } from '../../src/daemon/daemon.ts';
import type { DaemonExtension } from '../../src/daemon/daemon-extension.ts';
import { historyPath, readHistory } from '../../src/daemon/read-history.ts';
import type { JobEvent } from '../../src/jobs/job-events.ts';
import { FakeClock, settled } from '../support/fake-clock.ts';
import { pullText, sinkText, snapText } from '../support/job-settings.ts';
import { ScriptedJob } from '../support/scripted-job.ts';

const minute = 60_000;
const hour = 60 * minute;
let stateDir: string;
let clock: FakeClock;
let text: string;
let lines: Record<string, unknown>[];
const jobs = new Map<string, ScriptedJob[]>();
const daemons = new Set<Daemon>();

beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'snapferry-daemon-'));
  clock = new FakeClock();
  text = pullText('web1');
  lines = [];
  jobs.clear();
});
afterEach(async () => {
  for (const daemon of daemons) await daemon.stop(0);
  daemons.clear();
  rmSync(stateDir, { recursive: true, force: true });
});

function load(): Configuration {
  const shutdown = 'shutdown_timeout: 1m';
  return readConfiguration(`global: { state_dir: ${stateDir}, ${shutdown} }\njobs:${text}`, '/etc/snapferry/test.yml');
}

async function started(
  options: Partial<DaemonOptions> = {},
  beforeJobs?: (daemon: Daemon) => Promise<void>,
): Promise<Daemon> {
  const all: DaemonOptions = {
    load,
    clock,
    version: '1.2.3',
    logger: pino({ level: 'trace', base: null }, { write: (line) => void lines.push(JSON.parse(line) as never) }),
    createJob(settings, dependencies) {
      const job = new ScriptedJob(settings, clock, dependencies);
      jobs.set(settings.name, [...(jobs.get(settings.name) ?? []), job]);
      return job;
    },
    ...options,
  };
  const daemon = await Daemon.start(all, beforeJobs);
  daemons.add(daemon);
  // What is due begins.
  await clock.pass(0);
  return daemon;
}

/** The newest object that was made of a job. */
function job(name = 'web1'): ScriptedJob {
  return jobs.get(name)!.at(-1)!;
}

describe('a daemon', () => {
  test('runs its jobs, remembers it, and goes on where it was', async () => {
    const first = await started();
    expect(job().causes).toEqual(['schedule']);
    expect(first.status().jobs[0]).toMatchObject({ name: 'web1', state: 'running', lastRun: null });
    await clock.pass(10 * minute);
    job().running.end();
    await settled();
    expect(first.status().jobs[0]).toMatchObject({ state: 'idle', nextRunMs: clock.nowMs() + 50 * minute });
    await first.stop();
    const second = await started();
    expect(second.status().jobs[0]).toMatchObject({
      lastRun: { outcome: 'ok' },
      nextRunMs: clock.nowMs() + 50 * minute,
    });
    await clock.pass(50 * minute - 1);
    expect(job().runs).toHaveLength(0);
    await clock.pass(1);
    expect(job().runs).toHaveLength(1);
  });

  test('is alone in its state directory, and says who is there', async () => {
    await started();
    await expect(started()).rejects.toMatchObject({
      code: 'BUSY',
      message: expect.stringMatching(`${stateDir} is in use by process ${process.pid} .* global.state_dir`) as string,
    });
  });

  test('that was killed during a run says that it failed, once, and goes on at once', async () => {
    const events: JobEvent[] = [];
    const listening: DaemonExtension = {
      name: 'listening',
      start: ({ subscribe }) => {
        const end = subscribe((event) => void events.push(event));
        return Promise.resolve({
          [Symbol.asyncDispose]() {
            end();
            return Promise.resolve();
          },
        });
      },
    };
    const first = await started();
    while (!readFileSync(historyPath(stateDir), 'utf8').includes('began')) await settled();
    const before = readFileSync(historyPath(stateDir));
    job().isStubborn = false;
    await first.stop(0);
    // As it was when it was killed.
    writeFileSync(historyPath(stateDir), before);
    await clock.pass(minute);
    const second = await started({ extensions: [listening] });
    const [status] = second.status().jobs;
    expect(status?.lastRun).toMatchObject({ outcome: 'failed', error: { code: 'CANCELLED' } });
    expect(status?.problems).toMatchObject([
      { code: 'CANCELLED', message: expect.stringContaining('killed') as string },
    ]);
    expect(events.map(({ kind }) => kind).slice(0, 3)).toEqual(['runBegan', 'runEnded', 'runBegan']);
    expect(job().causes).toEqual(['schedule']);
    job().running.end();
    await settled();
    await second.stop();
    const { fold } = await readHistory(stateDir);
    expect(fold.begun.size).toBe(0);
    expect(readFileSync(historyPath(stateDir), 'utf8').match(/was killed/g)).toHaveLength(1);
  });

  test('names the jobs there are when asked for one there is not', async () => {
    const daemon = await started();
    expect(() => daemon.wakeup('web2')).toThrow('there is no job "web2"; there are: web1');
    await expect(daemon.cancel('web2')).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  });

  test('begins no job before what has to be there before, and none at all without it', async () => {
    const fails = started({}, () => Promise.reject(new Error('no socket')));
    await expect(fails).rejects.toThrow('no socket');
    expect(job().runs).toHaveLength(0);
    let begunBefore: number | null = null;
    const daemon = await started({}, async () => {
      await clock.pass(1000);
      begunBefore = job().runs.length;
    });
    expect(begunBefore).toBe(0);
    expect(daemon.status().jobs[0]?.state).toBe('running');
  });

  test('that cannot make its jobs leaves nothing behind', async () => {
    const fails = started({
      createJob: () => {
        throw new Error('no such backend');
      },
    });
    await expect(fails).rejects.toThrow('no such backend');
    await started();
  });
});

describe('a stop', () => {
  test('waits for runs as long as the configuration says, then cancels them', async () => {
    const daemon = await started();
    const stopped = daemon.stop();
    expect(daemon.wakeup('web1')).toBe('stopping');
    expect(daemon.status().jobs[0]?.state).toBe('stopping');
    await clock.pass(minute - 1);
    expect(job().running.signal.aborted).toBe(false);
    await clock.pass(1);
    await stopped;
    const { fold } = await readHistory(stateDir);
    expect(fold.jobs.get('web1')?.lastRun?.outcome).toBe('cancelled');
    expect(clock.waiting).toBe(0);
  });

  test('a second one cancels at once', async () => {
    const daemon = await started();
    const first = daemon.stop();
    expect(job().running.signal.aborted).toBe(false);
    await Promise.all([daemon.stop(0), first]);
    expect(job().running.signal.aborted).toBe(true);
    await daemon.stop(0);
    expect(clock.waiting).toBe(0);
  });

  test('does not wait for ever for what does not end', async () => {
    const daemon = await started();
    job().isStubborn = true;
    const stopped = daemon.stop(1000);
    await clock.pass(32_000);
    await stopped;
    expect(lines.at(-1)).toMatchObject({ level: 50, msg: expect.stringContaining('web1') as string });
    job().running.end();
  });
});

describe('a reload', () => {
  test('leaves alone what has not changed, in the middle of a run', async () => {
    text += sinkText('vault');
    text += snapText('home', '{ type: manual }');
    const daemon = await started();
    const [web1, vault] = [job('web1'), job('vault')];
    text += pullText('web2');
    expect(await daemon.reload()).toMatchObject({
      added: ['web2'],
      changed: [],
      removed: [],
      unchanged: ['web1', 'vault', 'home'],
    });
    expect([job('web1'), job('vault')]).toEqual([web1, vault]);
    expect(web1.running.signal.aborted).toBe(false);
    expect(vault.services.map(({ graceMs }) => graceMs)).toEqual([null]);
    expect(daemon.status().jobs.map(({ name }) => name)).toEqual(['web1', 'vault', 'home', 'web2']);
  });

  test('a changed job begins anew after its run, and a wakeup meanwhile is not lost', async () => {
    const daemon = await started();
    const old = job();
    text = pullText('web1', 'interval: 2h');
    await clock.pass(minute);
    expect(await daemon.reload()).toMatchObject({ changed: ['web1'] });
    expect(daemon.status().jobs[0]?.state).toBe('stopping');
    expect(daemon.wakeup('web1')).toBe('remembered');
    await clock.pass(5 * hour);
    expect(old.running.signal.aborted).toBe(false);
    expect(job().runs).toHaveLength(0);
    old.running.end();
    await settled();
    expect(job()).not.toBe(old);
    expect(job().causes).toEqual(['wakeup']);
    expect(old.runs).toHaveLength(1);
  });

  test('a job that is gone finishes its run; one that comes back meanwhile waits for it', async () => {
    text += pullText('web2');
    const daemon = await started();
    const old = job('web2');
    text = pullText('web1');
    expect(await daemon.reload()).toMatchObject({ removed: ['web2'] });
    expect(daemon.status().jobs.map(({ name }) => name)).toEqual(['web1']);
    text += pullText('web2', 'interval: 3h');
    expect(await daemon.reload()).toMatchObject({ added: ['web2'] });
    await settled();
    expect(job('web2').runs).toHaveLength(0);
    old.running.end();
    await clock.pass(3 * hour);
    expect(job('web2').runs).toHaveLength(1);
  });

  test('other tools make every job begin anew', async () => {
    const daemon = await started();
    const reloaded = daemon.reload();
    await reloaded;
    expect(jobs.get('web1')).toHaveLength(1);
    const withTools = load();
    const tools = { ...withTools.global.tools, zfs: ['sudo', 'zfs'] as const };
    await daemon.stop(0);
    let configuration = withTools;
    const other = await started({ load: () => configuration });
    configuration = { ...withTools, global: { ...withTools.global, tools: { ...tools, zfs: ['sudo', 'zfs'] } } };
    expect(await other.reload()).toMatchObject({ changed: ['web1'] });
  });

  test('a bad file changes nothing and says why, until a good one comes', async () => {
    const daemon = await started();
    const old = job();
    text = pullText('web1', 'intervall: 1h');
    await expect(daemon.reload()).rejects.toMatchObject({ name: 'ConfigurationError' });
    expect(daemon.status().configuration.reloadError).toContain('intervall');
    expect(lines.at(-1)?.['msg']).toContain('the old one is still at work');
    expect(job()).toBe(old);
    expect(old.running.signal.aborted).toBe(false);
    text = pullText('web1');
    await daemon.reload();
    expect(daemon.status().configuration.reloadError).toBeNull();
  });

  test('what cannot be changed without a restart is refused', async () => {
    const daemon = await started();
    const was = stateDir;
    stateDir = '/elsewhere';
    await expect(daemon.reload()).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
      message: expect.stringContaining('global.state_dir cannot be changed') as string,
    });
    stateDir = was;
    expect(existsSync('/elsewhere')).toBe(false);
  });

  test('several at once come one after the other', async () => {
    const daemon = await started();
    text += pullText('web2');
    const outcomes = await Promise.all([daemon.reload(), daemon.reload()]);
    expect(outcomes.map(({ added }) => added)).toEqual([['web2'], []]);
  });
});

describe('extensions', () => {
  test('begin in order before any run, see what happens, and end in the opposite order after it', async () => {
    const heard: string[] = [];
    const extension = (name: string): DaemonExtension => ({
      name,
      start({ subscribe, status, onReload }) {
        heard.push(`${name} begins`);
        subscribe(({ kind }) => heard.push(`${name} ${kind} ${status().jobs[0]?.runs.length}`));
        onReload(() => heard.push(`${name} reload`));
        return Promise.resolve({
          [Symbol.asyncDispose]: () => Promise.resolve(void heard.push(`${name} ends`)),
        });
      },
    });
    const daemon = await started({ extensions: [extension('a'), extension('b')] });
    await daemon.reload();
    await daemon.stop(0);
    expect(heard).toEqual([
      ...['a begins', 'b begins', 'a runBegan 1', 'b runBegan 1', 'a reload', 'b reload'],
      ...['a runEnded 0', 'b runEnded 0', 'b ends', 'a ends'],
    ]);
  });

  test('one that cannot begin, throws or never ends does not harm the daemon', async () => {
    const bad: DaemonExtension = { name: 'bad', start: () => Promise.reject(new Error('port in use')) };
    const slow: DaemonExtension = {
      name: 'slow',
      start({ subscribe }) {
        subscribe(() => {
          throw new Error('at each event');
        });
        return Promise.resolve({ [Symbol.asyncDispose]: () => new Promise(() => undefined) });
      },
    };
    const daemon = await started({ extensions: [bad, slow] });
    expect(lines.map(({ msg }) => msg)).toContain('bad could not begin, and is left out: port in use');
    expect(lines.map(({ msg }) => msg)).toContain('a listener of events failed');
    const stopped = daemon.stop(0);
    await settled();
    await clock.pass(10_000);
    await stopped;
    expect(lines.at(-1)?.['msg']).toBe('slow did not end within 10000 ms');
  });
});

test('each event is one line with job, run and what it is about', async () => {
  await started();
  job().running.end();
  await settled();
  const own = lines.filter((line) => line['event'] !== undefined);
  expect(own.map(({ event, job: name }) => [event, name])).toEqual([
    ['runBegan', 'web1'],
    ['runEnded', 'web1'],
  ]);
  expect(own[1]).toMatchObject({ level: 30, outcome: 'ok', run: own[0]?.['run'] });
});

test('a state directory that vanishes does not keep jobs from running', async () => {
  const daemon = await started();
  rmSync(stateDir, { recursive: true });
  job().running.end();
  await clock.pass(hour);
  expect(job().runs).toHaveLength(2);
  expect(daemon.status().jobs[0]?.lastRun?.outcome).toBe('ok');
});

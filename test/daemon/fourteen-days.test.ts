import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readConfiguration } from '../../src/config/load-configuration.ts';
import { Daemon } from '../../src/daemon/daemon.ts';
import type { DaemonExtension } from '../../src/daemon/daemon-extension.ts';
import { notifyExtension } from '../../src/daemon/notify/notify-extension.ts';
import type { Notice } from '../../src/daemon/notify/notice.ts';
import { historyPath } from '../../src/daemon/read-history.ts';
import { createJob } from '../../src/jobs/create-job.ts';
import type { JobEvent } from '../../src/jobs/job-events.ts';
import type { RunResult } from '../../src/jobs/run-result.ts';
import { drawFault, faultProxy, soundLine } from '../support/fault-proxy.ts';
import type { FaultProxy } from '../support/fault-proxy.ts';
import { FakeClock, settled } from '../support/fake-clock.ts';
import { heldBytes } from '../support/held-memory.ts';
import { randomFrom } from '../support/random.ts';

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;
const isLong = process.env['SNAPFERRY_LONG'] === '1';
const pushEveryHours = isLong ? 1 : 4;
const copyEveryHours = isLong ? 2 : 6;
const keptOnSink = 8;
const keptOnSender = 5;

let work: string;
let proxy: FaultProxy;

beforeAll(async () => {
  work = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'snapferry-days-'));
  for (const name of ['run', 'files', 'docs']) mkdirSync(join(work, name), { mode: 0o700 });
  proxy = await faultProxy(join(work, 'run', 'proxy'), { path: join(work, 'run', 'vault') });
});
afterAll(async () => {
  await proxy.close();
  rmSync(work, { recursive: true, force: true });
});

/** A machine that pushes to a vault by a line that breaks, and copies to its second disk. */
function configurationText(): string {
  const snapshots = (hours: number, prefix: string): string =>
    `{ type: cron, cron: '0 */${hours} * * *', prefix: ${prefix} }`;
  return `
global:
  state_dir: ${join(work, 'state')}
  control: { sockpath: ${join(work, 'run', 'control')} }
  serve: { stdinserver: { sockdir: ${join(work, 'run', 'stdinserver')} } }
  shutdown_timeout: 1m
  notifications: [{ type: command, command: [/bin/true], on: [failure, recovery] }]
jobs:
  - name: vault
    type: sink
    backend: directory
    serve: { type: unix, path: ${join(work, 'run', 'vault')}, client_identity: files }
    root_fs: ${join(work, 'vault')}
    pruning: { keep: [{ type: last_n, count: ${keptOnSink} }] }
  - name: files
    type: push
    backend: directory
    connect: { type: unix, path: ${join(work, 'run', 'proxy')} }
    filesystems: { ${join(work, 'files')}: true }
    interval: manual
    snapshotting: ${snapshots(pushEveryHours, 'auto_')}
    replication: { retry: { attempts: 3, wait_min: 10s, wait_max: 1m } }
    pruning: { keep_sender: [{ type: not_replicated }, { type: last_n, count: ${keptOnSender} }] }
  - name: copy
    type: local
    backend: directory
    filesystems: { ${join(work, 'docs')}: true }
    root_fs: ${join(work, 'copy')}
    interval: manual
    snapshotting: ${snapshots(copyEveryHours, 'auto_')}
    replication: { retry: { attempts: 2, wait_min: 10s, wait_max: 1m } }
    pruning:
      keep_sender: [{ type: last_n, count: ${keptOnSender} }]
      keep_receiver: [{ type: last_n, count: ${keptOnSink} }]
`;
}

/** What the daemon told, in the order in which it did. */
class Record {
  readonly failures: string[] = [];
  readonly notices: Notice[] = [];
  readonly ended: RunResult[] = [];
  readonly taken = new Map<string, string[]>();
  readonly arrived = new Map<string, string[]>();

  readonly extension: DaemonExtension = {
    name: 'record',
    start: ({ subscribe }) => {
      const end = subscribe((event) => this.#hear(event));
      return Promise.resolve({
        [Symbol.asyncDispose]() {
          end();
          return Promise.resolve();
        },
      });
    },
  };

  #hear(event: JobEvent): void {
    if (event.kind === 'snapshotTaken') add(this.taken, event.job, event.snapshot);
    if (event.kind === 'stepDone') add(this.arrived, event.job, event.to.name);
    if (event.kind !== 'runEnded') return;
    this.ended.push(event.result);
    if (event.result.outcome === 'failed') this.failures.push(event.result.run);
  }
}

function add(map: Map<string, string[]>, key: string, value: string): void {
  map.set(key, [...(map.get(key) ?? []), value]);
}

/** Names of the snapshots in the only store below a directory. */
function snapshotsBelow(directory: string): readonly string[] {
  if (!existsSync(directory)) return [];
  const found = execFileSync('find', [
    directory,
    '-maxdepth',
    '10',
    '-type',
    'd',
    '-name',
    'snapshots',
    '-prune',
  ]).toString();
  const stores = found.split('\n').filter((line) => line !== '');
  expect(stores.length, stores.join(' ')).toBeLessThanOrEqual(1);
  return stores[0] === undefined ? [] : readdirSync(stores[0]).sort();
}

function openHandles(): number {
  return readdirSync('/proc/self/fd').length;
}

/** Processes that this one has started and that live. */
function children(): number {
  const threads = readdirSync('/proc/self/task');
  const pids = threads.flatMap((thread) =>
    readFileSync(`/proc/self/task/${thread}/children`, 'utf8').trim().split(/\s+/),
  );
  return pids.filter((pid) => pid !== '' && isAlive(pid)).length;
}

function isAlive(pid: string): boolean {
  try {
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return false;
  }
}

test(
  'fourteen days with random faults: every failure told once, every promise of retention kept, nothing grows',
  async () => {
    const seed = Number(process.env['SNAPFERRY_SEED'] ?? Date.now() % 1_000_000);
    console.log(`fourteen days: SNAPFERRY_SEED=${seed}`);
    const random = randomFrom(seed);
    const clock = new FakeClock('2026-03-20T00:30:00Z');
    const record = new Record();
    const logged: string[] = [];
    const daemon = await Daemon.start({
      load: () => readConfiguration(configurationText(), join(work, 'snapferry.yml')),
      createJob,
      clock,
      version: '1.0.0',
      logger: pino({ level: 'warn', base: null }, { write: (line) => void logged.splice(0, logged.push(line) - 200) }),
      extensions: [
        record.extension,
        notifyExtension({ deliver: (_, notice) => Promise.resolve(void record.notices.push(notice)) }),
      ],
    });

    /** Nothing goes on that does not wait for the clock. */
    const idle = async (): Promise<void> => {
      for (let tries = 0; ; tries++) {
        await settled();
        const works = daemon
          .status()
          .jobs.some(
            ({ runs, datasets, sessions }) =>
              runs.some(({ waiting }) => waiting === null && !datasets.some(({ state }) => state === 'waiting')) ||
              (sessions.length > 0 && runs.length === 0),
          );
        if (!works) return;
        if (tries > 10_000) throw new Error(`it does not come to rest: ${JSON.stringify(daemon.status(), null, 1)}`);
        await delay(3);
      }
    };
    const faults = { line: 0, gone: 0, sleep: 0 };
    const breakSomething = (): (() => void) => {
      const kind = random.below(10);
      proxy.fault = soundLine;
      if (kind < 4) {
        faults.line++;
        proxy.fault = drawFault(random, 6000, ['reset', 'flip', 'pause', 'slow']);
      } else if (kind === 4) {
        faults.gone++;
        renameSync(join(work, 'docs'), join(work, 'docs-gone'));
        return () => renameSync(join(work, 'docs-gone'), join(work, 'docs'));
      } else if (kind === 5) {
        faults.sleep++;
        clock.jump(random.below(5) * hour);
      }
      return () => undefined;
    };
    const change = (): void => {
      for (const name of ['files', 'docs']) {
        for (let count = 0; count < 3; count++) {
          const text = `${random.below(1_000_000)}\n`.repeat(1 + random.below(300));
          writeFileSync(join(work, name, `file-${random.below(12)}`), text);
        }
      }
    };
    const checkRetention = (where: string): void => {
      for (const [job, stored, source] of [
        ['files', 'vault', 'files'],
        ['copy', 'copy', 'docs'],
      ] as const) {
        const there = snapshotsBelow(join(work, stored));
        // Who pushes does not hear of what arrived when the line breaks right after it.
        const newest = (record.arrived.get(stored) ?? []).slice(-keptOnSink);
        expect(there, `${where}: ${job} keeps its newest ${keptOnSink} at the receiver`).toEqual(
          expect.arrayContaining(newest),
        );
        expect(there.length, `${where}: ${job} removes the rest`).toBeLessThanOrEqual(keptOnSink + 2);
        const here = snapshotsBelow(join(work, source, '.snapferry'));
        const taken = (record.taken.get(job) ?? []).slice(-keptOnSender);
        expect(here, `${where}: ${job} keeps its newest ${keptOnSender} at the sender`).toEqual(
          expect.arrayContaining(taken),
        );
        if (newest.length > 0)
          expect(
            here.filter((name) => there.includes(name)),
            `${where}: a common one`,
          ).not.toEqual([]);
      }
    };

    const usage: { atDay: number; handles: number; children: number; timers: number; bytes: number }[] = [];
    const beganMs = clock.nowMs();
    let lastDay = 0;
    while (clock.nowMs() - beganMs < 14 * day) {
      change();
      const mend = breakSomething();
      for (let step = 0; step < 12; step++) await clock.pass(10 * minute, idle);
      mend();
      await clock.pass(10 * minute, idle);
      checkRetention(`${new Date(clock.nowMs()).toISOString()}, seed ${seed}`);
      const atDay = Math.floor((clock.nowMs() - beganMs) / day);
      if (atDay === lastDay) continue;
      lastDay = atDay;
      usage.push({
        atDay,
        handles: openHandles(),
        children: children(),
        timers: clock.waiting,
        bytes: await heldBytes(),
      });
    }
    // A sound end: everything that was left arrives.
    proxy.fault = soundLine;
    change();
    await clock.pass(2 * Math.max(pushEveryHours, copyEveryHours) * hour, idle);
    const status = daemon.status();
    expect(
      status.jobs.flatMap(({ problems }) => problems),
      `seed ${seed}: ${logged.join('')}`,
    ).toEqual([]);
    for (const [job, stored] of [
      ['files', 'vault'],
      ['copy', 'copy'],
    ] as const) {
      expect(record.arrived.get(stored)?.at(-1), `seed ${seed}`).toBe(record.taken.get(job)?.at(-1));
    }
    checkRetention(`the end, seed ${seed}`);
    await daemon.stop();

    console.log(
      'fourteen days:',
      JSON.stringify({ faults, runs: record.ended.length, failures: record.failures.length }),
    );
    console.table(usage);
    expect(record.failures.length, 'faults that made a run fail').toBeGreaterThan(0);
    checkNotices(record, seed);
    const written = readFileSync(historyPath(join(work, 'state')), 'utf8').matchAll(/^\{"ended":\{"run":"([^"]+)"/gm);
    const known = [...written].map(([, run]) => run);
    expect(new Set(known).size, 'no run is in the history twice').toBe(known.length);
    expect(known).toEqual(record.ended.map(({ run }) => run));
    const [early, late] = [usage.slice(2, 5), usage.slice(-3)];
    const most = (of: typeof usage, key: 'handles' | 'children' | 'timers' | 'bytes') =>
      Math.max(...of.map((one) => one[key]));
    expect(most(late, 'handles')).toBeLessThanOrEqual(most(early, 'handles') + 2);
    expect(most(late, 'children')).toBeLessThanOrEqual(most(early, 'children'));
    expect(most(late, 'timers')).toBeLessThanOrEqual(most(early, 'timers') + 1);
    expect(most(late, 'bytes') - most(early, 'bytes')).toBeLessThan(8 * 1024 * 1024);
    expect(clock.waiting, 'no timer outlives the daemon').toBe(0);
    expect(children(), 'no child outlives the daemon').toBe(0);
    expect(statSync(historyPath(join(work, 'state'))).mode & 0o777).toBe(0o600);
  },
  30 * 60_000,
);

/** Of a run as a whole and of each dataset: a failure is told once, again when it becomes another one, and its end once. */
function checkNotices({ ended, notices }: Record, seed: number): void {
  const expected = new Map<string, string[]>();
  const codes = new Map<string, string>();
  const see = (subject: string, code: string | null): void => {
    const before = codes.get(subject);
    if (code === null) {
      if (before !== undefined) add(expected, subject, 'recovery');
      codes.delete(subject);
    } else {
      if (code !== before) add(expected, subject, 'failure');
      codes.set(subject, code);
    }
  };
  for (const { job, outcome, error, datasets } of ended) {
    if (outcome === 'cancelled' || job === 'vault') continue;
    for (const result of datasets) see(`${job} ${result.dataset}`, result.error?.code ?? null);
    see(`${job} as a whole`, error?.code ?? null);
  }
  const told = new Map<string, string[]>();
  for (const { event, isReminder, job, troubles } of notices) {
    if (isReminder || job === 'vault') continue;
    for (const { dataset } of troubles) add(told, `${job} ${dataset ?? 'as a whole'}`, event);
  }
  expect(Object.fromEntries(told), `seed ${seed}`).toEqual(Object.fromEntries(expected));
}

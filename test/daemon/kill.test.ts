import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readHistory } from '../../src/daemon/read-history.ts';
import { builtProgram, runProgram, startProgram } from '../support/run-program.ts';
import type { StartedProgram } from '../support/run-program.ts';
import { seededRandom } from '../support/seeded-random.ts';

const isLong = process.env['SNAPFERRY_LONG'] === '1';
const kills = isLong ? 100 : 10;
const filesTotal = 40;
/** Longer than a run takes, so that some kills come between runs, too. */
const liveMsMax = 2500;
const runMsMax = 250;

let work: string;
let stateDir: string;
let source: string;
let target: string;
let config: string;
let daemon: StartedProgram | null = null;

beforeAll(async () => {
  await builtProgram();
  work = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'snapferry-daemon-kill-'));
  [stateDir, source, target, config] = ['state', 'source', 'target', 'snapferry.yml'].map((name) =>
    join(work, name),
  ) as [string, string, string, string];
  mkdirSync(source);
  for (let index = 0; index < filesTotal; index++) writeFileSync(join(source, `file-${index}`), `first ${index}\n`);
  writeFileSync(
    config,
    `
global:
  state_dir: ${stateDir}
  control: { sockpath: ${join(work, 'run', 'control')} }
  serve: { stdinserver: { sockdir: ${join(work, 'run', 'stdinserver')} } }
  logging: [{ type: stderr, format: json }]
jobs:
  - name: copy
    type: local
    backend: directory
    filesystems: { ${source}: true }
    root_fs: ${target}
    snapshotting: { type: periodic, interval: 1s, prefix: auto_ }
    interval: 1s
    pruning:
      keep_sender: [{ type: last_n, count: 4 }]
      keep_receiver: [{ type: last_n, count: 6 }]
`,
  );
});

afterAll(async () => {
  daemon?.kill('SIGKILL');
  await daemon?.ended;
  rmSync(work, { recursive: true, force: true });
});

async function until<T>(what: string, look: () => T | null | Promise<T | null>): Promise<T> {
  for (let tries = 0; tries < 1200; tries++) {
    const found = await look();
    if (found !== null) return found;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`still waiting: ${what}`);
}

async function start(): Promise<StartedProgram> {
  daemon = await startProgram(['daemon', '--config', config]);
  return daemon;
}

/** Processes that have anything of this test in their command lines, but for the daemon. */
function strays(): string[] {
  return readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return [];
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ');
      return line.includes(work) && !line.includes('daemon --config') ? [`${pid}: ${line}`] : [];
    } catch {
      return [];
    }
  });
}

/** The newest snapshot of the copy, by its name, with what is in it. */
function newestCopy(): Map<string, string> {
  const store = execFileSync('find', [target, '-type', 'd', '-name', 'snapshots'], { encoding: 'utf8' }).trim();
  const snapshots = join(
    store.split('\n')[0] ?? '',
    readdirSync(store.split('\n')[0] ?? '')
      .sort()
      .at(-1) ?? '',
  );
  return contents(snapshots);
}

function contents(root: string): Map<string, string> {
  const names = readdirSync(root).filter((name) => name.startsWith('file-'));
  return new Map(names.sort().map((name) => [name, readFileSync(join(root, name), 'utf8')]));
}

test(
  `a daemon killed ${kills} times at random moments leaves a history that can be read, no locks, and converges`,
  async () => {
    const seed = Number(process.env['SNAPFERRY_SEED'] ?? Date.now() % 1_000_000);
    console.log(`kill test: SNAPFERRY_SEED=${seed}`);
    const random = seededRandom(seed);
    const outcomes = { inRun: 0, between: 0, early: 0 };
    for (let round = 1; round <= kills; round++) {
      const own = await start();
      // On a busy machine the beginning takes longer than a run, so every other kill waits for one to begin.
      if (round % 2 === 0) await own.saidOnStderr('runBegan');
      const liveMs = round % 2 === 0 ? random() * runMsMax : random() * liveMsMax;
      await Promise.race([new Promise((resolve) => setTimeout(resolve, liveMs)), own.ended]);
      own.kill('SIGKILL');
      const { code, stderr } = await own.ended;
      const where = `round ${round}, seed ${seed}`;
      expect(code, `${where}: it ended by itself: ${stderr}`).toBeNull();
      const before = await readHistory(stateDir);
      const [torn] = before.notices;
      expect(before.notices.length, `${where}: ${before.notices.join('; ')}`).toBeLessThanOrEqual(1);
      if (torn !== undefined) expect(torn, where).toContain('did not finish it');
      const begun = before.fold.begun.size;
      expect(begun, `${where}: runs that go on at once`).toBeLessThanOrEqual(1);
      outcomes[before.fold.jobs.size === 0 ? 'early' : begun > 0 ? 'inRun' : 'between']++;
      await until(`${where}: children of the killed daemon to end`, () => (strays().length === 0 ? true : null));
      for (let count = 0; count < 5; count++) {
        const index = Math.floor(random() * filesTotal);
        writeFileSync(join(source, `file-${index}`), `changed in round ${round}, ${random()}\n`);
      }
      const changedMs = Date.now();
      const next = await start();
      const result = await until(`${where}: the next run to go well`, async () => {
        if (next.pid > 0 && !existsSync(`/proc/${next.pid}`)) throw new Error((await next.ended).stderr);
        const { fold } = await readHistory(stateDir);
        const last = fold.jobs.get('copy')?.lastRun;
        return last?.outcome === 'ok' && last.beganMs > changedMs && last.cause === 'snapshots' ? last : null;
      });
      expect(
        result.datasets.map(({ error }) => error),
        where,
      ).toEqual([null]);
      next.kill('SIGTERM');
      const ended = await next.ended;
      expect(ended.code, `${where}: ${ended.stderr}`).toBe(0);
      const { fold, notices } = await readHistory(stateDir);
      expect(notices, where).toEqual([]);
      expect([...fold.begun.keys()], where).toEqual([]);
      expect([...newestCopy()], where).toEqual([...contents(source)]);
      expect(strays(), where).toEqual([]);
    }
    console.log('kill test:', JSON.stringify(outcomes));
    expect(outcomes.inRun).toBeGreaterThan(0);
    const check = await runProgram(['configcheck', '--config', config]);
    expect(check.code, check.stderr).toBe(0);
  },
  30 * 60_000,
);

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { builtProgram } from '../support/run-program.ts';
import { seededRandom } from '../support/seeded-random.ts';

// The full size takes minutes, so it is for CI; the small one keeps every path of it alive anywhere.
const isFull = process.env['SNAPFERRY_REQUIRE_PLATFORM'] === '1';
const filesTotal = isFull ? 50_000 : 3_000;
const kills = isFull ? 50 : 6;
const filesPerDirectory = 200;

let work: string;
let source: string;
let target: string;
let program: string;

beforeAll(async () => {
  program = await builtProgram();
  // Killed processes lose nothing the kernel has, so memory serves as well as a disk, whose syncs would take the hours.
  work = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'snapferry-kill-'));
  source = join(work, 'source');
  target = join(work, 'target');
  for (let index = 0; index < filesTotal; index++) writeFile(index, `first content of ${index}\n`);
  // Stands in for ssh: runs the remote command here, and leaves its pid where the test finds it.
  mkdirSync(join(work, 'bin'));
  writeFileSync(
    join(work, 'bin', 'ssh'),
    `#!/bin/sh\nwhile [ "$1" != "--" ]; do shift; done\nshift 2\necho $$ > '${work}/server.pid'\nexec sh -c "exec $*"\n`,
    { mode: 0o755 },
  );
  writeFileSync(join(work, 'bin', 'snapferry'), `#!/bin/sh\nexec '${process.execPath}' '${program}' "$@"\n`, {
    mode: 0o755,
  });
});

afterAll(() => rmSync(work, { recursive: true, force: true }));

function pathOf(index: number): string {
  return join(source, `d${Math.floor(index / filesPerDirectory)}`, `file-${index}`);
}

function writeFile(index: number, content: string): void {
  mkdirSync(join(pathOf(index), '..'), { recursive: true });
  writeFileSync(pathOf(index), content);
}

function mutate(random: () => number, round: number): void {
  for (let count = 0; count < filesTotal / 100; count++) {
    const path = pathOf(Math.floor(random() * filesTotal));
    const kind = random();
    if (kind < 0.6) writeFileSync(path, `changed in round ${round}, ${random()}\n`);
    else if (kind < 0.8) rmSync(path, { force: true });
    else if (existsSync(path)) renameSync(path, `${path}-moved-${round}`);
  }
}

interface Run {
  readonly child: ChildProcess;
  readonly stderr: () => string;
  readonly exit: Promise<number | null>;
}

function pull(): Run {
  rmSync(join(work, 'server.pid'), { force: true });
  const child = spawn(process.execPath, [program, 'pull', `localhost:${source}`, target], {
    env: { ...process.env, PATH: `${join(work, 'bin')}:${process.env['PATH'] ?? ''}` },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let text = '';
  child.stderr.setEncoding('utf8').on('data', (piece: string) => (text += piece));
  const exit = once(child, 'exit').then(([code]) => code as number | null);
  return { child, stderr: () => text, exit };
}

async function timed(run: Run): Promise<number> {
  const startedMs = Date.now();
  expect(await run.exit, run.stderr()).toBe(0);
  return Date.now() - startedMs;
}

function serverPid(): number | null {
  try {
    return Number(readFileSync(join(work, 'server.pid'), 'utf8').trim()) || null;
  } catch {
    return null;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // A zombie waiting for its parent counts as gone.
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return false;
  }
}

async function until(condition: () => boolean, what: string): Promise<void> {
  for (let tries = 0; !condition(); tries++) {
    if (tries > 600) throw new Error(`still waiting: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Path to content of every file; directories end with a slash. */
function contents(root: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const name = path.slice(root.length + 1);
    if (name === '.snapferry' || name.startsWith('.snapferry/')) continue;
    if (entry.isDirectory()) found.set(`${name}/`, '');
    else found.set(name, readFileSync(path, 'latin1'));
  }
  return found;
}

function differences(a: Map<string, string>, b: Map<string, string>): string[] {
  const names = new Set([...a.keys(), ...b.keys()]);
  return [...names].filter((name) => a.get(name) !== b.get(name)).slice(0, 10);
}

function snapshotNames(): string[] {
  const directory = join(target, 'snapshots');
  return existsSync(directory) ? readdirSync(directory).sort() : [];
}

function expectNoLitter(): void {
  for (const store of [target, join(source, '.snapferry')]) {
    const staging = join(store, 'staging');
    expect(existsSync(staging) ? readdirSync(staging) : [], `left in ${staging}`).toEqual([]);
    const names = readdirSync(store, { recursive: false, encoding: 'utf8' });
    expect(names.filter((name) => name.includes('.tmp'))).toEqual([]);
    const manifests = readdirSync(join(store, 'manifests')).map((name) => name.replace(/\.(json|entries\.gz)$/, ''));
    const snapshots = readdirSync(join(store, 'snapshots'));
    expect([...new Set(manifests)].sort(), `manifests without a snapshot in ${store}`).toEqual(snapshots.sort());
  }
}

test(
  `a pull of ${filesTotal} files, killed ${kills} times on either side, converges and never shows a part`,
  async () => {
    const seed = Number(process.env['SNAPFERRY_SEED'] ?? Date.now() % 1_000_000);
    console.log(`kill test: SNAPFERRY_SEED=${seed}`);
    const random = seededRandom(seed);
    const outcomes = { puller: 0, server: 0, tooLate: 0 };
    const checked = new Set<string>();
    // How long a whole run takes here decides where a random moment falls within it.
    const runMs = { initial: await timed(pull()), incremental: 0 };
    mutate(random, 0);
    runMs.incremental = await timed(pull());
    for (const name of snapshotNames()) checked.add(name);
    for (let round = 1; outcomes.puller + outcomes.server < kills; round++) {
      expect(outcomes.tooLate, 'runs that ended before they could be killed').toBeLessThan(2 * kills);
      const kind = round % 5 === 1 ? 'initial' : 'incremental';
      if (kind === 'initial') {
        rmSync(target, { recursive: true });
        checked.clear();
      }
      mutate(random, round);
      const before = snapshotNames();
      const expectNew = (when: string): void => expect(before, when).not.toContain(snapshotNames().at(-1));
      const victim = outcomes.puller > outcomes.server ? 'server' : 'puller';
      const delayMs = random() * runMs[kind];
      const run = pull();
      if (victim === 'server') await until(() => serverPid() !== null || run.child.exitCode !== null, 'the server');
      await Promise.race([run.exit, new Promise((resolve) => setTimeout(resolve, delayMs))]);
      const server = serverPid();
      if (run.child.exitCode !== null) {
        outcomes.tooLate++;
        runMs[kind] = Math.min(runMs[kind], delayMs);
        expect(run.child.exitCode, run.stderr()).toBe(0);
      } else if (victim === 'puller') {
        outcomes.puller++;
        run.child.kill('SIGKILL');
        await run.exit;
      } else {
        outcomes.server++;
        if (server !== null && isAlive(server)) process.kill(server, 'SIGKILL');
        // It may have been past the last byte; what is seen below tells whether that was a success.
        await run.exit;
      }
      if (server !== null) await until(() => !isAlive(server), 'the server to end after its peer was killed');
      // Every snapshot that appears now was taken of the tree as it is: the last round left none behind.
      const live = contents(source);
      const expectWhole = (name: string, when: string): void => {
        if (checked.has(name)) return;
        const found = differences(contents(join(target, 'snapshots', name)), live);
        expect(found, `round ${round} (seed ${seed}), ${when}: ${name}`).toEqual([]);
        checked.add(name);
      };
      for (const name of snapshotNames()) expectWhole(name, 'after the kill');
      if (run.child.exitCode === 0) expectNew('success without a new snapshot');
      const again = pull();
      expect(await again.exit, `round ${round} (seed ${seed}): ${again.stderr()}`).toBe(0);
      expectNew('nothing new after the next run');
      for (const name of snapshotNames()) expectWhole(name, 'after the next run');
      expectNoLitter();
    }
    console.log('kill test:', JSON.stringify(outcomes));
  },
  60 * 60_000,
);

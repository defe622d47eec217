import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { builtProgram, startProgram } from '../support/run-program.ts';
import type { StartedProgram } from '../support/run-program.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { describeZfs, isThere, run, snapshotsOf, TestPool, valueOf } from './pools.ts';
import { snapshotContent } from './snapshot-content.ts';

const kills = Number(process.env['SNAPFERRY_ZFS_KILLS'] ?? 8);
const changeBytes = 4 * 1024 * 1024;

type Victim = 'puller' | 'server' | 'zfs send' | 'zfs recv';
const victims: readonly Victim[] = ['puller', 'server', 'zfs send', 'zfs recv'];

describeZfs('kill -9', () => {
  let source: TestPool;
  let target: TestPool;
  let work: string;
  let from: string;
  let to: string;
  beforeAll(async () => {
    source = new TestPool('source');
    target = new TestPool('target');
    work = mkdtempSync(join(tmpdir(), 'snapferry-zfs-crash-'));
    from = `${source.name}/data`;
    to = `${target.name}/web1/data`;
    run('zfs', 'create', from);
    // Stands in for ssh: runs the remote command here, and leaves its pid where the test finds it.
    const program = await builtProgram();
    const bin = join(work, 'bin');
    mkdirSync(bin);
    const ssh = `while [ "$1" != "--" ]; do shift; done\nshift 2\necho $$ > '${work}/server.pid'\nexec sh -c "exec $*"`;
    writeFileSync(join(bin, 'ssh'), `#!/bin/sh\n${ssh}\n`, { mode: 0o755 });
    writeFileSync(join(bin, 'snapferry'), `#!/bin/sh\nexec '${process.execPath}' '${program}' "$@"\n`, { mode: 0o755 });
  });
  afterAll(() => {
    source.destroy();
    target.destroy();
    rmSync(work, { recursive: true, force: true });
  });

  function pull(): Promise<StartedProgram> {
    rmSync(join(work, 'server.pid'), { force: true });
    const env = { PATH: `${join(work, 'bin')}:${process.env['PATH'] ?? ''}` };
    return startProgram(['pull', `host:zfs:${from}`, `zfs:${to}`], { env });
  }

  /** The pid of who is to be killed, if there is one now; only processes of this test have its datasets among their arguments. */
  function pidOf(victim: Victim, puller: StartedProgram): number | null {
    if (victim === 'puller') return puller.pid;
    if (victim === 'server') return Number(textOf(join(work, 'server.pid'))) || null;
    const dataset = victim === 'zfs send' ? `${from}@` : `${to}@`;
    const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
    const found = pids.find((pid) => {
      const words = textOf(`/proc/${pid}/cmdline`).split('\0');
      const isStream = words[0] === 'zfs' && `zfs ${words[1]}` === victim && !words.includes('-nvP');
      return isStream && words.some((word) => word.startsWith(dataset));
    });
    return found === undefined ? null : Number(found);
  }

  function expectWhole(when: string): void {
    if (!isThere(to)) return;
    for (const copy of snapshotsOf(to)) {
      const original = from + copy.slice(to.length);
      expect(valueOf('guid', copy), when).toBe(valueOf('guid', original));
      expect(snapshotContent(copy), when).toEqual(snapshotContent(original));
    }
  }

  /** What is held and marked for us, by kind. */
  function traces(dataset: string): string[] {
    const snapshots = snapshotsOf(dataset);
    const holds = snapshots.length === 0 ? '' : run('zfs', 'holds', '-H', ...snapshots);
    const marks = run('zfs', 'list', '-H', '-o', 'name', '-t', 'bookmark', '-d', '1', dataset);
    return [...`${holds}\n${marks}`.matchAll(/snapferry_([A-Z]+)_/g)].map(([, kind]) => kind!).sort();
  }

  test(
    `of either side, of zfs send and of zfs recv, ${kills} times in all: never a part, never a full transfer anew, nothing left over`,
    async () => {
      const seed = Number(process.env['SNAPFERRY_SEED'] ?? Date.now() % 1_000_000);
      console.log(`crash test: SNAPFERRY_SEED=${seed}`);
      const random = seededRandom(seed);
      const outcomes: Record<string, number> = {};
      const change = (name: string) => writeFileSync(join(source.pathOf(from), name), randomBytes(changeBytes));
      change('first');
      const startedMs = Date.now();
      expect(await (await pull()).ended).toMatchObject({ code: 0 });
      const runMs = Date.now() - startedMs;
      expectWhole('after the first run');
      for (let round = 0; round < kills; round++) {
        const victim = victims[round % victims.length]!;
        const when = `round ${round} (seed ${seed}), ${victim} killed`;
        change(`f${round % 4}`);
        const before = snapshotsOf(to).length;
        const puller = await pull();
        let isOver = false;
        const ended = puller.ended.finally(() => (isOver = true));
        const isRunning = (): boolean => !isOver;
        const isStream = victim.startsWith('zfs');
        // The streams are over soon, so their moment is counted from where they begin.
        if (!isStream) await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, random() * runMs))]);
        let pid = pidOf(victim, puller);
        while (pid === null && isRunning()) {
          await new Promise((resolve) => setTimeout(resolve, 10));
          pid = pidOf(victim, puller);
        }
        if (isStream) await new Promise((resolve) => setTimeout(resolve, random() * 300));
        try {
          if (pid !== null && isRunning()) process.kill(pid, 'SIGKILL');
        } catch {
          // It was faster.
        }
        const { code } = await ended;
        const key = `${victim}: ${code === 0 ? 'too late' : 'killed'}`;
        outcomes[key] = (outcomes[key] ?? 0) + 1;
        expectWhole(when);
        expect(snapshotsOf(to).length, when).toBeGreaterThanOrEqual(before);

        const again = await (await pull()).ended;
        expect(again, `${when}: ${again.stderr}`).toMatchObject({ code: 0 });
        expectWhole(`${when}, and the next run`);
        const newest = (dataset: string) => valueOf('guid', snapshotsOf(dataset).at(-1)!);
        expect(newest(to), when).toBe(newest(from));
        expect(again.stderr, when).not.toMatch(/took snapshot.*\n.*\bfull\b/);
        expect(valueOf('receive_resume_token', to), when).toBe('-');
        expect(traces(from), when).toEqual(['CURSOR']);
        expect(traces(to), when).toEqual(['LAST']);
      }
      console.log('crash test:', JSON.stringify(outcomes));
    },
    60 * 60_000,
  );
});

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

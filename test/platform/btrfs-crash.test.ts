import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { btrfsSink } from '../../src/handlers/btrfs/sink.ts';
import { BtrfsFixture, cutAfter, filesystem } from '../support/btrfs-fixture.ts';
import { BtrfsVolume, run, whyNoBtrfs } from '../support/btrfs-volume.ts';
import { describeTree, failure } from '../support/directory-fixture.ts';
import { describePlatform } from '../support/platform.ts';
import { randomFrom } from '../support/random.ts';
import { seededBytes } from '../support/recorded.ts';

const MiB = 1024 * 1024;
const program = new URL('../support/btrfs-pull-program.ts', import.meta.url).pathname;
// The full size takes minutes, so it is for CI; the small one keeps every path of it alive anywhere.
const kills = process.env['SNAPFERRY_REQUIRE_PLATFORM'] === '1' ? 12 : 4;

describePlatform('btrfs after a power cut', whyNoBtrfs(), () => {
  /** A receive, and the target's disk as it is when the tool is about to do something for the n-th time. */
  async function cutAt(
    moment: 'sync' | 'after sync' | 'done',
  ): Promise<{ copies: unknown; content: string | null; again: string }> {
    const source = new BtrfsVolume(256 * MiB);
    const target = new BtrfsVolume(256 * MiB);
    const tools = mkdtempSync(join(tmpdir(), 'snapferry-btrfs-tools-'));
    try {
      const btrfs = join(tools, 'btrfs');
      const keep = `cp --sparse=always '${target.image}' '${target.image}-copy'`;
      const script = {
        sync: `[ "$2" = sync ] && ${keep}\nexec btrfs "$@"`,
        'after sync': `btrfs "$@" || exit\n[ "$2" != sync ] || ${keep}`,
        done: 'exec btrfs "$@"',
      };
      writeFileSync(btrfs, `#!/bin/sh\n${script[moment]}\n`);
      chmodSync(btrfs, 0o755);
      const fixture = new BtrfsFixture(source, target, { tool: { program: [btrfs] } });
      fixture.write('file', seededBytes('power', 2 * MiB));
      const one = await fixture.snapshot('one');
      await fixture.transfer(null, one);
      target.mountAsAfterPowerCut();
      const copies = await fixture.copies();
      const path = join(fixture.copied(one), 'file');
      const content = existsSync(path) ? run('sha256sum', path).slice(0, 64) : null;
      if (content === null) await fixture.transfer(null, one);
      expect(fixture.remains()).toEqual([]);
      expect(describeTree(fixture.copied(one))).toEqual(describeTree(fixture.taken(one)));
      return { copies, content, again: run('sha256sum', path).slice(0, 64) };
    } finally {
      source.remove();
      target.remove();
      rmSync(tools, { recursive: true, force: true });
    }
  }

  test('before the copy was confirmed, it is deleted and received again, whatever it looks like', async () => {
    const { copies, content } = await cutAt('sync');
    expect(copies).toEqual([]);
    expect(content).toBeNull();
  });

  test('right after it was put on disk, before it got its name', async () => {
    const { copies, content } = await cutAt('after sync');
    expect(copies).toEqual([]);
    expect(content).toBeNull();
  });

  test('once it was confirmed, it is all there', async () => {
    const { copies, content, again } = await cutAt('done');
    expect(copies).toEqual(['one']);
    expect(content).toBe(again);
  });

  test('what can be resumed is on disk, and what is noted of it too', async () => {
    const source = new BtrfsVolume(256 * MiB);
    const target = new BtrfsVolume(256 * MiB);
    try {
      const fixture = new BtrfsFixture(source, target);
      for (let index = 0; index < 8; index++) fixture.write(`file-${index}`, seededBytes(String(index), MiB));
      const one = await fixture.snapshot('one');
      await fixture.sink.createParents(filesystem);
      const { bytes } = await fixture.offer(null, one);
      await failure(fixture.receive(null, one, cutAfter(bytes, 4 * MiB)));
      target.mountAsAfterPowerCut();
      const state = await fixture.sink.resumeState(filesystem);
      expect(await fixture.transfer(null, one, state!.token)).toBe(true);
      expect(describeTree(fixture.copied(one))).toEqual(describeTree(fixture.taken(one)));
    } finally {
      source.remove();
      target.remove();
    }
  });
});

describePlatform('btrfs with kill -9', whyNoBtrfs(), () => {
  interface Run {
    readonly child: ChildProcess;
    readonly output: () => string;
    readonly exit: Promise<number | null>;
  }

  function pull({ live, copy }: BtrfsFixture): Run {
    const child = spawn(process.execPath, ['--import', 'tsx', program, 'pull', live, copy], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let text = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (piece: string) => (text += piece));
    return { child, output: () => text, exit: once(child, 'exit').then(([code]) => code as number | null) };
  }

  /** Every process below this one, with its command line. */
  function below(pid: number): { pid: number; command: string }[] {
    try {
      const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
      return children.flatMap((child) => {
        const command = readFileSync(`/proc/${child}/cmdline`, 'utf8').replaceAll('\0', ' ');
        return [{ pid: child, command }, ...below(child)];
      });
    } catch {
      return [];
    }
  }

  const patterns = { puller: null, server: / serve /, 'btrfs send': /^btrfs send/, 'btrfs receive': /^btrfs receive/ };

  test(
    `either side and either tool, ${kills} times at random: the next run converges, and no part is ever seen`,
    async () => {
      const seed = Number(process.env['SNAPFERRY_SEED'] ?? Date.now() % 1_000_000);
      console.log(`btrfs kill test: SNAPFERRY_SEED=${seed}`);
      const random = randomFrom(seed);
      const source = new BtrfsVolume();
      const target = new BtrfsVolume();
      const killed: Record<string, number> = {};
      try {
        for (let round = 0; round < kills; round++) {
          const fixture = new BtrfsFixture(source.part(String(round)), target.part(String(round)));
          const versions = [];
          for (const name of ['one', 'two']) {
            for (let file = 0; file < 4; file++)
              fixture.write(`file-${file}`, seededBytes(`${round} ${name} ${file}`, 4 * MiB));
            versions.push(await fixture.snapshot(name));
          }
          const victim = random.pick(Object.keys(patterns) as (keyof typeof patterns)[]);
          const run = pull(fixture);
          // When it has begun to send, at some moment from there on.
          while (!run.output().includes('started') && run.child.exitCode === null) await tick();
          await new Promise((resolve) => setTimeout(resolve, random.below(400)));
          const pattern = patterns[victim];
          const processes = pattern === null ? [{ pid: run.child.pid!, command: '' }] : below(run.child.pid!);
          const all = below(run.child.pid!).map(({ pid }) => pid);
          const hit = processes.find(({ command }) => pattern === null || pattern.test(command));
          if (hit !== undefined && run.child.exitCode === null) {
            process.kill(hit.pid, 'SIGKILL');
            killed[victim] = (killed[victim] ?? 0) + 1;
          }
          await run.exit;
          while (all.some(isAlive)) await tick();
          const where = `round ${round}, ${victim} killed (SNAPFERRY_SEED=${seed})`;
          for (const { name } of (await fixture.sink.filesystemVersions(filesystem)) ?? []) {
            expect(describeTree(fixture.copied({ name })), where).toEqual(describeTree(fixture.taken({ name })));
          }
          const again = pull(fixture);
          expect(await again.exit, `${where}: ${again.output()}`).toBe(0);
          for (const version of versions) {
            expect(describeTree(fixture.copied(version)), where).toEqual(describeTree(fixture.taken(version)));
          }
          expect(await fixture.copies(), where).toEqual(['one', 'two']);
          expect(fixture.remains(), where).toEqual([]);
          expect(await btrfsSink({ locate: () => fixture.copy }).resumeState(filesystem)).toBeNull();
          const store = join(dirname(fixture.copy), '.snapferry/@home');
          expect(readdirSync(store).sort(), where).toEqual(['copies', 'cursors', 'lock']);
        }
        console.log('btrfs kill test:', JSON.stringify(killed));
        expect(Object.values(killed).reduce((sum, count) => sum + count, 0)).toBeGreaterThan(kills / 3);
      } finally {
        source.remove();
        target.remove();
      }
    },
    20 * 60_000,
  );
});

function isAlive(pid: number): boolean {
  try {
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return false;
  }
}

function tick(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 10));
}

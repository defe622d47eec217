import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { quoteForShell } from '../../src/transport/ssh.ts';
import { BtrfsVolume, run as tool, whyNoBtrfs } from '../support/btrfs-volume.ts';
import { describePlatform } from '../support/platform.ts';
import { runProgram } from '../support/run-program.ts';
import type { ProgramResult } from '../support/run-program.ts';

describePlatform('the program on btrfs', whyNoBtrfs(), () => {
  let volume: BtrfsVolume;
  let made = 0;
  /** A folder of the volume for each test, with the subvolumes `data`, `data/ann` and `data/tmp`. */
  let place: string;
  let source: string;
  let copies: string;

  beforeAll(() => {
    volume = new BtrfsVolume();
  });
  afterAll(() => volume.remove());
  beforeEach(() => {
    place = join(volume.top, `t${++made}`);
    source = join(place, 'data');
    copies = join(place, 'copies');
    for (const subvolume of [place, source, join(source, 'ann'), join(source, 'tmp'), copies]) {
      tool('btrfs', '-q', 'subvolume', 'create', subvolume);
    }
    writeFileSync(join(source, 'f'), 'first\n');
    writeFileSync(join(source, 'ann/f'), 'of ann\n');
  });
  afterEach(() => {
    // Whatever is below goes with the volume; but a later list must not show it.
    for (const entry of readdirSync(dirname(place))) expect(entry).not.toMatch(/^\.snapferry-receiving-/);
  });

  const run = (...args: string[]): Promise<ProgramResult> => runProgram(args);
  const succeed = async (...args: string[]): Promise<ProgramResult> => {
    const result = await run(...args);
    expect(result, result.stderr).toMatchObject({ code: 0 });
    return result;
  };
  const document = (result: ProgramResult) => JSON.parse(result.stdout) as Record<string, unknown>;
  /** Copies of a dataset, oldest first. */
  const copiesOf = (dataset: string): string[] =>
    readdirSync(dirname(dataset))
      .filter((name) => name.startsWith(`${dataset.slice(dirname(dataset).length + 1)}@`))
      .sort()
      .map((name) => join(dirname(dataset), name));

  test.each(['pull', 'push'])('%s is whole at first, then incremental, then nothing', async (command) => {
    const target = join(copies, 'data');
    const go = (...flags: string[]) => succeed(command, ...flags, `btrfs:${source}`, `btrfs:${target}`);
    expect((await go()).stdout).toMatch(new RegExp(`^${command}ed 1 snapshot, `));
    expect(readFileSync(join(copiesOf(target).at(-1)!, 'f'), 'utf8')).toBe('first\n');
    expect((await go()).stdout).toBe(`nothing to ${command}: btrfs:${target} is up to date\n`);
    writeFileSync(join(source, 'f'), 'second\n');
    expect((await go()).stderr).toContain('(incremental from @');
    expect(copiesOf(target).map((copy) => readFileSync(join(copy, 'f'), 'utf8'))).toEqual(['first\n', 'second\n']);
    // A copy of a copy gets no snapshot of its own, and is the same.
    const second = join(copies, 'second');
    await succeed(command, '--initial', 'all', `btrfs:${target}`, `btrfs:${second}`);
    expect(copiesOf(second).map((copy) => readFileSync(join(copy, 'f'), 'utf8'))).toEqual(['first\n', 'second\n']);
  });

  test('a tree goes below its place, but for what is excluded; the plan said so', async () => {
    const args = ['-r', '--exclude', 'tmp<', `btrfs:${source}`, `btrfs:${join(copies, 'web1')}`];
    const plan = await succeed('plan', ...args);
    expect(plan.stdout).toContain(`btrfs:${source}/ann -> btrfs:${copies}/web1/ann\n+ new snapshot`);
    expect(plan.stdout).not.toContain('/tmp ->');
    expect(readdirSync(copies)).toEqual([]);
    expect((await succeed('pull', ...args)).stdout).toMatch(/^pulled 2 snapshots of 2 datasets, /);
    expect(readFileSync(join(copiesOf(join(copies, 'web1/ann'))[0]!, 'f'), 'utf8')).toBe('of ann\n');
    expect(copiesOf(join(copies, 'web1/tmp'))).toEqual([]);
    // The note that ann has arrived lies in the outer subvolume, which has changed by it; once.
    await succeed('pull', ...args);
    expect((await succeed('pull', ...args)).stdout).toMatch(/^nothing to pull/);
  });

  test('snapshot, list, holds, release and restore', async () => {
    expect((await succeed('snapshot', '--snapshot-name', 'one', `btrfs:${source}`)).stdout).toMatch(/^@one: /);
    expect((await succeed('snapshot', `btrfs:${source}`)).stdout).toBe(
      'nothing has changed since the newest snapshot\n',
    );
    await succeed('pull', '--from-snapshots', 'one', `btrfs:${source}`, `btrfs:${join(copies, 'data')}`);
    expect((await succeed('list', `btrfs:${join(copies, 'data')}`)).stdout).toMatch(/^@one +\d{4}-/m);
    const { traces } = document(await succeed('holds', '--json', `btrfs:${source}`)) as {
      traces: { kind: string; job: string; name: string }[];
    };
    expect(traces).toMatchObject([{ kind: 'CURSOR', name: `${source}@one` }]);
    const released = await succeed('release', '--job', traces[0]!.job, `btrfs:${source}`);
    expect(released.stdout).toMatch(/^released 1 hold or cursor$/m);
    expect((await succeed('holds', `btrfs:${source}`)).stdout).toBe('nothing of ours is there\n');
    const restored = join(place, 'restored');
    const result = await succeed('restore', `btrfs:${join(copies, 'data')}@one`, '--to', `btrfs:${restored}`);
    expect(result.stdout).toContain(`btrfs subvolume snapshot ${restored}@one ${restored}`);
    tool('btrfs', '-q', 'subvolume', 'snapshot', `${restored}@one`, restored);
    expect(readFileSync(join(restored, 'f'), 'utf8')).toBe('first\n');
    writeFileSync(join(restored, 'f'), 'writable');
  });

  test('a forced command reads what its patterns allow, and stores below its identity only', async () => {
    const config = join(volume.root, `stdinserver-${made}.yml`);
    writeFileSync(
      config,
      [
        'identities:',
        '  web1:',
        '    sources:',
        `      'btrfs:${source}<': true`,
        `      'btrfs:${source}/tmp<': false`,
        `    sink: btrfs:${copies}`,
      ].join('\n'),
    );
    const ask = (...command: string[]) =>
      runProgram(['stdinserver', 'web1', '--config', config], {
        env: { SSH_ORIGINAL_COMMAND: ['snapferry', ...command].map(quoteForShell).join(' ') },
      });
    await succeed('snapshot', '-r', '--snapshot-name', 'one', `btrfs:${source}`);
    const { datasets } = document(await ask('list', '--json', '--recursive', '--', `btrfs:${source}`)) as {
      datasets: { dataset: string }[];
    };
    expect(datasets.map(({ dataset }) => `/${dataset}`)).toEqual([source, join(source, 'ann')]);
    for (const location of [join(source, 'tmp'), place, copies, join(copies, 'web2'), join(copies, 'web1/../web2')]) {
      expect(document(await ask('list', '--json', '--', `btrfs:${location}`)), location).toMatchObject({
        error: { code: 'ACCESS_DENIED' },
      });
    }
    // Its own place may be looked at, though nothing is there yet.
    expect(document(await ask('list', '--json', '--', `btrfs:${join(copies, 'web1/data')}`))).toMatchObject({
      error: { code: 'DATASET_NOT_FOUND' },
    });
    expect(existsSync(join(copies, 'web1'))).toBe(false);
  });
});

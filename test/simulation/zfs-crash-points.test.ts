import { afterEach, expect, test } from 'vitest';
import { startProgram } from '../support/run-program.ts';
import { zfsMachine } from '../support/zfs-machine.ts';
import type { ZfsMachine } from '../support/zfs-machine.ts';

// Everywhere it is a sample of the moments, in CI all of them; the seed says which sample.
const isEvery = process.env['SNAPFERRY_EVERY_OFFSET'] === '1';
const stride = isEvery ? 1 : 12;
const seed = Number(process.env['SNAPFERRY_SEED'] ?? Date.now() % 1_000_000);
const timeoutMs = 9 * 60_000;

const source = 'tank/home';
const target = 'backup/web1';

let machine: ZfsMachine | undefined;
afterEach(async () => {
  await machine?.close();
  machine = undefined;
});

/** Two snapshots to send at once, or two more on top of one that is there. */
async function prepared(isIncremental: boolean): Promise<ZfsMachine> {
  machine = await zfsMachine([source]);
  const take = (name: string): void => {
    machine!.write(source, `${name} `.repeat(20_000));
    machine!.fake.pool.snapshot(source, name);
  };
  take('one');
  if (isIncremental) expect(await pulled(machine)).toMatchObject({ code: 0 });
  take('two');
  take('three');
  return machine;
}

const pullArguments = ['pull', '--no-snapshot', '--initial', 'all', `zfs:${source}`, `zfs:${target}`];

function pulled({ run }: ZfsMachine) {
  return run(...pullArguments);
}

interface Crash {
  /** False: the run was over before its turn came. */
  readonly happened: boolean;
  readonly command: string;
}

/**
 * A run that is killed with SIGKILL when its call of `zfs` with this number has done its work, and nobody knows. That is at the same
 * time the moment before the next call does anything.
 */
async function crashedAt(call: number, { fake, env, work }: ZfsMachine): Promise<Crash> {
  const usual = fake.intercept;
  let crash: Crash = { happened: false, command: '' };
  let calls = -1;
  let kill = (): void => undefined;
  fake.intercept = (args) => {
    calls += 1;
    if (calls > call) return { status: 1, stderr: 'nobody listens any more\n' };
    if (calls === call) {
      kill();
      crash = { happened: true, command: args.join(' ') };
    }
    return usual(args);
  };
  const program = await startProgram(pullArguments, { cwd: work, env });
  kill = () => program.kill('SIGKILL');
  const { code, stderr } = await program.ended;
  if (crash.happened) expect(code, stderr).toBeNull();
  fake.intercept = usual;
  // Its last receive, if there was one, sees the end of its input and saves what it has.
  await expect.poll(() => [...fake.pool.datasets.values()].some(({ isReceiving }) => isReceiving)).toBe(false);
  return crash;
}

/** What is marked and held in our name on a dataset: kind and snapshot. */
function traces({ fake }: ZfsMachine, dataset: string): string[] {
  const { bookmarks, snapshots } = fake.pool.get(dataset);
  const kind = (text: string): string => /^snapferry_([A-Z]+)/.exec(text)?.[1] ?? text;
  const nameOf = (guid: bigint): string => snapshots.find((item) => item.guid === guid)?.name ?? 'gone';
  const marks = bookmarks.map(({ name, guid }) => `#${kind(name)} ${nameOf(guid)}`);
  const holds = snapshots.flatMap(({ name, holds }) => [...holds].map((tag) => `hold ${kind(tag)} ${name}`));
  return [...marks, ...holds].sort();
}

/** Every snapshot there is a whole copy of the one it came from. */
function expectWhole({ fake }: ZfsMachine, when: string): void {
  for (const { guid, content } of fake.pool.datasets.get(target)?.snapshots ?? []) {
    const original = fake.pool.get(source).snapshots.find((item) => item.guid === guid);
    expect(original !== undefined && content.equals(original.content), when).toBe(true);
  }
}

test.each([
  ['a first transfer of all there is', false],
  ['two increments', true],
])(
  `killed at its calls of zfs, %s: never a part; the next run makes it whole, and leaves nothing behind (every ${stride}, SNAPFERRY_SEED=${seed})`,
  async (_, isIncremental) => {
    const moments: string[] = [];
    for (let call = seed % stride; ; call += stride) {
      const world = await prepared(isIncremental);
      const crash = await crashedAt(call, world);
      const when = `killed at call ${call}, ${crash.happened ? crash.command : 'which never came'}`;
      expectWhole(world, when);
      const { pool, calls } = world.fake;
      const copies = pool.datasets.get(target)?.snapshots.length ?? 0;
      const callsBefore = calls.length;

      const next = await pulled(world);
      expect(next, `${when}: ${next.stderr}`).toMatchObject({ code: 0 });
      expectWhole(world, when);
      expect(
        pool.get(target).snapshots.map(({ name }) => name),
        when,
      ).toEqual(['one', 'two', 'three']);
      expect(pool.get(target).partial, when).toBeNull();
      expect(traces(world, source), when).toEqual(['#CURSOR three']);
      expect(traces(world, target), when).toEqual(['hold LAST three']);
      // What had arrived is what the next run starts from.
      if (copies > 0) expect(calls.slice(callsBefore).filter(isFullSend), when).toEqual([]);
      await world.close();
      machine = undefined;
      if (!crash.happened) break;
      moments.push(crash.command.split(' ')[0] ?? '');
    }
    console.log(`killed at: ${moments.join(' ')}`);
    expect(moments.length).toBeGreaterThan(2);
  },
  timeoutMs,
);

/** Whether a call is a `zfs send` that begins at the beginning of everything; a dry run sends nothing. */
function isFullSend([command, ...args]: readonly string[]): boolean {
  return command === 'send' && !args.some((arg) => /^-\w*[int]/.test(arg));
}

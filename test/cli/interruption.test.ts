import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { gatedSSH } from '../support/gated-ssh.ts';
import type { GatedSSH } from '../support/gated-ssh.ts';
import { runProgram, startProgram } from '../support/run-program.ts';
import type { StartedProgram } from '../support/run-program.ts';

const fileBytes = 256 * 1024;
const files = 40;

let work: string;
let ssh: GatedSSH;
let env: Record<string, string>;
const started: StartedProgram[] = [];

beforeEach(async () => {
  work = await mkdtemp(join(tmpdir(), 'snapferry-interrupt-'));
  await mkdir(join(work, 'source'));
  for (let index = 0; index < files; index += 1) {
    await writeFile(join(work, 'source', `file-${String(index).padStart(2, '0')}`), randomBytes(fileBytes));
  }
  ssh = await gatedSSH(work);
  env = { PATH: `${ssh.bin}:${process.env['PATH'] ?? ''}` };
});
afterEach(async () => {
  for (const program of started.splice(0)) program.kill('SIGKILL');
  await rm(work, { recursive: true, force: true });
});

async function start(command: readonly string[]): Promise<StartedProgram> {
  const program = await startProgram(command, { env });
  started.push(program);
  return program;
}

const args = () => ['pull', '--json', `host:${join(work, 'source')}`, join(work, 'target')];

/** Whole files that a receive has laid down so far. */
async function arrived(): Promise<number> {
  const tree = join(work, 'target/staging/receive/tree');
  return existsSync(tree) ? (await readdir(tree)).length : 0;
}

/** Asks again and again; the runner's own time limit ends it. */
async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 20));
}

test.each(['SIGINT', 'SIGTERM'] as const)('%s leaves what the next run goes on from, and says so', async (signal) => {
  await ssh.letThrough('from remote', (files / 2) * fileBytes);
  const pull = await start(args());
  await until(async () => (await arrived()) > files / 4);
  pull.kill(signal);
  const interrupted = await pull.ended;
  expect(interrupted.code).toBe(130);
  expect(interrupted.stderr).toContain(`${signal}: stopping in order`);
  expect(interrupted.stderr).toContain('to go on, run the same command:\n    snapferry pull --json host:');
  expect(interrupted.stderr).not.toMatch(/^ +at /m);
  expect(JSON.parse(interrupted.stdout)).toMatchObject({ error: { code: 'CANCELLED' } });
  expect(await readdir(join(work, 'target/snapshots'))).toEqual([]);

  await ssh.open();
  const resumed = await runProgram(args(), { env });
  expect(resumed.code).toBe(0);
  expect(resumed.stderr).toContain('going on where it was interrupted');
  const { filesystems } = JSON.parse(resumed.stdout) as { filesystems: { bytes: number }[] };
  expect(filesystems[0]!.bytes).toBeLessThan(files * fileBytes * 0.8);
  const [snapshot] = await readdir(join(work, 'target/snapshots'));
  for (const name of await readdir(join(work, 'source'))) {
    if (name === '.snapferry') continue;
    const copy = await readFile(join(work, 'target/snapshots', snapshot!, name));
    expect(copy.equals(await readFile(join(work, 'source', name)))).toBe(true);
  }
});

test('a second signal leaves at once, and the next run still goes on', async () => {
  await ssh.letThrough('from remote', (files / 2) * fileBytes);
  const pull = await start(args());
  await until(async () => (await arrived()) > files / 4);
  pull.kill('SIGINT');
  pull.kill('SIGINT');
  expect((await pull.ended).code).toBe(130);
  await ssh.open();
  expect((await runProgram(args(), { env })).code).toBe(0);
});

test('an interrupted push leaves what the next one goes on from', async () => {
  const push = () => ['push', '--json', join(work, 'source'), `host:${join(work, 'target')}`];
  await ssh.letThrough('to remote', (files / 2) * fileBytes);
  const pushing = await start(push());
  await until(async () => (await arrived()) > files / 4);
  pushing.kill('SIGINT');
  const interrupted = await pushing.ended;
  expect(interrupted.code).toBe(130);
  expect(interrupted.stderr).toContain('to go on, run the same command:\n    snapferry push --json ');
  await ssh.open();
  // The other end may need a moment to notice that nobody is there any more; until then it is busy.
  let again = await runProgram(push(), { env });
  await until(async () => {
    if (again.code === 75) again = await runProgram(push(), { env });
    return again.code !== 75;
  });
  expect(again.code).toBe(0);
  expect(again.stderr).toContain('going on where it was interrupted');
  const { filesystems } = JSON.parse(again.stdout) as { filesystems: { bytes: number }[] };
  expect(filesystems[0]!.bytes).toBeLessThan(files * fileBytes * 0.8);
  expect(await readdir(join(work, 'target/snapshots'))).toHaveLength(1);
});

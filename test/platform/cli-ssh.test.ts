import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { describePlatform } from '../support/platform.ts';
import { builtProgram, runProgram } from '../support/run-program.ts';
import type { ProgramResult } from '../support/run-program.ts';
import { sshdMissing, startSshd } from '../support/sshd.ts';
import type { Sshd } from '../support/sshd.ts';

let work: string;
let program: string;

const here = (path: string) => join(work, path);
const names = async (path: string) => (await readdir(here(path))).sort();
const document = (result: ProgramResult) => JSON.parse(result.stdout) as Record<string, unknown>;

/** What tells ssh of a test server how to reach it, and nothing of whoever runs the tests. */
function connection(sshd: Sshd): string[] {
  const options = Object.entries(sshd.options).flatMap(([name, value]) => ['--ssh-option', `${name}=${value}`]);
  return ['--ssh-port', String(sshd.port), '-i', sshd.identityFile, '--ssh-config', sshd.configFile, ...options];
}

async function makeSource(): Promise<void> {
  await mkdir(here('source/sub'), { recursive: true });
  await writeFile(here('source/a.txt'), 'hello\n');
  await writeFile(here('source/big'), Buffer.alloc(500_000, 7));
  await writeFile(here("source/sub/it's a \nname"), 'odd\n');
}

beforeAll(async () => {
  program = await builtProgram();
});
beforeEach(async () => {
  work = await mkdtemp(join(tmpdir(), 'snapferry-cli-ssh-'));
  await makeSource();
});
afterEach(() => rm(work, { recursive: true, force: true }));

describePlatform('snapferry over a real sshd', sshdMissing, () => {
  let sshd: Sshd;
  beforeAll(async () => {
    sshd = await startSshd();
  });
  afterAll(() => sshd.stop());

  const remote = (path: string) => `${sshd.user}@${sshd.host}:${path}`;
  const run = (command: string, ...args: string[]) =>
    runProgram([command, ...connection(sshd), '--remote-program', `'${process.execPath}' '${program}'`, ...args], {
      cwd: work,
    });

  test('pull: the first copy, then only the change, then nothing', async () => {
    const first = await run('pull', remote(here('source')), 'target');
    expect(first).toMatchObject({ code: 0 });
    expect(first.stdout).toMatch(/^pulled 1 snapshot, 3 files, /);
    expect(first.stderr).toContain('took snapshot @');
    const [name] = await names('target/snapshots');
    expect(await readFile(here(`target/snapshots/${name!}/sub/it's a \nname`), 'utf8')).toBe('odd\n');

    await writeFile(here('source/a.txt'), 'hello again\n');
    const plan = await run('plan', '--json', remote(here('source')), 'target');
    expect(document(plan)).toMatchObject({
      direction: 'pull',
      steps: [{ from: { name }, to: { name: null, planned: { added: 0, changed: 1, removed: 0, bytes: 12 } } }],
    });
    expect(await names('source/.snapferry/snapshots')).toEqual([name]);
    const second = await run('pull', '--json', remote(here('source')), 'target');
    expect(second.code).toBe(0);
    const { filesystems } = document(second) as { filesystems: { bytes: number; steps: number }[] };
    expect(filesystems).toMatchObject([{ steps: 1 }]);
    expect(filesystems[0]!.bytes).toBeLessThan(50_000);
    expect((await run('pull', remote(here('source')), 'target')).stdout).toMatch(/^nothing to pull/);
  });

  test('push: the same with the roles inverted, and its plan', async () => {
    const plan = await run('plan', 'source', remote(here('deep/target')));
    expect(plan).toMatchObject({ code: 0 });
    expect(plan.stdout).toContain('+ new snapshot (');
    expect(await names('.')).toEqual(['source']);
    const first = await run('push', 'source', remote(here('deep/target')));
    expect(first).toMatchObject({ code: 0 });
    expect(first.stdout).toMatch(/^pushed 1 snapshot, 3 files, /);
    await writeFile(here('source/a.txt'), 'hello again\n');
    const second = await run('push', '--json', 'source', remote(here('deep/target')));
    const { filesystems } = document(second) as { filesystems: { bytes: number }[] };
    expect(filesystems[0]!.bytes).toBeLessThan(50_000);
    expect(await names('deep/target/snapshots')).toEqual(await names('source/.snapferry/snapshots'));
    expect((await run('push', 'source', remote(here('deep/target')))).stdout).toMatch(/^nothing to push/);
  });

  test('snapshot, list, verify and restore work on the other machine', async () => {
    const taken = await run('snapshot', '--snapshot-name', 'one', remote(here('source')));
    expect(taken).toMatchObject({ code: 0 });
    expect(taken.stdout).toMatch(/^@one: 5 added, /);
    expect((await run('list', remote(here('source')))).stdout).toMatch(/^@one /m);
    expect(await run('verify', remote(`${here('source')}@one`))).toMatchObject({ code: 0 });
    const restored = await run('restore', remote(`${here('source')}@one`), 'sub', '--to', 'restored');
    expect(restored).toMatchObject({ code: 0 });
    expect(await readFile(here("restored/sub/it's a \nname"), 'utf8')).toBe('odd\n');
    await writeFile(here('source/.snapferry/snapshots/one/a.txt'), 'HELLO\n');
    const damaged = await run('verify', remote(here('source')));
    expect(damaged.code).toBe(1);
    expect(damaged.stdout).toMatch(/^a\.txt: /m);
    const absent = await run('list', remote(here('nowhere')));
    expect(absent.code).toBe(1);
    expect(absent.stderr).toContain(`on ${sshd.host}: `);
    expect(absent.stderr).toContain('(DATASET_NOT_FOUND)');
  });

  test('a missing remote program, a missing directory and a wrong key are told in plain words', async () => {
    const args = [...connection(sshd), '--remote-program', 'no-such-program'];
    const missing = await runProgram(['pull', ...args, remote(here('source')), 'target'], { cwd: work });
    expect(missing.code).not.toBe(0);
    expect(missing.stderr).toMatch(/no-such-program.*not found/);
    expect(missing.stderr).toContain('(CONNECT_FAILED)');
    const nowhere = await run('pull', remote(here('nowhere')), 'target');
    expect(nowhere.code).toBe(1);
    expect(nowhere.stderr).toContain('(DATASET_NOT_FOUND)');
    const inTheWay = await run('push', 'source', remote(here('source/sub')));
    expect(inTheWay.code).toBe(1);
    expect(inTheWay.stderr).toContain('neither empty nor a copy');
    const stranger = await run('pull', '-i', await sshd.makeStrangerKey(), remote(here('source')), 'target');
    expect(stranger.code).toBe(75);
    expect(stranger.stderr).toContain('Permission denied');
    expect(await names('.')).toEqual(['source']);
  });

  test('pull localhost:PATH with nothing but an ssh configuration', async () => {
    const config = here('ssh_config');
    const options = { ...sshd.options, Port: sshd.port, IdentityFile: sshd.identityFile, HostName: sshd.host };
    await writeFile(
      config,
      `Host localhost\n${Object.entries(options)
        .map(([name, value]) => `  ${name} ${value}\n`)
        .join('')}`,
    );
    await mkdir(here('bin'));
    await writeFile(here('bin/snapferry'), `#!/bin/sh\nexec '${process.execPath}' '${program}' "$@"\n`, {
      mode: 0o755,
    });
    const result = await runProgram(
      [
        'pull',
        '--ssh-config',
        config,
        '--remote-program',
        here('bin/snapferry'),
        `localhost:${here('source')}`,
        'target',
      ],
      { cwd: work },
    );
    expect(result).toMatchObject({ code: 0 });
  });
});

describePlatform('the forced command stdinserver behind a real sshd', sshdMissing, () => {
  let sshd: Sshd;
  let config: string;
  let base: string;
  beforeAll(async () => {
    base = await mkdtemp(join(tmpdir(), 'snapferry-forced-'));
    config = join(base, 'stdinserver.yml');
    sshd = await startSshd({
      forcedCommand: `'${process.execPath}' '${program}' stdinserver web1 --config '${config}'`,
    });
  });
  afterAll(async () => {
    await sshd.stop();
    await rm(base, { recursive: true });
  });
  beforeEach(async () => {
    await configure(`{ sources: [${here('source')}], sink: ${here('sink')}, snapshot: true }`);
    await mkdir(here('sink'));
    await mkdir(here('other'));
    await writeFile(here('other/secret'), 'secret\n');
  });

  const configure = (rights: string) => writeFile(config, `identities:\n  web1: ${rights}\n`);
  const remote = (path: string) => `${sshd.user}@${sshd.host}:${here(path)}`;
  const run = (command: string, ...args: string[]) =>
    runProgram([command, ...connection(sshd), ...args], { cwd: work });

  test('pull and push within the rights', async () => {
    expect(await run('pull', remote('source'), 'target')).toMatchObject({ code: 0 });
    expect(await run('plan', 'source', remote('sink/web1'))).toMatchObject({ code: 0 });
    expect(await run('push', 'source', remote('sink/web1'))).toMatchObject({ code: 0 });
    expect(await names('sink/web1/snapshots')).toEqual(await names('target/snapshots'));
    expect(await run('list', remote('sink/web1'))).toMatchObject({ code: 0 });
    expect(await run('verify', remote('sink/web1'))).toMatchObject({ code: 0 });
    expect(await run('snapshot', '--force', remote('source'))).toMatchObject({ code: 0 });
    expect(await run('restore', remote('source'), '--to', 'restored')).toMatchObject({ code: 0 });
  });

  test('other paths are refused, however they are written', async () => {
    await symlink(here('other'), here('source/link'));
    await symlink(here('other'), here('sink/link'));
    await symlink(here('not-there'), here('sink/dangling'));
    const pulling = ['other', 'source/../other', 'source/link', 'source-2', '.', 'nowhere'].map(async (path) => {
      const pull = await run('pull', remote(path), here(`target-of-${path.replaceAll('/', '-')}`));
      expect([path, pull.code, pull.stderr]).toEqual([path, 1, expect.stringContaining('(ACCESS_DENIED)')]);
    });
    const pushing = ['other', 'sink/../other', 'sink/link', 'sink/link/x', 'sink/dangling', 'source', 'new'].map(
      async (path) => {
        const push = await run('push', '--no-snapshot', 'source', remote(path));
        expect([path, push.code, push.stderr]).toEqual([path, 1, expect.stringContaining('(ACCESS_DENIED)')]);
      },
    );
    const inspecting = ['list', 'snapshot', 'verify'].flatMap((command) =>
      ['other', 'source/link'].map(async (path) => {
        const { code, stdout } = await run(command, '--json', remote(path));
        expect([command, path, code, stdout]).toEqual([command, path, 1, expect.stringContaining('"ACCESS_DENIED"')]);
      }),
    );
    await Promise.all([...pulling, ...pushing, ...inspecting]);
    expect(await names('.')).toEqual(['other', 'sink', 'source']);
    expect(await names('other')).toEqual(['secret']);
    expect(await names('sink')).toEqual(['dangling', 'link']);
  });

  test('what is stored may not be read back unless it is a source, too, nor changed through its snapshots', async () => {
    expect(await run('push', '--snapshot-name', 'one', 'source', remote('sink/web1'))).toMatchObject({ code: 0 });
    const restored = await run('restore', remote('sink/web1'), '--to', 'restored');
    expect(restored.code).toBe(1);
    expect(restored.stderr).toContain('may not read');
    const inside = await run('push', 'source', remote('sink/web1/snapshots/one/new'));
    expect(inside.code).not.toBe(0);
    expect(await names('sink/web1/snapshots/one')).toEqual(['a.txt', 'big', 'sub']);
    await configure(`{ sources: [${here('sink')}], sink: ${here('sink')} }`);
    expect(await run('restore', remote('sink/web1'), '--to', 'restored')).toMatchObject({ code: 0 });
  });

  test('snapshots are taken only for those who may', async () => {
    await configure(`{ sources: [${here('source')}] }`);
    const refused = await run('pull', remote('source'), 'target');
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('pull with --no-snapshot (ACCESS_DENIED)');
    expect((await run('snapshot', remote('source'))).stderr).toContain('(ACCESS_DENIED)');
    expect(await names('source')).toEqual(['a.txt', 'big', 'sub']);
    expect(await run('snapshot', '--dry-run', remote('source'))).toMatchObject({ code: 0 });
    await runProgram(['snapshot', 'source'], { cwd: work });
    expect(await run('pull', '--no-snapshot', remote('source'), 'target')).toMatchObject({ code: 0 });
  });

  describe('whatever else is asked for is refused and reaches no shell', () => {
    test.each([
      'sh -c id',
      'snapferry serve --stdio; touch x',
      'snapferry serve --stdio -- /x `touch x`',
      'scp -f /etc/passwd',
    ])('%s', async (line) => {
      const result = await runProgram(['stdinserver', 'web1', '--config', config], {
        cwd: work,
        env: { SSH_ORIGINAL_COMMAND: line },
      });
      expect(result).toMatchObject({ code: 2, stdout: '' });
      expect(result.stderr).toContain('(USAGE)');
      expect(await names('.')).toEqual(['other', 'sink', 'source']);
    });
  });

  test('a mistake in the configuration is told to the server’s log and to the client', async () => {
    await configure(`{ source: [${here('source')}] }`);
    const result = await run('pull', remote('source'), 'target');
    expect(result.code).not.toBe(0);
    expect(result.stderr).toContain('unknown key "source"; did you mean "sources"?');
  });
});

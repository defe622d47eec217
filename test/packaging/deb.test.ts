import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cp, mkdir, mkdtemp, readFile, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { commandTable } from '../../src/cli/command-table.ts';
import { debianVersion } from '../../scripts/debian-control.ts';
import { describePlatform, missingPrograms } from '../support/platform.ts';

const repository = join(import.meta.dirname, '../..');
const packageBytesMax = 1.5 * 1024 * 1024;
const sources = [
  ...['package.json', 'package-lock.json', '.npmrc', 'README.md', 'CHANGELOG.md', 'LICENSE', 'docs', 'examples'],
  ...['packaging', 'scripts', 'share', 'src', 'tsconfig.json', 'tsconfig.build.json'],
];
const run = promisify(execFile);
const missing =
  missingPrograms(['dpkg', 'dpkg-deb'], 'dpkg') ??
  missingPrograms(['systemd-sysusers'], 'systemd') ??
  (process.getuid?.() === 0 ? null : missingPrograms(['fakeroot'], 'fakeroot'));

test('what comes before a release is sorted before it', () => {
  expect(debianVersion('1.0.0')).toBe('1.0.0');
  expect(debianVersion('1.0.0-rc.1')).toBe('1.0.0~rc.1');
});

describePlatform('the Debian package', missing, () => {
  let work: string;
  let deb: string;

  /** What the package is made from. Copied, so that both are made of the same while somebody works on it. */
  async function copySources(from: string, to: string): Promise<string> {
    await mkdir(to, { recursive: true });
    for (const name of sources) await cp(join(from, name), join(to, name), { recursive: true });
    await symlink(join(repository, 'node_modules'), join(to, 'node_modules'));
    return to;
  }

  /** Builds it under circumstances that must not matter. */
  async function build(directory: string, umask: string, TZ: string): Promise<string> {
    const command = [process.execPath, 'node_modules/tsx/dist/cli.mjs', 'scripts/build-deb.ts', join(directory, 'out')];
    const env = { ...process.env, TZ, SOURCE_DATE_EPOCH: '1790000000' };
    const { stdout } = await run('/bin/sh', ['-c', `umask ${umask}; exec "$@"`, 'sh', ...command], {
      cwd: directory,
      env,
    });
    return stdout.trim();
  }

  beforeAll(async () => {
    work = await mkdtemp(join(tmpdir(), 'snapferry-deb-test-'));
    deb = await build(await copySources(repository, join(work, 'first')), '022', 'UTC');
  }, 300_000);
  afterAll(() => rm(work, { recursive: true, force: true }));

  const dpkgDeb = async (...args: readonly string[]): Promise<string> => (await run('dpkg-deb', args)).stdout;

  test('the same sources give the same bytes', async () => {
    const elsewhere = await copySources(join(work, 'first'), join(work, 'a/longer/path'));
    const again = await build(elsewhere, '077', 'Pacific/Chatham');
    const sum = async (file: string) =>
      createHash('sha256')
        .update(await readFile(file))
        .digest('hex');
    expect(await sum(again)).toBe(await sum(deb));
  }, 300_000);

  test('it is small, and belongs to root', async () => {
    expect((await stat(deb)).size).toBeLessThan(packageBytesMax);
    const lines = (await dpkgDeb('--contents', deb)).trim().split('\n');
    for (const line of lines)
      expect(line).toMatch(/^(drwxr-xr-x|-rw-r--r--|-rwxr-xr-x|lrwxrwxrwx) root\/root +\d+ 2026-09-21 /);
    const programs = lines.filter((line) => line.startsWith('-rwx')).map((line) => line.split(' ').at(-1));
    expect(programs).toEqual(['./usr/lib/snapferry/dist/cli/main.js']);
    expect(lines.filter((line) => /\.(d\.[cm]?ts|ts|map|node)$/.test(line))).toEqual([]);
  });

  test('it depends on a Node that can run it', async () => {
    const { engines } = JSON.parse(await readFile(join(repository, 'package.json'), 'utf8')) as {
      engines: { node: string };
    };
    expect((await dpkgDeb('--field', deb, 'Depends')).trim()).toBe(`nodejs (${engines.node.replace('>=', '>= ')})`);
    expect((await dpkgDeb('--field', deb, 'Architecture')).trim()).toBe('all');
  });

  test('installed it runs and explains itself, and removed it leaves what is not its own', async () => {
    const root = join(work, 'root');
    await makeRoot(root);
    // Scripts of the package run outside, with DPKG_ROOT, so that no shell is needed inside; Node is outside, too.
    const options = [`--root=${root}`, '--force-not-root', '--force-script-chrootless', '--force-depends'];
    // Directories are given to the user snapferry, which only root may do, or who believes to be.
    const [command = 'dpkg', ...words] =
      process.getuid?.() === 0 ? ['dpkg', ...options] : ['fakeroot', 'dpkg', ...options];
    const dpkg = (...args: string[]) => run(command, [...words, ...args], { env: { ...process.env, LC_ALL: 'C' } });
    await dpkg('--install', deb);
    const program = join(root, 'usr/bin/snapferry');
    const snapferry = async (...args: string[]) =>
      (await run(process.execPath, [program, ...args], { cwd: work })).stdout;
    const { version } = JSON.parse(await readFile(join(repository, 'package.json'), 'utf8')) as { version: string };
    expect(await snapferry('--version')).toBe(`${version}\n`);
    expect(await readFile(program, 'utf8')).toMatch(/^#!\/usr\/bin\/node\n/);
    for (const { name } of commandTable) {
      expect(await snapferry(name, '--help')).toContain(`Usage: snapferry ${name} `);
      const page = gunzipSync(await readFile(join(root, `usr/share/man/man1/snapferry-${name}.1.gz`)));
      expect(page.toString()).toContain(`.TH "SNAPFERRY\\-${name.toUpperCase()}" 1`);
    }
    await mkdir(join(work, 'data'));
    await writeFile(join(work, 'data/file'), 'hello\n');
    await snapferry('pull', './data', './backup');
    await snapferry('restore', './backup', '--to', './restored');
    expect(await readFile(join(work, 'restored/file'), 'utf8')).toBe('hello\n');

    expect(await readFile(join(root, 'etc/passwd'), 'utf8')).toContain('\nsnapferry:');
    await writeFile(join(root, 'etc/snapferry/snapferry.yml'), 'jobs: []\n');
    await mkdir(join(root, 'var/lib/snapferry'));
    await writeFile(join(root, 'var/lib/snapferry/history'), '');
    await dpkg('--remove', 'snapferry');
    expect(await readdir(root)).not.toContain('usr');
    expect(await readdir(join(root, 'var/lib'))).toContain('snapferry');
    await dpkg('--purge', 'snapferry');
    expect(await readdir(join(root, 'var/lib'))).toEqual(['dpkg']);
    expect(await readdir(join(root, 'etc/snapferry'))).toEqual(['snapferry.yml']);
  }, 120_000);
});

/** As much of a Debian system as dpkg looks at. */
async function makeRoot(root: string): Promise<void> {
  for (const path of ['etc', 'usr', 'var/lib/dpkg/info', 'var/lib/dpkg/updates', 'var/lib/dpkg/triggers', 'var/log']) {
    await mkdir(join(root, path), { recursive: true });
  }
  await writeFile(join(root, 'var/lib/dpkg/status'), '');
  await writeFile(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
  await writeFile(join(root, 'etc/group'), 'root:x:0:\n');
}

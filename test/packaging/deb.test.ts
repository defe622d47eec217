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
import { bootMissing, bootRefused, runInBootedSystem } from '../support/booted-system.ts';
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

const refused = missing ?? bootMissing ?? bootRefused();
if (refused !== null) process.stderr.write(`\nSKIPPED booting a system with the Debian package: ${refused}\n`);

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

  test.skipIf(refused !== null)(
    'systemd starts, reloads, watches and stops it as the units say',
    async () => {
      const extracted = join(work, 'extracted');
      await run('dpkg-deb', ['--extract', deb, extracted]);
      const said = await runInBootedSystem({
        directory: join(work, 'booted'),
        usr: join(extracted, 'usr'),
        files: {
          '/etc/snapferry/snapferry.yml': localJob,
          '/etc/sink.yml': sinkJob,
          '/srv/data/setuid': '#!/bin/sh\n',
        },
        script: bootScript,
        timeoutMs: 150_000,
      });
      expect(
        said.split('\n').filter((line) => line.startsWith('# ')),
        said,
      ).toEqual([
        '# start 0',
        '# copied 4755 1234',
        '# a bad file is reloaded 1 and the daemon is active',
        '# stood still, started again 1',
        '# stop 0',
        '# a bad file is started 1, status 2, started again 0',
        '# a socket is opened 0, the daemon is inactive',
        '# connected 0, the daemon is active',
        '# user snapferry, CapEff: 0000000000000000',
        '# stop 0',
      ]);
    },
    200_000,
  );
});

const localJob = `jobs:
  - name: home
    type: local
    backend: directory
    filesystems: { /srv/data: true }
    root_fs: /backup
    snapshotting: { type: periodic, interval: 1h, prefix: snapferry_ }
    pruning:
      keep_sender: [{ type: not_replicated }, { type: last_n, count: 3 }]
      keep_receiver: [{ type: last_n, count: 9 }]
`;
const sinkJob = `jobs:
  - name: sink
    type: sink
    serve: { type: tcp, listen: 'systemd:sink', clients: { 127.0.0.1: me } }
    root_fs: backup
    pruning: { keep: [{ type: last_n, count: 3 }] }
`;

/** What it finds out is in lines that begin with `# `; the rest is for whoever has to find out why. */
const bootScript = `
until_true() {
    for attempt in $(seq 1 300); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done
    echo "# not within 30 s: $*"
}
property() { systemctl show snapferry -p "$1" --value; }
drop_ins=/etc/systemd/system/snapferry.service.d
mkdir -p $drop_ins

# As the package does when it is configured.
systemd-sysusers snapferry.conf && systemd-tmpfiles --create snapferry.conf
chown 1234:1234 /srv/data/setuid && chmod 4755 /srv/data/setuid
systemctl start snapferry; echo "# start $?"
until_true sh -c 'ls /backup/srv/data/snapshots/*/setuid'
echo "# copied $(find /backup -name setuid -printf '%m %U')"

cp /etc/snapferry/snapferry.yml /etc/good.yml
echo 'jobs: [' > /etc/snapferry/snapferry.yml
systemctl reload snapferry; echo "# a bad file is reloaded $? and the daemon is $(property ActiveState)"
cp /etc/good.yml /etc/snapferry/snapferry.yml

# In a container with cgroups of version 1 systemd may not be told that the last child is gone, and waits for it.
printf '%s\\n' [Service] WatchdogSec=2s RestartSec=100ms TimeoutStopSec=2s > $drop_ins/watchdog.conf
systemctl daemon-reload && systemctl restart snapferry
kill -STOP $(property MainPID)
until_true sh -c '[ "$(systemctl show snapferry -p NRestarts --value)" = 1 ]'
until_true systemctl is-active snapferry
echo "# stood still, started again $(property NRestarts)"
rm $drop_ins/watchdog.conf && systemctl daemon-reload
systemctl stop snapferry; echo "# stop $?"

echo 'jobs: [' > /etc/snapferry/snapferry.yml
systemctl start snapferry; echo "# a bad file is started $?, status $(property ExecMainStatus), started again $(property NRestarts)"
systemctl reset-failed snapferry

cp /etc/sink.yml /etc/snapferry/snapferry.yml
cp /usr/share/doc/snapferry/examples/systemd/unprivileged.conf $drop_ins
systemctl daemon-reload
systemctl start snapferry-sink.socket; echo "# a socket is opened $?, the daemon is $(property ActiveState)"
exec 3<>/dev/tcp/127.0.0.1/8888; connected=$?
until_true systemctl is-active snapferry
echo "# connected $connected, the daemon is $(property ActiveState)"
echo "# user $(stat -c %U /proc/$(property MainPID)), $(grep CapEff /proc/$(property MainPID)/status | tr '\\t' ' ')"
systemctl stop snapferry-sink.socket snapferry; echo "# stop $?"
journalctl -u snapferry --no-pager -o short-precise
`;

/** As much of a Debian system as dpkg looks at. */
async function makeRoot(root: string): Promise<void> {
  for (const path of ['etc', 'usr', 'var/lib/dpkg/info', 'var/lib/dpkg/updates', 'var/lib/dpkg/triggers', 'var/log']) {
    await mkdir(join(root, path), { recursive: true });
  }
  await writeFile(join(root, 'var/lib/dpkg/status'), '');
  await writeFile(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
  await writeFile(join(root, 'etc/group'), 'root:x:0:\n');
}

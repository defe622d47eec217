import { execFile, execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { missingPrograms } from './platform.ts';

/** What {@link runInBootedSystem} lacks on this machine, for `describePlatform`. */
export const bootMissing = missingPrograms(['systemd-nspawn'], 'systemd-container') ?? missingPrivilege();

function missingPrivilege(): string | null {
  if (process.getuid?.() !== 0) return 'it has to be root to boot a system of its own';
  return readFileSync('/proc/filesystems', 'utf8').includes('\toverlay\n')
    ? null
    : 'its kernel has no overlay filesystem';
}

/**
 * Why this machine boots no systems, although it has everything for it: a container may be forbidden to have containers, which nobody who
 * runs the tests there can change. Null: it does.
 */
export function bootRefused(): string | null {
  const args = [
    '-q',
    '--register=no',
    '--keep-unit',
    '--private-network',
    '--volatile=yes',
    '--directory=/',
    '/usr/bin/true',
  ];
  try {
    execFileSync('systemd-nspawn', args, { stdio: ['ignore', 'ignore', 'pipe'], timeout: 60_000 });
    return null;
  } catch (error) {
    return String((error as { stderr?: Buffer }).stderr ?? error).trim();
  }
}

/** A system to be booted. */
export interface BootedSystem {
  /** An empty directory for it, which the caller removes. */
  readonly directory: string;
  /** What lies over the `/usr` of this machine: a tree to be seen there, too. */
  readonly usr: string;
  /** Files it has from the beginning, by their absolute names. */
  readonly files: Readonly<Record<string, string>>;
  /** What is run in it once it is up, by bash. */
  readonly script: string;
  readonly timeoutMs: number;
}

const basicFiles = {
  '/etc/os-release': 'ID=probe\n',
  '/etc/machine-id': '0123456789abcdef0123456789abcdef\n',
  '/etc/nsswitch.conf': 'passwd: files\ngroup: files\n',
  '/etc/passwd': 'root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/:/usr/sbin/nologin\n',
  '/etc/group': 'root:x:0:\nnogroup:x:65534:\n',
  '/etc/systemd/system/probe.service': `[Unit]
Wants=basic.target
After=basic.target
[Service]
Type=oneshot
ExecStart=/bin/bash /probe.sh
ExecStopPost=/bin/systemctl --no-block exit 0
StandardOutput=file:/said
StandardError=file:/said
`,
};

/**
 * Boots systemd, with the programs of this machine and a root of its own, in namespaces of its own and without a network, runs the script and shuts
 * down. Nothing of this machine can be written to by it.
 * @returns what the script said
 */
export async function runInBootedSystem({ directory, usr, files, script, timeoutMs }: BootedSystem): Promise<string> {
  const root = join(directory, 'root');
  for (const [path, text] of Object.entries({ ...basicFiles, ...files, '/probe.sh': script })) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
  }
  for (const name of ['usr', 'root', 'var/log', 'tmp', 'run']) await mkdir(join(root, name), { recursive: true });
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) await symlink(`usr/${name}`, join(root, name));
  // It has no network to wait for.
  for (const name of ['networkd', 'networkd-wait-online']) {
    await symlink('/dev/null', join(root, `etc/systemd/system/systemd-${name}.service`));
  }
  const options = ['-q', '--register=no', '--keep-unit', '--private-network', '--boot', `--directory=${root}`];
  const system = promisify(execFile)(
    'systemd-nspawn',
    [...options, `--overlay-ro=/usr:${usr}:/usr`, 'systemd.unit=probe.service'],
    {
      timeout: timeoutMs,
      maxBuffer: 2 ** 26,
    },
  );
  system.child.stdin?.end();
  const console = await system.then(
    ({ stdout }) => stdout,
    // It tells by its status how it was shut down, and by what was said whether that was as planned.
    (error: unknown) => String((error as { stdout?: string }).stdout),
  );
  return readFile(join(root, 'said'), 'utf8').catch(() => {
    throw new Error(`the system never ran the script:\n${console}`);
  });
}

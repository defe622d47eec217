import { execFile, spawn } from 'node:child_process';
import type { ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { missingPrograms } from './platform.ts';
import { builtProgram } from './run-program.ts';

const repository = fileURLToPath(new URL('../../', import.meta.url));
/** Where the repository is on every machine: a place that any user can reach. */
const repositoryThere = '/usr/lib/snapferry-repository';

/** Why there can be no {@link Machines} here, or null. */
export function whyNoMachines(): string | null {
  if (process.getuid?.() !== 0) return 'this is not root, who can mount';
  const overlay = /\boverlay$/m.test(readFileSync('/proc/filesystems', 'utf8'));
  if (!overlay) return 'the kernel lacks overlayfs (modprobe overlay)';
  return (
    missingPrograms(['unshare', 'nsenter', 'mount'], 'util-linux') ??
    missingPrograms(['ip'], 'iproute2') ??
    missingPrograms(['systemd-sysusers', 'systemd-tmpfiles'], 'systemd')
  );
}

/** How a script ended and what it printed. */
export interface ScriptResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Machines for a test: each sees this one's file system, and what it writes is its own; all share a network that nobody else
 * sees. snapferry is installed on them as its package does it. Nothing of them is left when they are closed, or when the test is
 * killed.
 */
export class Machines implements AsyncDisposable {
  readonly #holder: ChildProcessByStdio<Writable, Readable, null>;
  readonly #base: string;
  readonly #program: string;
  #count = 0;

  private constructor(holder: ChildProcessByStdio<Writable, Readable, null>, base: string, program: string) {
    this.#holder = holder;
    this.#base = base;
    this.#program = program;
  }

  /** Makes their common network. Whoever opens it closes it. */
  static async open(): Promise<Machines> {
    const program = relative(repository, await builtProgram());
    const base = mkdtempSync(join(tmpdir(), 'snapferry-machines-'));
    // It ends, and everything in it with it, at the end of its input: at the latest when this process ends.
    const script = 'ip link set lo up && mount -t tmpfs -o mode=755 tmpfs "$1" && echo ready && exec cat';
    const namespaces = ['--mount', '--net', '--pid', '--fork', '--kill-child', '--propagation', 'private'];
    const holder = spawn('unshare', [...namespaces, 'sh', '-c', script, 'sh', base], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const ended = once(holder, 'exit').then(() => Promise.reject(new Error('no machines can be made here')));
    ended.catch(() => undefined);
    await Promise.race([once(holder.stdout, 'data'), ended]);
    return new Machines(holder, base, program);
  }

  /** Makes a machine. `hosts` are lines of its `/etc/hosts`. */
  async add(hosts: readonly string[] = []): Promise<Machine> {
    this.#count += 1;
    const place = join(this.#base, String(this.#count));
    const machine = new Machine(this.#pid(), join(place, 'root'));
    await this.#enter(makeMachine, place, repository, process.execPath);
    await machine.write('/etc/hosts', ['127.0.0.1 localhost', ...hosts, ''].join('\n'));
    await machine.write('/usr/bin/snapferry', starter(`${repositoryThere}/${this.#program}`), 0o755);
    const systemctl = `${repositoryThere}/test/fixtures/programs/systemctl.mjs`;
    await machine.write('/usr/bin/systemctl', starter(systemctl), 0o755);
    await machine.mustRun(installPackage);
    return machine;
  }

  async close(): Promise<void> {
    if (this.#holder.exitCode === null && this.#holder.signalCode === null) {
      this.#holder.stdin.end();
      await once(this.#holder, 'exit');
    }
    rmSync(this.#base, { recursive: true });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** The first process of theirs, as this machine knows it: the only child of unshare. */
  #pid(): string {
    const { pid = 0 } = this.#holder;
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  }

  async #enter(script: string, ...args: readonly string[]): Promise<void> {
    const inside = ['--target', this.#pid(), '--mount', '--net', '--pid', '--', 'sh', '-e', '-c', script, 'sh'];
    const { code, stderr } = await execute('nsenter', [...inside, ...args], '');
    if (code !== 0) throw new Error(`a machine could not be made: ${stderr}`);
  }
}

const makeMachine = `
place=$1 root=$1/root
mkdir -p "$place/upper" "$place/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$place/upper,workdir=$place/work" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
for directory in tmp run; do mkdir -p "$root/$directory"; mount -t tmpfs tmpfs "$root/$directory"; done
chmod 1777 "$root/tmp"
mkdir "$root${repositoryThere}" && mount --bind "$2" "$root${repositoryThere}"
: >"$root/usr/bin/snapferry-node" && mount --bind "$3" "$root/usr/bin/snapferry-node"
`;

// As packaging/debian/postinst does it.
const installPackage = `
cp -r ${repositoryThere}/packaging/systemd/system ${repositoryThere}/packaging/systemd/user /usr/lib/systemd/
cp ${repositoryThere}/packaging/sysusers.d/snapferry.conf /usr/lib/sysusers.d/
cp ${repositoryThere}/packaging/tmpfiles.d/snapferry.conf /usr/lib/tmpfiles.d/
systemd-sysusers snapferry.conf
systemd-tmpfiles --create snapferry.conf
`;

function starter(program: string): string {
  return `#!/bin/sh\nexec /usr/bin/snapferry-node ${program} "$@"\n`;
}

/** One of {@link Machines}. */
export class Machine {
  /** Its file system, for {@link Machine.outside}. */
  readonly root: string;
  readonly #pid: string;

  constructor(pid: string, root: string) {
    this.#pid = pid;
    this.root = root;
  }

  /** Runs a script with `sh -e`, in the home of a user, with nothing of this process's environment. */
  run(script: string, user = 'root'): Promise<ScriptResult> {
    const home = user === 'root' ? '/root' : `/home/${user}`;
    const environment = [`HOME=${home}`, `USER=${user}`, 'LC_ALL=C', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin', 'TZ=UTC'];
    const shell = ['sh', '-e', '-c', `cd\n${script}`];
    return this.#enter(['chroot', ...asUser(user), this.root, 'env', '-i', ...environment, ...shell]);
  }

  /** The same; throws unless it ended well. Resolves with what it printed. */
  async mustRun(script: string, user = 'root'): Promise<string> {
    const { code, stdout, stderr } = await this.run(script, user);
    if (code !== 0) throw new Error(`exit status ${code}:\n${script}\n--- printed:\n${stdout}\n--- stderr:\n${stderr}`);
    return stdout;
  }

  /** Runs a script in the machines' mounts, but seeing this machine's files: to mount what a machine shall have. */
  async outside(script: string): Promise<void> {
    const { code, stderr } = await this.#enter(['sh', '-e', '-c', script, 'sh', this.root]);
    if (code !== 0) throw new Error(`exit status ${code}: ${script}: ${stderr}`);
  }

  /** Writes a file of a user, into a directory that is there. */
  async write(path: string, text: string, mode = 0o644, user = 'root'): Promise<void> {
    const shell = ['sh', '-e', '-c', 'rm -f "$1"; cat >"$1"; chmod "$2" "$1"', 'sh', path, mode.toString(8)];
    const argv = ['chroot', ...asUser(user), this.root, ...shell];
    const { code, stderr } = await this.#enter(argv, text);
    if (code !== 0) throw new Error(`cannot write ${path} (is there a ${dirname(path)}?): ${stderr}`);
  }

  #enter(argv: readonly string[], input = ''): Promise<ScriptResult> {
    return execute('nsenter', ['--target', this.#pid, '--mount', '--net', '--pid', '--', ...argv], input);
  }
}

function asUser(user: string): string[] {
  return user === 'root' ? [] : [`--userspec=${user}:${user}`];
}

function execute(program: string, args: readonly string[], input: string): Promise<ScriptResult> {
  return new Promise((resolve) => {
    const child = execFile(program, args, { maxBuffer: 16 * 1024 * 1024 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      resolve({ code, stdout, stderr: code === -1 ? `${stderr}${error?.message ?? ''}` : stderr });
    });
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(input);
  });
}

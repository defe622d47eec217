import { execFile, spawn } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { copyFile, mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const repository = fileURLToPath(new URL('../../', import.meta.url));
const builds = join(repository, '.tmp');
const buildAgeMsMax = 60 * 60_000;
let built: Promise<string> | undefined;

/**
 * The program, compiled from the sources as they are now: the path of its main.js. Compiled rather than run through tsx
 * because it is started hundreds of times: `list` takes half as long (0.35 s against 0.75 s on a busy machine). Every state of the sources has its own directory,
 * put in place by a rename, so that test files running at once can share it.
 */
export function builtProgram(): Promise<string> {
  built ??= build();
  return built;
}

async function build(): Promise<string> {
  const place = join(builds, `program-${await fingerprint(join(repository, 'src'))}`);
  const program = join(place, 'dist/cli/main.js');
  if ((await stat(program).catch(() => null)) !== null) return program;
  const temporary = join(builds, `building-${randomUUID()}`);
  await mkdir(temporary, { recursive: true });
  // Types are checked elsewhere; here the program is wanted even while somebody is working on them.
  const args = [
    '-p',
    'tsconfig.build.json',
    '--noCheck',
    '--declaration',
    'false',
    '--outDir',
    join(temporary, 'dist'),
  ];
  await promisify(execFile)(process.execPath, [join(repository, 'node_modules/typescript/bin/tsc'), ...args], {
    cwd: repository,
  });
  await copyFile(join(repository, 'package.json'), join(temporary, 'package.json'));
  await rename(temporary, place).catch(async (error: unknown) => {
    await rm(temporary, { recursive: true, force: true });
    if ((await stat(program).catch(() => null)) === null) throw error;
  });
  await removeOldBuilds();
  return program;
}

async function fingerprint(directory: string): Promise<string> {
  const hash = createHash('sha256');
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  for (const file of [...files.sort(), join(repository, 'package.json'), join(repository, 'tsconfig.json')]) {
    const { mtimeMs, size } = await stat(file);
    hash.update(`${file}\0${mtimeMs}\0${size}\0`);
  }
  return hash.digest('hex').slice(0, 16);
}

async function removeOldBuilds(): Promise<void> {
  for (const name of await readdir(builds)) {
    if (!/^(program|building)-/.test(name)) continue;
    const path = join(builds, name);
    const about = await stat(path).catch(() => null);
    if (about !== null && Date.now() - about.mtimeMs > buildAgeMsMax) await rm(path, { recursive: true, force: true });
  }
}

/** How a program ended and what it said. */
export interface ProgramResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** How to run it. */
export interface RunProgramOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly stdin?: string;
  /** Run as this user and group; for tests run by root. */
  readonly uid?: number;
}

/** A program under way. */
export interface StartedProgram {
  readonly pid: number;
  readonly ended: Promise<ProgramResult>;
  /** Resolves once stderr has said this; rejects if it ends without. */
  saidOnStderr(text: string): Promise<void>;
  kill(signal: NodeJS.Signals): void;
}

/** Runs `snapferry` with these arguments to its end. */
export async function runProgram(args: readonly string[], options: RunProgramOptions = {}): Promise<ProgramResult> {
  return (await startProgram(args, options)).ended;
}

/** Starts `snapferry` with these arguments. The caller awaits its end or kills it. */
export async function startProgram(args: readonly string[], options: RunProgramOptions = {}): Promise<StartedProgram> {
  const program = await builtProgram();
  const child = spawn(process.execPath, [program, ...args], {
    cwd: options.cwd ?? dirname(program),
    env: { PATH: process.env['PATH'], HOME: process.env['HOME'], TMPDIR: process.env['TMPDIR'], ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(options.uid !== undefined && { uid: options.uid, gid: options.uid }),
  });
  child.stdin.on('error', () => {});
  child.stdin.end(options.stdin ?? '');
  const heard = { stdout: '', stderr: '' };
  const listeners = new Set<() => void>();
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (piece: string) => {
      heard[name] += piece;
      for (const listener of listeners) listener();
    });
  }
  const ended = new Promise<ProgramResult>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      resolve({ code, ...heard });
      for (const listener of listeners) listener();
    });
  });
  return {
    pid: child.pid ?? -1,
    ended,
    kill: (signal) => void child.kill(signal),
    saidOnStderr: (text) =>
      new Promise((resolve, reject) => {
        const check = (): void => {
          if (heard.stderr.includes(text)) resolve();
          else if (child.exitCode !== null || child.signalCode !== null) {
            reject(new Error(`it ended without saying ${JSON.stringify(text)}: ${heard.stderr}`));
          }
        };
        listeners.add(check);
        check();
      }),
  };
}

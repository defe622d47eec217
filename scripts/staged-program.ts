import { execFile } from 'node:child_process';
import { chmod, copyFile, readFile, readdir, rm, rmdir, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative, sep } from 'node:path';
import { promisify } from 'node:util';
import type { BundledModule } from './debian-control.ts';

/** The repository. */
export const repository = join(import.meta.dirname, '..');

const run = promisify(execFile);

/**
 * Puts the compiled program into an empty directory, with exactly the libraries of the lock file that it needs to run, and of them only
 * what Node reads, and their licences. Needs the registry, or npm's cache.
 */
export async function stageProgram(directory: string): Promise<readonly BundledModule[]> {
  // Types are checked by `npm run check`.
  const compiler = join(repository, 'node_modules/typescript/bin/tsc');
  const options = [
    '-p',
    'tsconfig.build.json',
    '--noCheck',
    '--declaration',
    'false',
    '--outDir',
    join(directory, 'dist'),
  ];
  await run(process.execPath, [compiler, ...options], { cwd: repository });
  await setInterpreter(join(directory, 'dist/cli/main.js'));
  const lock = join(directory, 'package-lock.json');
  const description = join(directory, 'package.json');
  await copyFile(join(repository, 'package.json'), description);
  await copyFile(join(repository, 'package-lock.json'), lock);
  await installModules(directory);
  const modules = await bundledModules(directory);
  await removeWhatNodeDoesNotRead(join(directory, 'node_modules'));
  await rm(lock);
  const { name, version, license } = JSON.parse(await readFile(description, 'utf8')) as Record<string, string>;
  await writeFile(
    description,
    `${JSON.stringify({ name, version, license, type: 'module', private: true }, null, 2)}\n`,
  );
  return modules;
}

/** The Node of the distribution, not whatever is first on the PATH of whoever starts it. */
async function setInterpreter(file: string): Promise<void> {
  const text = await readFile(file, 'utf8');
  if (!text.startsWith('#!/usr/bin/env node\n')) throw new Error(`${file} does not begin as a program`);
  await writeFile(file, text.replace(/^.*\n/, '#!/usr/bin/node\n'));
  await chmod(file, 0o755);
}

async function installModules(directory: string): Promise<void> {
  // Without the optional native hash the package is the same for every architecture; the portable one takes its place.
  const choices = ['--omit=dev', '--omit=optional', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline'];
  // What `npm run` sets speaks of the repository.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^npm_(?!config_(registry|cache|userconfig))/.test(name)),
  );
  await run('npm', ['ci', '--prefix', directory, ...choices], { cwd: directory, env });
}

async function bundledModules(directory: string): Promise<readonly BundledModule[]> {
  const hidden = await readFile(join(directory, 'node_modules/.package-lock.json'), 'utf8');
  const { packages } = JSON.parse(hidden) as { packages: Record<string, { version: string; license?: string }> };
  return Object.entries(packages).map(([path, { version, license }]) => {
    const below = path.slice('node_modules/'.length);
    const name = path.split('node_modules/').at(-1) ?? path;
    if (license === undefined) throw new Error(`${name} ${version} names no licence: it cannot be given to others`);
    return { name, version, license, directory: below };
  });
}

const readByNode = /\.(js|mjs|cjs|json|wasm)$/;
const ofLawyers = /^(licen[cs]e|copying|notice)/i;
const notForUsers = /^(\.bin|\.github|test|tests|__tests__|bench|benchmark|benchmarks|coverage|docs|example|examples)$/;

async function removeWhatNodeDoesNotRead(modules: string): Promise<void> {
  const entries = await readdir(modules, { recursive: true, withFileTypes: true });
  for (const entry of entries.filter((one) => !one.isDirectory())) {
    const path = join(entry.parentPath, entry.name);
    const inside = relative(modules, dirname(path)).split(sep);
    const isKept = readByNode.test(entry.name) || ofLawyers.test(entry.name);
    const isHidden = entry.name.startsWith('.');
    // Libraries bring programs of their own; nobody here starts them.
    const isProgram = isKept && (await readFile(path, 'utf8')).startsWith('#!');
    if (!isKept || isHidden || isProgram || inside.some((name) => notForUsers.test(name))) await rm(path);
  }
  const directories = entries.filter((one) => one.isDirectory()).map((one) => join(one.parentPath, one.name));
  // The deepest first.
  for (const path of directories.sort((a, b) => b.length - a.length)) {
    if ((await readdir(path)).length === 0) await rmdir(path);
  }
}

/** Runs the staged program and takes what it prints. */
export async function askStaged(directory: string, args: readonly string[]): Promise<string> {
  const { stdout } = await run(process.execPath, [join(directory, 'dist/cli/main.js'), ...args], {
    maxBuffer: 2 ** 26,
  });
  if (stdout === '') throw new Error(`${basename(directory)} ${args.join(' ')} prints nothing`);
  return stdout;
}

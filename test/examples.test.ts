import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '..');
const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
const run = promisify(execFile);

/** Runs a program of Node's; what it said is in the error when it fails. */
async function node(directory: string, ...argv: readonly string[]): Promise<string> {
  try {
    return (await run(process.execPath, argv, { cwd: directory })).stdout;
  } catch (error) {
    const { stdout, stderr } = error as { stdout?: string; stderr?: string };
    throw new Error(`${argv.join(' ')} failed:\n${stdout ?? ''}${stderr ?? ''}`, { cause: error });
  }
}

/**
 * An installation in a folder of its own, built from the sources as they are now: the examples see the package through
 * its `exports` and its declarations alone, as a user's program does, and a stale `dist` is never what is tested.
 */
let user: string;

beforeAll(async () => {
  user = await mkdtemp(join(tmpdir(), 'snapferry-examples-'));
  const modules = join(user, 'node_modules');
  const installed = join(modules, 'snapferry');
  await mkdir(installed, { recursive: true });
  for (const name of await readdir(join(root, 'node_modules'))) {
    if (name !== 'snapferry') await symlink(join(root, 'node_modules', name), join(modules, name));
  }
  await cp(join(root, 'package.json'), join(installed, 'package.json'));
  const build = ['-p', join(root, 'tsconfig.build.json'), '--noCheck', '--outDir', join(installed, 'dist')];
  await node(root, tsc, ...build);
  await cp(join(root, 'examples'), join(user, 'examples'), { recursive: true });
  await writeFile(join(user, 'package.json'), JSON.stringify({ type: 'module', private: true }));
  const compilerOptions = {
    ...{ target: 'ES2022', lib: ['ES2023', 'ESNext.Disposable'], module: 'NodeNext', strict: true, skipLibCheck: true },
    ...{ types: ['node'], rootDir: 'examples', outDir: 'compiled' },
  };
  await writeFile(join(user, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['examples'] }));
  await node(user, tsc, '-p', '.');
});
afterAll(() => rm(user, { recursive: true, force: true }));

describe('examples', () => {
  it('memory-dataset: each pull sends only what was added', async () => {
    expect(await node(user, 'compiled/memory-dataset.js')).toBe(
      [
        'journal: true, 11 bytes',
        'journal: true, 17 bytes',
        'journal: true, 16 bytes',
        'The copy is complete.',
        '',
      ].join('\n'),
    );
  });
});

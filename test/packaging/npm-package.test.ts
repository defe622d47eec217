import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { commandTable } from '../../src/cli/command-table.ts';

const repository = join(import.meta.dirname, '../..');
const packedBytesMax = 900 * 1024;
const unpackedBytesMax = 4 * 1024 * 1024;
const run = promisify(execFile);

interface Packed {
  readonly size: number;
  readonly unpackedSize: number;
  readonly files: readonly { readonly path: string; readonly mode: number }[];
}

/** A copy of what the package is made from, with some of what must not be in it, built as `npm run build` does. */
let copy: string;
let packed: Packed;

beforeAll(async () => {
  copy = await mkdtemp(join(tmpdir(), 'snapferry-npm-'));
  for (const name of [
    'package.json',
    'README.md',
    'CHANGELOG.md',
    'LICENSE',
    'docs',
    'examples',
    'packaging',
    'scripts',
    'share',
    'src',
    'tsconfig.json',
    'tsconfig.build.json',
  ]) {
    await cp(join(repository, name), join(copy, name), { recursive: true });
  }
  for (const stray of ['dist/from-an-older-build.js', 'test/secret.ts', 'coverage/index.html', '.env']) {
    await mkdir(join(copy, stray, '..'), { recursive: true });
    await writeFile(join(copy, stray), '');
  }
  const { scripts } = JSON.parse(await readFile(join(copy, 'package.json'), 'utf8')) as { scripts: { build: string } };
  const PATH = `${join(repository, 'node_modules/.bin')}:${process.env['PATH'] ?? ''}`;
  await run('ln', ['-s', join(repository, 'node_modules'), join(copy, 'node_modules')]);
  // Types are checked elsewhere; here the package is wanted even while somebody is working on them.
  const build = scripts.build.replace('tsc -p', 'tsc --noCheck -p');
  await run('/bin/sh', ['-ec', build], { cwd: copy, env: { ...process.env, PATH } });
  const { stdout } = await run('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: copy });
  packed = (JSON.parse(stdout) as [Packed])[0];
}, 180_000);
afterAll(() => rm(copy, { recursive: true, force: true }));

describe('the package for npm', () => {
  test('has the program, the library, its documentation, and nothing else', () => {
    const strange = packed.files
      .map(({ path }) => path)
      .filter(
        (path) =>
          !/^(dist\/.+\.(js|d\.ts)|dist\/man\/.+\.1|dist\/grafana\/.+\.json|dist\/prometheus\/.+\.yml|docs\/[^/]+\.md)$/.test(
            path,
          ),
      );
    expect(strange.sort()).toEqual(['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json']);
    expect(packed.files.map(({ path }) => path)).not.toContain('dist/from-an-older-build.js');
  });

  test('has what package.json points to, and the program can be run', async () => {
    const { bin, exports } = JSON.parse(await readFile(join(repository, 'package.json'), 'utf8')) as {
      bin: Record<string, string>;
      exports: { '.': { types: string; default: string } };
    };
    const paths = new Map(packed.files.map(({ path, mode }) => [path, mode]));
    for (const path of [exports['.'].types, exports['.'].default])
      expect([...paths.keys()]).toContain(path.slice('./'.length));
    expect(paths.get(bin['snapferry']!)! & 0o111).toBe(0o111);
  });

  test('has every declaration that those of the library lead to', async () => {
    const paths = new Set(packed.files.map(({ path }) => path));
    const seen = new Set<string>();
    const follow = async (path: string): Promise<void> => {
      if (seen.has(path)) return;
      seen.add(path);
      expect([...paths], `${path} is not in the package`).toContain(path);
      const text = await readFile(join(copy, path), 'utf8');
      for (const [, to] of text.matchAll(/(?:from|import\() ?['"](\.[^'"]+)['"]/g)) {
        await follow(join(dirname(path), to!).replace(/\.(ts|js)$/, '.d.ts'));
      }
    };
    await follow('dist/index.d.ts');
    expect(seen.size).toBeGreaterThan(20);
  });

  test('has a manual page for every command', () => {
    const pages = packed.files.map(({ path }) => path).filter((path) => path.startsWith('dist/man/'));
    expect(pages.sort()).toEqual(
      ['dist/man/snapferry.1', ...commandTable.map(({ name }) => `dist/man/snapferry-${name}.1`)].sort(),
    );
  });

  test('is no larger than it has to be', () => {
    expect(packed.size).toBeLessThan(packedBytesMax);
    expect(packed.unpackedSize).toBeLessThan(unpackedBytesMax);
  });
});

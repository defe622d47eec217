/**
 * Builds the Debian package: `npm run deb -- [DIRECTORY]`, by default `.tmp`. The same sources give the same bytes: whatever has a time gets that of
 * SOURCE_DATE_EPOCH, by default the time of the last commit. Who maintains the package may be said in DEBIAN_MAINTAINER.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { buildTree } from './debian-tree.ts';
import { debianVersion } from './debian-control.ts';
import { repository } from './staged-program.ts';

const output = resolve(process.argv[2] ?? join(repository, '.tmp'));
const stage = mkdtempSync(join(tmpdir(), 'snapferry-deb-'));
try {
  const tree = join(stage, 'tree');
  const { version } = await buildTree(tree, {
    epochSeconds: epochSeconds(),
    maintainer: process.env['DEBIAN_MAINTAINER'] ?? 'snapferry <snapferry@users.noreply.github.com>',
  });
  mkdirSync(output, { recursive: true });
  const file = join(output, `snapferry_${debianVersion(version)}_all.deb`);
  execFileSync('dpkg-deb', ['--root-owner-group', '-Zxz', '--build', tree, file], {
    // One thread: how xz cuts its input into blocks is no matter of the machine.
    env: { ...process.env, SOURCE_DATE_EPOCH: String(epochSeconds()), DPKG_DEB_THREADS_MAX: '1' },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  console.log(file);
} finally {
  rmSync(stage, { recursive: true, force: true });
}

function epochSeconds(): number {
  const said = process.env['SOURCE_DATE_EPOCH'];
  const text = said ?? execFileSync('git', ['log', '-1', '--format=%ct'], { cwd: repository, encoding: 'utf8' }).trim();
  if (!/^\d+$/.test(text))
    throw new Error(`the time of the package is ${JSON.stringify(text)}, and should be in seconds since 1970`);
  return Number(text);
}

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { decodeHeader, encodeHeader, headerPath } from '../../../src/handlers/directory/manifest.ts';
import { takeSnapshot } from '../../../src/handlers/directory/snapshot.ts';
import { verifySnapshot, type VerifyReport } from '../../../src/handlers/directory/verify.ts';
import { isRoot, listenAt } from './kept-tree.ts';

let live: string;
let tree: string;
beforeEach(async () => {
  live = fs.mkdtempSync(join(tmpdir(), 'snapferry-verify-'));
  fs.mkdirSync(join(live, 'd'));
  fs.writeFileSync(join(live, 'd', 'a'), 'content of a');
  fs.writeFileSync(join(live, 'b'), 'content of b');
  fs.writeFileSync(join(live, 'big'), Buffer.alloc(5 * 1024 * 1024, 'big'));
  fs.linkSync(join(live, 'b'), join(live, 'c'));
  fs.symlinkSync('b', join(live, 'link'));
  fs.writeFileSync(join(live, 'tool'), '');
  fs.chmodSync(join(live, 'tool'), 0o4755);
  await takeSnapshot(live, { name: 'one' });
  tree = join(live, '.snapferry/snapshots/one');
});
afterEach(() => execFileSync('rm', ['-rf', live]));

/** Changes a file as a bad disk would: behind its times' back. */
function harm(path: string, change: (path: string) => void): void {
  const reference = join(fs.mkdtempSync(join(live, 'reference-')), 'times');
  execFileSync('touch', ['-r', path, reference]);
  change(path);
  execFileSync('touch', ['-h', '-r', reference, path]);
}

async function problemsOf(name: string | null = 'one'): Promise<VerifyReport['damaged']> {
  return (await verifySnapshot(live, name)).damaged;
}

describe('verifySnapshot', () => {
  it('finds nothing wrong with a sound snapshot, and says what it read', async () => {
    const messages: string[] = [];
    const report = await verifySnapshot(live, null, { onProgress: ({ message }) => messages.push(message) });
    expect(report).toMatchObject({ version: { name: 'one' }, files: 8, bytes: 12 + 12 + 5 * 1024 * 1024, damaged: [] });
    expect(messages[0]).toBe('verifying');
  });

  it.each<[string, string, (path: string) => void]>([
    ['one flipped bit', 'd/a', (path) => fs.writeFileSync(path, 'content of A')],
    [
      'one flipped bit in a big file',
      'big',
      (path) => {
        const file = fs.openSync(path, 'r+');
        fs.writeSync(file, 'X', 4 * 1024 * 1024);
        fs.closeSync(file);
      },
    ],
  ])('names the file with %s', async (_what, name, change) => {
    harm(join(tree, name), change);
    expect(await problemsOf()).toEqual([{ path: name, problem: 'has other content (SHA-256 differs)' }]);
  });

  it('names files that are cut, missing, surplus or of another type', async () => {
    harm(tree, () => {
      harm(join(tree, 'big'), (path) => fs.truncateSync(path, 100));
      harm(join(tree, 'd'), () => fs.rmSync(join(tree, 'd', 'a')));
      fs.writeFileSync(join(tree, 'extra\n'), '');
      fs.rmSync(join(tree, 'tool'));
      fs.mkdirSync(join(tree, 'tool'));
    });
    expect(await problemsOf()).toEqual([
      { path: 'big', problem: `has 100 bytes instead of ${5 * 1024 * 1024}` },
      { path: 'd/a', problem: 'is missing' },
      { path: 'tool', problem: 'is a directory instead of a file' },
      { path: 'extra\\u000a', problem: 'is not part of the snapshot' },
    ]);
  });

  it('names links that lead elsewhere', async () => {
    harm(tree, () => {
      fs.rmSync(join(tree, 'c'));
      fs.copyFileSync(join(tree, 'b'), join(tree, 'c'));
      execFileSync('touch', ['-r', join(tree, 'b'), join(tree, 'c')]);
      harm(join(tree, 'link'), (path) => {
        fs.rmSync(path);
        fs.symlinkSync('d/a', path);
      });
    });
    const problems = await problemsOf();
    expect(problems.map(({ path }) => path)).toEqual(['c', 'link']);
    expect(problems[0]!.problem).toMatch(/is no hard link to b/);
    expect(problems[1]!.problem).toMatch(/points elsewhere/);
  });

  it('names changed modes, owners and times', async ({ skip }) => {
    fs.chmodSync(join(tree, 'tool'), 0o755);
    fs.utimesSync(join(tree, 'd', 'a'), 1, 1);
    expect(await problemsOf()).toEqual([
      { path: 'd/a', problem: 'has another modification time' },
      { path: 'tool', problem: 'has mode 755 instead of 4755' },
    ]);
    if (!isRoot) skip('only root gives files away');
    fs.chownSync(join(tree, 'd'), 4242, 4243);
    expect((await problemsOf())[0]).toEqual({ path: 'd', problem: 'belongs to 4242:4243 instead of 0:0' });
  });

  it('forgives what could not be applied, and no more', async () => {
    const path = headerPath(join(live, '.snapferry/manifests'), 'one');
    const header = decodeHeader(fs.readFileSync(path, 'utf8'), path);
    fs.writeFileSync(path, encodeHeader({ ...header, notApplied: ['mode', 'owner'] }));
    fs.chmodSync(join(tree, 'tool'), 0o755);
    if (isRoot) fs.chownSync(join(tree, 'd'), 4242, 4243);
    expect(await problemsOf()).toEqual([]);
    fs.chmodSync(join(tree, 'b'), 0o4644);
    fs.chmodSync(join(tree, 'd'), 0o775);
    const problems = await problemsOf();
    expect(problems.map(({ path: name }) => name)).toEqual(['b', 'c', 'd']);
  });

  it('names a socket in a snapshot', async () => {
    const server = await listenAt(join(tree, 's'));
    try {
      expect((await problemsOf()).map(({ path }) => path)).toEqual(['s', '.']);
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
  });

  it('fails for a snapshot that is not there, a damaged manifest and a cancelled run', async () => {
    await expect(problemsOf('two')).rejects.toMatchObject({ code: 'VERSION_NOT_FOUND' });
    await expect(verifySnapshot(join(live, 'd'), null)).rejects.toMatchObject({ code: 'DATASET_NOT_FOUND' });
    const signal = AbortSignal.abort();
    await expect(verifySnapshot(live, null, { signal })).rejects.toMatchObject({ code: 'CANCELLED' });
    fs.writeFileSync(join(live, '.snapferry/manifests/one.entries.gz'), 'x');
    await expect(problemsOf()).rejects.toMatchObject({ code: 'SOURCE_FAILED' });
  });
});

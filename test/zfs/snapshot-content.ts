import { hash } from 'node:crypto';
import { lstatSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { run } from './pools.ts';

/** What a tree holds: path, mode, owner, time and content of everything in it. */
export function describeContent(root: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const { mode, uid, gid, mtimeMs, nlink } = lstatSync(path);
    const content = entry.isFile()
      ? hash('sha256', readFileSync(path), 'hex')
      : entry.isSymbolicLink()
        ? readlinkSync(path)
        : '';
    found[relative(root, path)] = `${mode.toString(8)} ${uid}:${gid} ${mtimeMs} ${nlink} ${content}`;
  }
  return found;
}

/** The content of a snapshot of a filesystem, wherever its dataset is mounted, if at all. */
export function snapshotContent(snapshot: string): Record<string, string> {
  const directory = mkdtempSync(join(tmpdir(), 'snapferry-mnt-'));
  run('mount', '-t', 'zfs', '-o', 'ro', snapshot, directory);
  try {
    return describeContent(directory);
  } finally {
    run('umount', directory);
    rmdirSync(directory);
  }
}

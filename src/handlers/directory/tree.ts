import { randomBytes } from 'node:crypto';
import { lstatSync, mkdirSync, readdirSync, renameSync, rmdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { geteuid } from 'node:process';
import { runCommand, spawnCommand, type RunningCommand } from '../run-command.ts';
import type { ByteString } from './entry.ts';
import { bytePath } from './scan.ts';

/**
 * Removes a tree with everything in it; no error when there is none. Never follows a symlink, and copes with names in
 * any bytes, with which Node's own `rm` does not.
 * @param path absolute
 * @throws SnapferryError `SOURCE_FAILED` with what `rm` said
 */
export async function removeTree(path: string | Buffer, signal?: AbortSignal): Promise<void> {
  // Through stdin, for Node's arguments cannot hold a name that is not UTF-8.
  const stdin = Buffer.concat([Buffer.from(path), Buffer.of(0)]);
  if (geteuid?.() !== 0) {
    // Without write permission on a directory its owner cannot empty it, unless he is root.
    const makeWritable = ['-type', 'd', '!', '-perm', '-700', '-exec', 'chmod', 'u+rwx', '{}', ';'];
    const argv = ['xargs', '-0', '-I', '%', 'find', '%', ...makeWritable] as const;
    await runCommand({ argv, stdin, signal }).catch(() => undefined);
  }
  await runCommand({ argv: ['xargs', '-0', 'rm', '-rf', '--one-file-system', '--'], stdin, signal });
}

/** Removes what is at a path of a tree: a file without a child process, a directory with everything in it. */
export async function removeAt(root: string, path: ByteString): Promise<void> {
  const bytes = bytePath(root, path);
  if (lstatSync(bytes, { throwIfNoEntry: false })?.isDirectory() === true) await removeTree(bytes);
  else rmSync(bytes, { force: true });
}

/**
 * Makes `target` a copy of the tree `base` in which every file is a hard link to the one in `base`; directories are
 * copied with all their metadata.
 * @param base absolute, as `target`, which must not exist
 */
export async function copyTreeLinked(base: string, target: string, signal?: AbortSignal): Promise<void> {
  await runCommand({ argv: ['cp', '-al', '--no-target-directory', '--', base, target], signal });
}

/** Brings everything written so far to the file system that holds `path` onto its disk. */
export async function syncFileSystem(path: string, signal?: AbortSignal): Promise<void> {
  await runCommand({ argv: ['sync', '--file-system', '--', path], signal });
}

const keepAttributes = ['--xattrs', '--xattrs-include=*', '--acls', '--numeric-owner'] as const;

/**
 * Gives directories of `target` the mode, owner, times, extended attributes and ACLs of those of the same path in
 * `source`. The directories exist in both.
 * @throws SnapferryError `SOURCE_FAILED` with what `tar` said, e.g. of a directory that vanished or changed meanwhile;
 * the others are done then
 */
export async function copyDirectoryMetadata(
  source: string,
  target: string,
  paths: readonly ByteString[],
  signal?: AbortSignal,
): Promise<void> {
  const archive = archiveDirectories(source, paths, signal);
  const owner = geteuid?.() === 0 ? '--same-owner' : '--no-same-owner';
  const extract = ['--extract', '--preserve-permissions', owner, '--delay-directory-restore'];
  try {
    await runCommand({ argv: ['tar', ...extract, ...keepAttributes], cwd: target, stdin: archive.stdout, signal });
    await archive.finished;
  } finally {
    await archive.stop();
  }
}

function archiveDirectories(root: string, paths: readonly ByteString[], signal?: AbortSignal): RunningCommand {
  const names = Buffer.from(paths.map((path) => `./${path}\0`).join(''), 'latin1');
  const create = ['--create', '--format=posix', '--no-recursion', '--null', '--files-from=-'];
  return spawnCommand({ argv: ['tar', ...create, ...keepAttributes], cwd: root, stdin: names, signal });
}

/**
 * Strips directories of a tree of their extended attributes and ACLs, which {@link copyDirectoryMetadata} adds to but
 * does not remove: each is replaced by a new one (mode 0700) with the same content. Does nothing when there are none.
 * @param paths in path order
 */
export async function stripDirectories(
  root: string,
  paths: readonly ByteString[],
  signal?: AbortSignal,
): Promise<void> {
  if (paths.length === 0 || !(await haveAttributes(root, paths, signal))) return;
  // From the leaves up, so that the paths stay what they are.
  for (const path of paths.toReversed()) {
    const old = bytePath(root, path);
    const fresh = Buffer.concat([bytePath(dirname(root), '.renewed.'), Buffer.from(randomBytes(6).toString('hex'))]);
    mkdirSync(fresh, { mode: 0o700 });
    for (const name of readdirSync(old, 'latin1')) {
      const bytes = Buffer.from(`/${name}`, 'latin1');
      renameSync(Buffer.concat([old, bytes]), Buffer.concat([fresh, bytes]));
    }
    rmdirSync(old);
    renameSync(fresh, old);
  }
}

/** Node cannot ask for extended attributes, but in an archive they show. */
async function haveAttributes(root: string, paths: readonly ByteString[], signal?: AbortSignal): Promise<boolean> {
  const archive = archiveDirectories(root, paths, signal);
  let rest = '';
  let isFound = false;
  for await (const piece of archive.stdout) {
    const text = rest + Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength).toString('latin1');
    isFound ||= text.includes('SCHILY.');
    rest = text.slice(-8);
  }
  await archive.finished;
  return isFound;
}

/** Sets the time of one name exactly, to the nanosecond, as Node cannot. Does not follow a symlink. */
export async function setTime(root: string, path: ByteString, mtimeNs: bigint): Promise<void> {
  const digits = String(mtimeNs < 0n ? -mtimeNs : mtimeNs).padStart(10, '0');
  const date = `--date=@${mtimeNs < 0n ? '-' : ''}${digits.slice(0, -9)}.${digits.slice(-9)}`;
  const stdin = Buffer.concat([bytePath(root, path), Buffer.of(0)]);
  await runCommand({ argv: ['xargs', '-0', 'touch', '--no-create', '--no-dereference', '-m', date, '--'], stdin });
}

import { geteuid } from 'node:process';
import { runCommand } from '../run-command.ts';

/**
 * Removes a tree with everything in it; no error when there is none. Never follows a symlink, and copes with names in
 * any bytes, with which Node's own `rm` does not.
 * @param directory absolute
 * @throws SnapferryError `SOURCE_FAILED` with what `rm` said
 */
export async function removeTree(directory: string, signal?: AbortSignal): Promise<void> {
  if (geteuid?.() !== 0) {
    // Without write permission on a directory its owner cannot empty it, unless he is root.
    const argv = ['find', directory, '-type', 'd', '!', '-perm', '-700', '-exec', 'chmod', 'u+rwx', '{}', ';'] as const;
    await runCommand({ argv, signal }).catch(() => undefined);
  }
  await runCommand({ argv: ['rm', '-rf', '--one-file-system', '--', directory], signal });
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

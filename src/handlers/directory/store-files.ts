import { randomBytes } from 'node:crypto';
import { open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** Suffix of a file that is being written; what carries it is litter unless its writer lives. */
export const temporarySuffix = '.tmp';

/** Whether an error of the file system has one of these codes (`ENOENT`, ...). */
export function isErrno(error: unknown, ...codes: readonly string[]): error is NodeJS.ErrnoException {
  return error instanceof Error && codes.includes((error as NodeJS.ErrnoException).code ?? '');
}

/** A name beside `path` that nobody else uses. */
export function temporaryPath(path: string): string {
  // Not built from the name of `path`, which may be as long as names can be.
  return join(dirname(path), `${process.pid}-${randomBytes(6).toString('hex')}${temporarySuffix}`);
}

/** Makes what happened in a directory (creations, renames) survive a power cut. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Writes a file so that a reader, and a machine that loses power, sees the old content or the new one: written beside
 * it by `write`, synced, renamed. `write` creates the file it is given the path of, with mode 0600.
 */
export async function replaceDurably(path: string, write: (temporary: string) => Promise<void>): Promise<void> {
  const temporary = temporaryPath(path);
  try {
    await write(temporary);
    const handle = await open(temporary, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncDirectory(dirname(path));
}

import { lstat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { checkVersionName } from '../../dataset.ts';
import { SnapferryError } from '../../errors.ts';
import { isErrno } from '../directory/store-files.ts';

/** The folder beside datasets in which notes about them are kept. */
export const storeFolderName = '.snapferry';

/** What a subvolume begins with while it is received, so that nobody takes it for a snapshot. */
export const temporaryPrefix = '.snapferry-receiving-';

const nameBytesMax = 255;
const controlCharacter = /[\u0000-\u001f\u007f]/;

/**
 * Refuses the path of a dataset that nothing should be done with: relative, `/`, with `..` or control characters, our own folder, or
 * one whose snapshots would have no place.
 * @throws SnapferryError `INVALID_REQUEST`
 */
export function checkDatasetFolder(path: string): void {
  const refuse = (why: string): never => {
    throw new SnapferryError('INVALID_REQUEST', `${JSON.stringify(path)} cannot be a dataset: ${why}`);
  };
  if (!path.startsWith('/')) refuse('it is not absolute');
  if (path === '/') refuse('the root directory has no place beside it for its snapshots');
  const components = path.slice(1).split('/');
  if (components.some((component) => ['', '.', '..'].includes(component))) refuse('it is not in its simplest form');
  if (controlCharacter.test(path)) refuse('it has a control character');
  if (components.includes(storeFolderName)) refuse(`what is in ${storeFolderName} belongs to snapferry`);
  if (basename(path).startsWith(temporaryPrefix)) refuse('that is the name of an unfinished receive');
}

/**
 * Where the snapshot `name` of a dataset is, or is to be: `DATASET@NAME` beside it, or in `folder`.
 * @throws SnapferryError `INVALID_REQUEST` for a name that cannot be one
 */
export function snapshotPath(dataset: string, name: string, folder = dirname(dataset)): string {
  checkVersionName(name);
  const file = `${basename(dataset)}@${name}`;
  if (Buffer.byteLength(file) > nameBytesMax) {
    const text = `"${file}" is longer than ${nameBytesMax} bytes, which no file system takes; use a shorter snapshot name`;
    throw new SnapferryError('INVALID_REQUEST', text);
  }
  return join(folder, file);
}

/** @throws SnapferryError `INVALID_REQUEST` when something is where a snapshot is to be */
export async function requireFree(path: string): Promise<void> {
  try {
    await lstat(path);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return;
    throw error;
  }
  const text = `${path} is in the way of the snapshot that is to be there; move it elsewhere, or use another name`;
  throw new SnapferryError('INVALID_REQUEST', text);
}

/** Whether a text can be the name of a version on the wire. */
export function isVersionName(name: string): boolean {
  try {
    checkVersionName(name);
    return true;
  } catch {
    return false;
  }
}

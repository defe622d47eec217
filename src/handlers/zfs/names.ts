import { checkDatasetPath, checkVersionName } from '../../dataset.ts';
import type { DatasetPath, FilesystemVersion } from '../../dataset.ts';
import { SnapferryError } from '../../errors.ts';

/** The longest name ZFS takes, in bytes: of a dataset, and of a dataset, `@` or `#`, and a version together. */
export const zfsNameBytesMax = 255;

/** The longest hold tag that is safe, in bytes. One of 256 bytes is taken by ZFS and hangs the pool for good. */
export const holdTagBytesMax = 255;

const componentPattern = /^[A-Za-z0-9_.: -]+$/;
const poolPattern = /^[A-Za-z]/;

function refuse(what: string, name: string, why: string): never {
  const shown = JSON.stringify(name.length > 300 ? `${name.slice(0, 300)}...` : name);
  throw new SnapferryError('INVALID_REQUEST', `${what} ${shown} ${why}`);
}

/**
 * Refuses what is no name of a ZFS dataset, so that whatever passes can stand on a command line: it begins with a letter, and
 * has only letters, digits, `_`, `-`, `.`, `:`, space and the slashes between its components.
 * @throws SnapferryError `INVALID_REQUEST`
 */
export function checkDatasetName(name: string): void {
  checkDatasetPath(name.split('/'));
  if (!poolPattern.test(name)) refuse('dataset name', name, 'does not begin with a letter');
  for (const component of name.split('/')) {
    if (component.startsWith('-')) refuse('dataset name', name, 'has a component that begins with "-"');
    if (!componentPattern.test(component)) refuse('dataset name', name, 'has a character that ZFS does not allow');
  }
  if (name.length > zfsNameBytesMax) refuse('dataset name', name, `is longer than ${zfsNameBytesMax} bytes`);
}

/** The name of the dataset at this path. @throws SnapferryError `INVALID_REQUEST` as {@link checkDatasetName} does */
export function datasetName(path: DatasetPath): string {
  checkDatasetPath(path);
  const name = path.join('/');
  checkDatasetName(name);
  return name;
}

/** The path of a dataset. @throws SnapferryError `INVALID_REQUEST` as {@link checkDatasetName} does */
export function datasetPath(name: string): DatasetPath {
  checkDatasetName(name);
  return name.split('/');
}

/**
 * The full name of a version: `tank/home@monday`, `tank/home#cursor`. It cannot be an option, nor name more than one version.
 * @throws SnapferryError `INVALID_REQUEST` for a name ZFS would not take, together with the dataset's, and for a version that is
 *   neither a snapshot nor a bookmark
 */
export function versionName(dataset: string, version: Pick<FilesystemVersion, 'type' | 'name'>): string {
  checkDatasetName(dataset);
  const { type, name } = version;
  if (type !== 'snapshot' && type !== 'bookmark')
    refuse('version', name, `is a ${JSON.stringify(type)}, unknown to ZFS`);
  checkVersionName(name);
  if (!componentPattern.test(name)) refuse(`${type} name`, name, 'has a character that ZFS does not allow');
  const full = `${dataset}${type === 'snapshot' ? '@' : '#'}${name}`;
  if (full.length > zfsNameBytesMax) refuse(`${type} name`, full, `is longer than ${zfsNameBytesMax} bytes`);
  return full;
}

/** A full name of a version, taken apart; null if it is none. */
export function splitVersionName(
  fullName: string,
): { readonly dataset: string; readonly type: 'snapshot' | 'bookmark'; readonly name: string } | null {
  const at = fullName.search(/[@#]/);
  if (at <= 0 || at === fullName.length - 1) return null;
  return {
    dataset: fullName.slice(0, at),
    type: fullName[at] === '@' ? 'snapshot' : 'bookmark',
    name: fullName.slice(at + 1),
  };
}

/**
 * Refuses a hold tag that ZFS would not take, or that would do harm.
 * @throws SnapferryError `INVALID_REQUEST`
 */
export function checkHoldTag(tag: string): void {
  if (tag === '') refuse('hold tag', tag, 'is empty');
  if (/^[.-]/.test(tag)) refuse('hold tag', tag, 'begins with "." or "-"');
  if (/[\u0000-\u001f\u007f]/.test(tag)) refuse('hold tag', tag, 'has a control character');
  if (Buffer.byteLength(tag) > holdTagBytesMax) {
    refuse('hold tag', tag, `is longer than ${holdTagBytesMax} bytes; ZFS hangs on one of 256`);
  }
}

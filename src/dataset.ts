import { SnapferryError } from './errors.ts';

/**
 * The name of a dataset, one element per component: `tank/home` is `['tank', 'home']`. A directory is named by the
 * components of its absolute path.
 */
export type DatasetPath = readonly string[];

/** A snapshot or bookmark of a dataset, as it travels on the wire (docs/PROTOCOL.md section 2). */
export interface FilesystemVersion {
  /** `snapshot` or `bookmark`. Another text, from a newer peer, is kept but never planned with. */
  readonly type: string;
  /** What follows `@` or `#` in the full name. */
  readonly name: string;
  /** Identity across hosts: the copy of a snapshot has the guid of its original. Unsigned 64 bits. */
  readonly guid: bigint;
  /** Order within one dataset on one host; not comparable between hosts. Unsigned 64 bits. */
  readonly createTXG: bigint;
  /** When it was made, RFC 3339, exactly as its owner wrote it; null when unknown. */
  readonly creation: string | null;
}

const pathBytesMax = 4096;
const componentBytesMax = 255;
const versionNameBytesMax = 255;

const controlCharacter = /[\u0000-\u001f\u007f]/;

/** `tank/home` for `['tank', 'home']`; for people and logs. */
export function formatDatasetPath(path: DatasetPath): string {
  return path.join('/');
}

/** The inverse of {@link formatDatasetPath}; a leading slash is accepted. Validated as by {@link checkDatasetPath}. */
export function parseDatasetPath(text: string): DatasetPath {
  const path = text.replace(/^\//, '').split('/');
  checkDatasetPath(path);
  return path;
}

/**
 * Refuses a path no backend may ever act on: empty, too long, or with a component that is empty, `.` or `..`, holds a
 * slash or a control character. Backends add their own rules (ZFS: no `@`, `#`, no leading `-`).
 * @throws SnapferryError `INVALID_REQUEST`
 */
export function checkDatasetPath(path: DatasetPath): void {
  const refuse = (why: string): never => {
    throw new SnapferryError('INVALID_REQUEST', `dataset name ${JSON.stringify(path)} ${why}`);
  };
  if (path.length === 0) refuse('is empty');
  if (Buffer.byteLength(path.join('/')) > pathBytesMax) refuse(`is longer than ${pathBytesMax} bytes`);
  for (const component of path) {
    if (component === '') refuse('has an empty component');
    if (component === '.' || component === '..') refuse(`has the component "${component}"`);
    if (component.includes('/')) refuse('has a slash inside a component');
    if (controlCharacter.test(component)) refuse('has a control character');
    if (Buffer.byteLength(component) > componentBytesMax) refuse(`has a component over ${componentBytesMax} bytes`);
  }
}

/**
 * Refuses the name of a snapshot or bookmark that could be an option, a path or two names.
 * @throws SnapferryError `INVALID_REQUEST`
 */
export function checkVersionName(name: string): void {
  const refuse = (why: string): never => {
    throw new SnapferryError('INVALID_REQUEST', `snapshot name ${JSON.stringify(name)} ${why}`);
  };
  if (name === '' || name === '.' || name === '..') refuse('is not a name');
  if (name.startsWith('-')) refuse('begins with "-"');
  if (/[/@#]/.test(name)) refuse('has a "/", "@" or "#"');
  if (controlCharacter.test(name)) refuse('has a control character');
  if (Buffer.byteLength(name) > versionNameBytesMax) refuse(`is longer than ${versionNameBytesMax} bytes`);
}

/** Whether both name the same dataset. */
export function sameDataset(a: DatasetPath, b: DatasetPath): boolean {
  return a.length === b.length && a.every((component, index) => component === b[index]);
}

/** `@name` or `#name`, as ZFS writes it after the dataset. */
export function formatVersion(version: Pick<FilesystemVersion, 'type' | 'name'>): string {
  return (version.type === 'bookmark' ? '#' : '@') + version.name;
}

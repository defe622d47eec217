import { checkVersionName, formatDatasetPath } from '../dataset.ts';
import type { DatasetPath } from '../dataset.ts';
import { UsageError } from './usage-error.ts';

/** What keeps the snapshots of a dataset. */
export type Backend = 'directory' | 'zfs' | 'btrfs';

/** A dataset on some machine. */
export interface Place {
  readonly backend: Backend;
  /** Of a directory: its path. Of ZFS: the dataset's name. Of btrfs: the absolute path of the subvolume. Never empty. */
  readonly path: string;
}

/** A dataset on this machine. A directory's path is as it was given; it may be relative to the working directory. */
export interface LocalLocation extends Place {
  readonly kind: 'local';
}

/**
 * A dataset on another machine, reached over ssh. A directory's path is absolute, or begins with `./` or `../` and is
 * relative to the remote home; it never begins with `-`.
 */
export interface RemoteLocation extends Place {
  readonly kind: 'remote';
  readonly user: string | null;
  /** A host name, an alias of ssh's configuration, or an address; an IPv6 address without its brackets. */
  readonly host: string;
  /** Null: ssh's own choice. */
  readonly port: number | null;
}

/** Where a dataset is. */
export type Location = LocalLocation | RemoteLocation;

const schemes: Readonly<Record<string, Backend>> = { dir: 'directory', zfs: 'zfs', btrfs: 'btrfs' };
const hostPattern = /^[A-Za-z0-9_][A-Za-z0-9._-]*$/;
const addressPattern = /^[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?$/;
const userPattern = /^[A-Za-z0-9_][A-Za-z0-9._+@\\-]*$/;

/**
 * Reads a location as rsync and syncoid users write it: `/path`, `./path`, `path`, `dir:/path`, `zfs:pool/dataset`,
 * `btrfs:/path`, `[user@]host:` and `[user@][::1]:` before any of them, and `ssh://[user@]host[:port]/` before a path or
 * `zfs:pool/dataset`. It is remote when a colon comes before any slash, so `./a:b` is local. `host:path` without a leading
 * slash is relative to the remote home.
 * @throws UsageError for anything else
 */
export function parseLocation(text: string): Location {
  if (text === '') throw new UsageError('a location is empty; give a directory, or host:directory');
  if (text.includes('\0')) throw new UsageError(`location ${JSON.stringify(text)} has a NUL character`);
  if (/^ssh:\/\//i.test(text)) return parseSSHAddress(text);
  const place = parseScheme(text, text);
  if (place !== null) return { kind: 'local', ...place };

  const bracketed = /^(?:([^/@[\]]*)@)?\[([^\]/]*)\]:(.*)$/s.exec(text);
  if (bracketed !== null) {
    const [, user, address, path] = bracketed;
    return remote(text, user ?? null, checkAddress(text, address ?? ''), null, path ?? '');
  }
  const plain = /^([^/:]*):(.*)$/s.exec(text);
  if (plain === null) return { kind: 'local', backend: 'directory', path: text };
  const [, target = '', path = ''] = plain;
  const at = target.lastIndexOf('@');
  return remote(text, at < 0 ? null : target.slice(0, at), checkHost(text, target.slice(at + 1)), null, path);
}

function parseSSHAddress(text: string): RemoteLocation {
  const parts = /^ssh:\/\/(?:([^/@[\]]*)@)?(?:\[([^\]/]*)\]|([^/:@[\]]*))(?::([^/]*))?(\/.*)?$/is.exec(text);
  if (parts === null) throw new UsageError(`location "${text}" is not of the form ssh://[user@]host[:port]/path`);
  const [, user, address, host, portText, path] = parts;
  const port = portText === undefined ? null : Number(portText);
  if (port !== null && !(/^\d+$/.test(portText ?? '') && port >= 1 && port <= 65535)) {
    throw new UsageError(`location "${text}" has the port "${portText ?? ''}", which is not a number from 1 to 65535`);
  }
  if (path === undefined) throw new UsageError(`location "${text}" names no directory; put /path after the host`);
  const checkedHost = address === undefined ? checkHost(text, host ?? '') : checkAddress(text, address);
  const rest = (decode(text, path) ?? '').replace(/^\/(?=~|(?:dir|zfs|btrfs):)/, '');
  return remote(text, decode(text, user) ?? null, checkedHost, port, rest);
}

function decode(text: string, part: string | undefined): string | undefined {
  try {
    return part === undefined ? undefined : decodeURIComponent(part);
  } catch {
    throw new UsageError(`location "${text}" has a "%" that is not followed by two hexadecimal digits`);
  }
}

/**
 * Reads what {@link formatPlace} wrote: `zfs:`, `btrfs:` or `dir:` and what is behind it, or the path of a directory, whatever
 * colons it may have.
 * @throws UsageError
 */
export function parsePlace(text: string): Place {
  if (text === '') throw new UsageError('a location is empty; give a directory, or zfs:pool/dataset');
  return parseScheme(text, text) ?? { backend: 'directory', path: text };
}

/** What stands behind `dir:`, `zfs:` or `btrfs:`; null when the text names no backend. `text` is the whole, for errors. */
function parseScheme(text: string, place: string): Place | null {
  const colon = place.indexOf(':');
  const scheme = colon < 0 ? '' : place.slice(0, colon);
  if (!Object.hasOwn(schemes, scheme)) return null;
  const backend = schemes[scheme] ?? 'directory';
  const path = place.slice(colon + 1);
  if (path === '') {
    throw new UsageError(`location "${text}" names no ${backend === 'directory' ? 'directory' : 'dataset'}`);
  }
  if (backend === 'zfs' && path.startsWith('/')) {
    const why = `"${path}" is a path, not the name of a ZFS dataset; "zfs list" has the names`;
    throw new UsageError(`location "${text}": ${why}, e.g. zfs:tank/home`);
  }
  if (backend === 'zfs' && !/^[A-Za-z]/.test(path)) {
    throw new UsageError(`location "${text}": "${path}" is not the name of a ZFS dataset; those begin with a letter`);
  }
  if (backend === 'btrfs' && !path.startsWith('/')) {
    throw new UsageError(`location "${text}": a btrfs subvolume is named by its absolute path, e.g. btrfs:/data/@home`);
  }
  return { backend, path };
}

function remote(text: string, user: string | null, host: string, port: number | null, rest: string): RemoteLocation {
  if (user !== null && !userPattern.test(user)) {
    throw new UsageError(`location "${text}": "${user}" is not the name of a user`);
  }
  if (rest.includes('\0')) throw new UsageError(`location ${JSON.stringify(text)} has a NUL character`);
  const place = parseScheme(text, rest) ?? { backend: 'directory', path: rest };
  const path = place.backend === 'directory' ? remotePath(text, place.path) : place.path;
  return { kind: 'remote', user, host, port, backend: place.backend, path };
}

/** A path that no program on the way can take for an option, a backend or a host. */
function remotePath(text: string, path: string): string {
  if (path.startsWith('/') || /^\.\.?(\/|$)/.test(path)) return path;
  if (path === '' || path === '~') return '.';
  if (path.startsWith('~/')) return `./${path.slice(2)}`;
  if (path.startsWith('~')) {
    throw new UsageError(`location "${text}": the home of another user is not looked up; give the whole path`);
  }
  return `./${path}`;
}

function checkHost(text: string, host: string): string {
  if (hostPattern.test(host)) return host;
  throw new UsageError(
    `location "${text}": "${host}" is not a host name; a local path with a colon is written ./${text}`,
  );
}

function checkAddress(text: string, address: string): string {
  if (addressPattern.test(address)) return address;
  throw new UsageError(`location "${text}": "${address}" is not an address`);
}

/** The place as a person would type it on its own machine; {@link parsePlace} reads it back. */
export function formatPlace({ backend, path }: Place): string {
  if (backend !== 'directory') return `${backend}:${path}`;
  // A directory that is called like a backend must not be taken for one.
  return /^(dir|zfs|btrfs):/.test(path) ? `./${path}` : path;
}

/** A dataset as a person would type it on its own machine, by its name on the wire: `/srv/data`, `zfs:tank/home`. */
export function formatDatasetOf(backend: Backend, filesystem: DatasetPath): string {
  const name = formatDatasetPath(filesystem);
  return formatPlace({ backend, path: backend === 'zfs' ? name : `/${name}` });
}

/** The location as a person would type it; {@link parseLocation} reads it back. */
export function formatLocation(location: Location): string {
  const place = formatPlace(location);
  if (location.kind === 'local') return place;
  const host = location.host.includes(':') ? `[${location.host}]` : location.host;
  const target = (location.user === null ? '' : `${location.user}@`) + host;
  if (location.port === null) return `${target}:${place}`;
  const behindHost = location.backend === 'directory' ? `~/${place.replace(/^\.\/?/, '')}` : place;
  const path = place.startsWith('/') ? place : `/${behindHost}`;
  return `ssh://${target}:${location.port}${encodeURI(path)}`;
}

/** A location and the snapshot of it that is meant; null: the newest. */
export interface SnapshotLocation {
  readonly location: Location;
  readonly snapshot: string | null;
}

/**
 * Splits `LOCATION@SNAPSHOT` at the last `@` behind the last slash. A local directory that exists as it stands wins over a
 * split; elsewhere a trailing slash (`host:/srv/a@b/`) says that the `@` belongs to the directory's name. In the name of a
 * btrfs subvolume an `@` in front (`@home`) is part of it.
 * @param exists whether the path of a local directory exists
 * @throws UsageError when what follows the `@` cannot be the name of a snapshot
 */
export function splitSnapshot(location: Location, exists: (path: string) => boolean): SnapshotLocation {
  const { path, backend } = location;
  const nameBegins = path.lastIndexOf('/') + 1;
  const at = path.lastIndexOf('@');
  const isNone = at < nameBegins || (backend === 'btrfs' && at === nameBegins);
  if (isNone || (backend === 'directory' && location.kind === 'local' && exists(path))) {
    return { location, snapshot: null };
  }
  const snapshot = path.slice(at + 1);
  try {
    checkVersionName(snapshot);
  } catch (error) {
    throw new UsageError(`location "${formatLocation(location)}": ${(error as Error).message}`, { cause: error });
  }
  const dataset = path.slice(0, at);
  if (dataset === '') {
    throw new UsageError(`location "${formatLocation(location)}" names a snapshot but no directory or dataset`);
  }
  return { location: { ...location, path: dataset }, snapshot };
}

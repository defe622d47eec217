import { checkVersionName } from '../dataset.ts';
import { UsageError } from './usage-error.ts';

/** A directory on this machine. */
export interface LocalLocation {
  readonly kind: 'local';
  /** As it was given; may be relative to the working directory. Never empty. */
  readonly path: string;
}

/** A directory on another machine, reached over ssh. */
export interface RemoteLocation {
  readonly kind: 'remote';
  readonly user: string | null;
  /** A host name, an alias of ssh's configuration, or an address; an IPv6 address without its brackets. */
  readonly host: string;
  /** Null: ssh's own choice. */
  readonly port: number | null;
  /** Absolute, or beginning with `./` or `../` and relative to the remote home. Never begins with `-`. */
  readonly path: string;
}

/** Where a dataset is. */
export type Location = LocalLocation | RemoteLocation;

const absentBackends = ['zfs', 'btrfs'];
const hostPattern = /^[A-Za-z0-9_][A-Za-z0-9._-]*$/;
const addressPattern = /^[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?$/;
const userPattern = /^[A-Za-z0-9_][A-Za-z0-9._+@\\-]*$/;

/**
 * Reads a location as rsync and syncoid users write it: `/path`, `./path`, `path`, `dir:/path`, `[user@]host:path`,
 * `[user@][::1]:path` and `ssh://[user@]host[:port]/path`. It is remote when a colon comes before any slash, so `./a:b`
 * is local. `host:path` without a leading slash is relative to the remote home.
 * @throws UsageError for anything else, and for the backends `zfs:` and `btrfs:`, which this version does not have
 */
export function parseLocation(text: string): Location {
  if (text === '') throw new UsageError('a location is empty; give a directory, or host:directory');
  if (text.includes('\0')) throw new UsageError(`location ${JSON.stringify(text)} has a NUL character`);
  if (/^ssh:\/\//i.test(text)) return parseSSHAddress(text);
  const scheme = parseBackend(text);
  if (scheme !== null) return { kind: 'local', path: scheme };

  const bracketed = /^(?:([^/@[\]]*)@)?\[([^\]/]*)\]:(.*)$/s.exec(text);
  if (bracketed !== null) {
    const [, user, address, path] = bracketed;
    return remote(text, user ?? null, checkAddress(text, address ?? ''), null, path ?? '');
  }
  const plain = /^([^/:]*):(.*)$/s.exec(text);
  if (plain === null) return { kind: 'local', path: text };
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
  return remote(text, decode(text, user) ?? null, checkedHost, port, (decode(text, path) ?? '').replace(/^\/~/, '~'));
}

function decode(text: string, part: string | undefined): string | undefined {
  try {
    return part === undefined ? undefined : decodeURIComponent(part);
  } catch {
    throw new UsageError(`location "${text}" has a "%" that is not followed by two hexadecimal digits`);
  }
}

/** The path behind `dir:`, or null when the text names no backend. */
function parseBackend(text: string): string | null {
  const colon = text.indexOf(':');
  const scheme = colon < 0 ? '' : text.slice(0, colon);
  if (absentBackends.includes(scheme)) {
    throw new UsageError(`location "${text}": this version has no ${scheme} backend; only directories (dir:/path)`);
  }
  if (scheme !== 'dir') return null;
  if (text.length === colon + 1) throw new UsageError(`location "${text}" names no directory`);
  return text.slice(colon + 1);
}

function remote(text: string, user: string | null, host: string, port: number | null, rest: string): RemoteLocation {
  if (user !== null && !userPattern.test(user)) {
    throw new UsageError(`location "${text}": "${user}" is not the name of a user`);
  }
  if (rest.includes('\0')) throw new UsageError(`location ${JSON.stringify(text)} has a NUL character`);
  const path = parseBackend(rest) ?? rest;
  return { kind: 'remote', user, host, port, path: remotePath(text, path) };
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

/** The location as a person would type it; {@link parseLocation} reads it back. */
export function formatLocation(location: Location): string {
  if (location.kind === 'local') return location.path;
  const host = location.host.includes(':') ? `[${location.host}]` : location.host;
  const target = (location.user === null ? '' : `${location.user}@`) + host;
  if (location.port === null) return `${target}:${location.path}`;
  const path = location.path.startsWith('/') ? location.path : `/~/${location.path.replace(/^\.\/?/, '')}`;
  return `ssh://${target}:${location.port}${encodeURI(path)}`;
}

/** A location and the snapshot of it that is meant; null: the newest. */
export interface SnapshotLocation {
  readonly location: Location;
  readonly snapshot: string | null;
}

/**
 * Splits `LOCATION@SNAPSHOT` at the last `@` behind the last slash. A local path that exists as it stands wins over a
 * split; elsewhere a trailing slash (`host:/srv/a@b/`) says that the `@` belongs to the directory's name.
 * @param exists whether a local path exists
 * @throws UsageError when what follows the `@` cannot be the name of a snapshot
 */
export function splitSnapshot(location: Location, exists: (path: string) => boolean): SnapshotLocation {
  const { path } = location;
  const at = path.indexOf('@', path.lastIndexOf('/') + 1) < 0 ? -1 : path.lastIndexOf('@');
  if (at < 0 || (location.kind === 'local' && exists(path))) return { location, snapshot: null };
  const snapshot = path.slice(at + 1);
  try {
    checkVersionName(snapshot);
  } catch (error) {
    throw new UsageError(`location "${formatLocation(location)}": ${(error as Error).message}`, { cause: error });
  }
  const directory = path.slice(0, at);
  if (directory === '') throw new UsageError(`location "${path}" names a snapshot but no directory`);
  return { location: { ...location, path: directory }, snapshot };
}

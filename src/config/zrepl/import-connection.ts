import { dirname, resolve } from 'node:path';
import { same, silently } from './import-place.ts';
import type { Conversions, ImportPlace } from './import-place.ts';

/** Where relative paths of a configuration are taken to begin. */
export interface ImportFolder {
  /** The file being imported. */
  readonly file: string;
}

/** A path, made absolute. */
export function absolute(folder: ImportFolder): (place: ImportPlace) => unknown {
  return (place) => {
    const path = place.text();
    if (path === undefined || path.startsWith('/')) return same(place);
    const resolved = resolve(dirname(folder.file), path);
    place.change(`"${path}" is relative to where zrepl was started; taken to be ${resolved}`);
    return resolved;
  };
}

const neverTimesOut = /^[+-]?0+(\.0*)?(h|m|s|ms|us|µs|ns)?$/;

/** A duration as Go's standard library has it, which may be zero. */
export function dialTimeout(place: ImportPlace): unknown {
  const written = String(place.value);
  if (!neverTimesOut.test(written)) return same(place);
  place.change('a connection attempt has a limit here, 10s by default; 0 (no limit) is left out');
  return undefined;
}

function freebind(place: ImportPlace): unknown {
  if (place.value !== true) return undefined;
  return place.drop(
    'listen_freebind has no counterpart; let systemd open the socket (FreeBind=yes) and write "listen: systemd:NAME"',
  );
}

/** `connect` */
export function importConnect(place: ImportPlace, folder: ImportFolder): unknown {
  const file = absolute(folder);
  const kinds: Readonly<Record<string, Conversions>> = {
    tcp: { type: same, address: same, dial_timeout: dialTimeout },
    tls: { type: same, address: same, ca: file, cert: file, key: file, server_cn: same, dial_timeout: dialTimeout },
    'ssh+stdinserver': {
      type: same,
      host: same,
      user: same,
      port: same,
      identity_file: file,
      options: same,
      dial_timeout: dialTimeout,
      transport_open_command: silently,
      ssh_command: silently,
    },
    local: { type: same, listener_name: same, client_identity: same, dial_timeout: dialTimeout },
  };
  const type = String(place.child('type').value);
  const conversions = Object.hasOwn(kinds, type) ? kinds[type] : undefined;
  if (conversions === undefined) return same(place);
  if (type === 'ssh+stdinserver') {
    place.change('the forced command in authorized_keys of the other machine becomes "snapferry stdinserver IDENTITY"');
  }
  return place.convert(conversions);
}

/** `serve` */
export function importServe(place: ImportPlace, folder: ImportFolder): unknown {
  const file = absolute(folder);
  const kinds: Readonly<Record<string, Conversions>> = {
    tcp: { type: same, listen: same, listen_freebind: freebind, clients: same },
    tls: {
      type: same,
      listen: same,
      listen_freebind: freebind,
      ca: file,
      cert: file,
      key: file,
      client_cns: same,
      handshake_timeout: dialTimeout,
    },
    stdinserver: { type: same, client_identities: same },
    local: { type: same, listener_name: same },
  };
  const type = String(place.child('type').value);
  const conversions = Object.hasOwn(kinds, type) ? kinds[type] : undefined;
  if (conversions === undefined) return same(place);
  if (type === 'stdinserver') {
    place.change('the forced commands in authorized_keys become "snapferry stdinserver IDENTITY"');
  }
  return place.convert(conversions);
}

import { isUtf8 } from 'node:buffer';
import { SnapferryError } from '../../errors.ts';
import type { ByteString, Entry } from './entry.ts';

/** Longest path inside a snapshot, in bytes. */
export const pathBytesMax = 4096;
const componentBytesMax = 255;
const targetBytesMax = 4096;
const ownerMax = 0xfffffffe;
const modeMax = 0o7777;
const timeNsMax = 2n ** 63n * 1_000_000_000n;

const entryTypes: ReadonlySet<string> = new Set<Entry['type']>(['file', 'directory', 'symlink', 'fifo', 'hardlink']);
const plainText = /^[\u0020-\u007e]*$/;
const sha256Hex = /^[0-9a-f]{64}$/;
const decimal = /^(0|-?[1-9]\d{0,30})$/;

/**
 * A path as a person may read it on a terminal: invalid UTF-8 replaced, control characters escaped, `.` for the root.
 */
export function printablePath(path: ByteString): string {
  if (path === '') return '.';
  const text = plainText.test(path) ? path : Buffer.from(path, 'latin1').toString('utf8');
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}

/** A name of the file system as {@link ByteString}. */
export function toByteString(text: string): ByteString {
  return plainText.test(text) ? text : Buffer.from(text, 'utf8').toString('latin1');
}

function encodeName(field: 'path' | 'target', name: ByteString): string {
  if (plainText.test(name)) return `"${field}":${JSON.stringify(name)}`;
  const bytes = Buffer.from(name, 'latin1');
  if (isUtf8(bytes)) return `"${field}":${JSON.stringify(bytes.toString('utf8'))}`;
  return `"${field}Bytes":"${bytes.toString('base64')}"`;
}

/** An entry as one line of JSON without the newline. Canonical: equal entries give equal lines, on every host. */
export function encodeEntry(entry: Entry): string {
  const sha256 = entry.sha256 === null ? 'null' : `"${entry.sha256}"`;
  const target = entry.target === null ? '"target":null' : encodeName('target', entry.target);
  return (
    `{${encodeName('path', entry.path)},"type":"${entry.type}","mode":${entry.mode},"uid":${entry.uid},` +
    `"gid":${entry.gid},"mtimeNs":"${entry.mtimeNs}","size":${entry.size},"sha256":${sha256},${target},` +
    `"generation":${entry.generation}}`
  );
}

/**
 * The inverse of {@link encodeEntry}. Strict: only a line that `encodeEntry` could have written is taken, so unknown or
 * repeated fields, wrong types and values out of range are refused.
 * @throws SnapferryError `PROTOCOL_VIOLATION`
 */
export function decodeEntry(line: string): Entry {
  const entry = parseEntry(line);
  if (encodeEntry(entry) !== line) refuseLine(line, 'is not in canonical form');
  return entry;
}

/** As {@link decodeEntry} for lines whose digest has been checked, and that hence need no check for canonical form. */
export function parseEntry(line: string): Entry {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    refuseLine(line, 'is not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) refuseLine(line, 'is not an object');
  const fields = value as Record<string, unknown>;
  const mtimeNs = fields['mtimeNs'];
  if (typeof mtimeNs !== 'string' || !decimal.test(mtimeNs)) refuseLine(line, 'has a bad mtimeNs');
  const entry = {
    path: decodeName(fields, 'path', line),
    type: fields['type'],
    mode: fields['mode'],
    uid: fields['uid'],
    gid: fields['gid'],
    mtimeNs: BigInt(mtimeNs),
    size: fields['size'],
    sha256: fields['sha256'],
    target: fields['target'] === null ? null : decodeName(fields, 'target', line),
    generation: fields['generation'],
  } as Entry;
  const fault = entryFault(entry);
  if (fault !== null) refuseLine(line, fault);
  return entry;
}

function decodeName(fields: Record<string, unknown>, field: 'path' | 'target', line: string): ByteString {
  const text = fields[field];
  if (typeof text === 'string') return toByteString(text);
  const base64 = fields[`${field}Bytes`];
  if (typeof base64 === 'string') return Buffer.from(base64, 'base64').toString('latin1');
  return refuseLine(line, `has a bad ${field}`);
}

function refuseLine(line: string, why: string): never {
  throw new SnapferryError('PROTOCOL_VIOLATION', `entry ${printablePath(line.slice(0, 200))} ${why}`);
}

/**
 * What is wrong with a path inside a snapshot, or null: absolute, too long, with a NUL, with a component that is
 * empty, `.`, `..` or too long, or below the reserved `.snapferry`. The empty string is the root and fine.
 */
export function pathFault(path: ByteString): string | null {
  if (path === '') return null;
  if (path.length > pathBytesMax) return `has a path of over ${pathBytesMax} bytes`;
  if (path.includes('\0')) return 'has a NUL in its path';
  for (const component of path.split('/')) {
    if (component === '') return 'has a path that is absolute or has an empty component';
    if (component === '.' || component === '..') return `has the component "${component}" in its path`;
    if (component.length > componentBytesMax) return `has a component of over ${componentBytesMax} bytes`;
  }
  if (path === '.snapferry' || path.startsWith('.snapferry/')) return 'lies in the reserved .snapferry';
  return null;
}

/** What is wrong with an entry taken for itself, or null. */
export function entryFault(entry: Entry): string | null {
  if (!entryTypes.has(entry.type)) return 'has an unknown type';
  if (!isWhole(entry.mode, modeMax)) return 'has a bad mode';
  if (!isWhole(entry.uid, ownerMax) || !isWhole(entry.gid, ownerMax)) return 'has a bad owner';
  if (!isWhole(entry.size, Number.MAX_SAFE_INTEGER)) return 'has a bad size';
  if (!isWhole(entry.generation, Number.MAX_SAFE_INTEGER)) return 'has a bad generation';
  if (entry.mtimeNs > timeNsMax || entry.mtimeNs < -timeNsMax) return 'has a bad mtimeNs';
  if (entry.type === 'file') {
    if (typeof entry.sha256 !== 'string' || !sha256Hex.test(entry.sha256)) return 'has a bad sha256';
  } else {
    if (entry.sha256 !== null) return `has a sha256 though it is a ${entry.type}`;
    if (entry.size !== 0) return `has a size though it is a ${entry.type}`;
  }
  return pathFault(entry.path) ?? targetFault(entry);
}

function targetFault(entry: Entry): string | null {
  if (entry.type !== 'symlink' && entry.type !== 'hardlink') {
    return entry.target === null ? null : `has a target though it is a ${entry.type}`;
  }
  if (entry.target === null || entry.target === '') return 'has no target';
  if (entry.target.length > targetBytesMax) return `has a target of over ${targetBytesMax} bytes`;
  return entry.target.includes('\0') ? 'has a NUL in its target' : null;
}

function isWhole(value: unknown, max: number): boolean {
  return (
    typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && !Object.is(value, -0) && value <= max
  );
}

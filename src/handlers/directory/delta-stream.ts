import { isUtf8 } from 'node:buffer';
import { createHash } from 'node:crypto';
import { violation } from './archive-format.ts';
import { encodeEntry, toByteString } from './entry-line.ts';
import type { ByteString, Entry } from './entry.ts';
import { parentOf } from './tree-rules.ts';
import type { Delta } from './tree-rules.ts';

/** Path of the first member of every directory stream: the list of what changed (docs/DIRECTORY.md). */
export const streamMemberPath = '.snapferry/stream.jsonl';

/** The first line of {@link streamMemberPath}. */
export interface StreamHeader {
  /** guid of the version the delta starts from; null for a full stream. */
  readonly from: bigint | null;
  readonly to: { readonly guid: bigint; readonly name: string; readonly creation: string | null };
  /** Digest of the whole list of entries at `to`. */
  readonly manifestSha256: string;
  /** How many entries `to` has. */
  readonly entries: number;
  /** True when the lines of the delta are left out, for the receiver has them from the interrupted transfer. */
  readonly resumed: boolean;
  /** Contents left out for the same reason: those of the first so many files of the delta. */
  readonly skipped: number;
  /** What the source could not read when it took the snapshot. */
  readonly missing: readonly string[];
}

/** What closes the list: a list without it is cut. */
export interface StreamEnd {
  /** Lines of the delta. */
  readonly lines: number;
  /** SHA-256 in hex over them, newlines included. */
  readonly sha256: string;
}

/** The lines of a delta, newlines included, in buffers of about a megabyte, and what closes them. */
export function encodeDelta(delta: Delta): { buffers: Buffer[]; end: StreamEnd } {
  const buffers: Buffer[] = [];
  const hash = createHash('sha256');
  let text = '';
  const flush = (): void => {
    const buffer = Buffer.from(text);
    hash.update(buffer);
    buffers.push(buffer);
    text = '';
  };
  const add = (line: string): void => {
    text += `${line}\n`;
    if (text.length > 1 << 20) flush();
  };
  for (const path of delta.removed) add(encodeRemoved(path));
  for (const entry of delta.put) add(encodeEntry(entry));
  flush();
  return { buffers, end: { lines: delta.removed.length + delta.put.length, sha256: hash.digest('hex') } };
}

/** The line for a path that is no longer there. Canonical, like those of entries. */
export function encodeRemoved(path: ByteString): string {
  const bytes = Buffer.from(path, 'latin1');
  if (isUtf8(bytes)) return `{"removed":${JSON.stringify(bytes.toString())}}`;
  return `{"removedBytes":"${bytes.toString('base64')}"}`;
}

/**
 * The inverse of {@link encodeRemoved}; null for a line that is something else.
 * @throws SnapferryError `PROTOCOL_VIOLATION` for a line that `encodeRemoved` could not have written
 */
export function decodeRemoved(line: string): ByteString | null {
  if (!line.startsWith('{"removed')) return null;
  const { removed, removedBytes } = parseObject(line, 'a line of a removed path');
  let path: ByteString | null = null;
  if (typeof removed === 'string') path = toByteString(removed);
  else if (typeof removedBytes === 'string') path = Buffer.from(removedBytes, 'base64').toString('latin1');
  if (path === null || encodeRemoved(path) !== line) throw violation('a line of a removed path is not canonical');
  return path;
}

/** The first line, without newline. */
export function encodeHeader(header: StreamHeader): string {
  const { guid, name, creation } = header.to;
  return JSON.stringify({
    format: 1,
    from: header.from === null ? null : String(header.from),
    to: { guid: String(guid), name, creation },
    manifestSha256: header.manifestSha256,
    entries: header.entries,
    resumed: header.resumed,
    skipped: header.skipped,
    missing: header.missing,
  });
}

/**
 * The inverse of {@link encodeHeader}; fields a newer sender adds are ignored.
 * @throws SnapferryError `PROTOCOL_VIOLATION`
 */
export function decodeHeader(line: string): StreamHeader {
  const fields = parseObject(line, 'its first line');
  if (fields['format'] !== 1) {
    throw violation(`it is in format ${JSON.stringify(fields['format'])}, and only 1 is known here; upgrade this side`);
  }
  const to = fields['to'];
  const { manifestSha256, entries, resumed, skipped, missing } = fields;
  if (typeof to !== 'object' || to === null) throw violation('its first line does not say what it leads to');
  const { guid, name, creation } = to as Record<string, unknown>;
  const isSound =
    typeof name === 'string' &&
    (creation === null || typeof creation === 'string') &&
    typeof manifestSha256 === 'string' &&
    typeof resumed === 'boolean' &&
    Array.isArray(missing) &&
    missing.every((path) => typeof path === 'string');
  if (!isSound || !isCount(entries) || !isCount(skipped)) throw violation('its first line is not as it should be');
  return {
    from: fields['from'] === null ? null : parseGuid(fields['from']),
    to: { guid: parseGuid(guid), name, creation },
    manifestSha256,
    entries,
    resumed,
    skipped,
    missing,
  };
}

/** The last line, without newline. */
export function encodeEnd(end: StreamEnd): string {
  return JSON.stringify({ end: { lines: end.lines, sha256: end.sha256 } });
}

/**
 * The inverse of {@link encodeEnd}; null for a line that is something else.
 * @throws SnapferryError `PROTOCOL_VIOLATION`
 */
export function decodeEnd(line: string): StreamEnd | null {
  if (!line.startsWith('{"end":')) return null;
  const { end } = parseObject(line, 'its last line');
  const { lines, sha256 } = (end ?? {}) as Record<string, unknown>;
  if (!isCount(lines) || typeof sha256 !== 'string') throw violation('its last line is not as it should be');
  return { lines, sha256 };
}

/** A guid in decimal, as it stands in JSON here. */
export function parseGuid(text: unknown): bigint {
  if (typeof text === 'string' && /^\d{1,20}$/.test(text)) {
    const guid = BigInt(text);
    if (guid < 1n << 64n) return guid;
  }
  throw violation('its first line has a bad guid');
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function parseObject(line: string, what: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw violation(`${what} is not JSON`);
  }
  if (typeof value !== 'object' || value === null) throw violation(`${what} is not an object`);
  return value as Record<string, unknown>;
}

/** One entry the receiver has to make. */
export interface PlannedMember {
  readonly entry: Entry;
  /** Whether the stream has a member for it; otherwise the receiver makes it from the entry alone. */
  readonly isInStream: boolean;
  /**
   * For a file in the stream whose content the base has: where in the base. Its member then has no content, but only
   * what tar knows beyond the entry, that is attributes and ACLs.
   */
  readonly contentAt: ByteString | null;
}

/** From what and to what a stream leads. */
export interface StreamPlan {
  readonly delta: Delta;
  /** All entries of the version that the delta starts from; empty for a full stream. */
  readonly base: readonly Entry[];
  /** All entries of the version that it leads to. */
  readonly to: readonly Entry[];
  /** Files of the delta, from the first on, that are left out. */
  readonly skipped: number;
}

/**
 * What follows the list in a stream, in order; both sides compute it. Everything put, and every directory in which
 * something is put or removed, for that disturbs its time. Of the files only those from number `skipped` on. A hard
 * link is in the stream only behind its file, so that plain `tar -x` of a full stream makes it.
 */
export function plannedMembers({ delta, base, to, skipped }: StreamPlan): PlannedMember[] {
  const put = new Set(delta.put.map(({ path }) => path));
  const touched = new Set<ByteString>(['']);
  for (const path of delta.removed) touched.add(parentOf(path));
  for (const path of put) touched.add(parentOf(path));
  const known = knownContents(delta, base);
  const passed = new Set<ByteString>();
  let file = 0;
  return to.flatMap((entry): PlannedMember[] => {
    const planned = { entry, isInStream: true, contentAt: null };
    if (entry.type === 'directory') return put.has(entry.path) || touched.has(entry.path) ? [planned] : [];
    if (!put.has(entry.path)) return [];
    if (entry.type === 'hardlink') return [{ ...planned, isInStream: passed.has(entry.target ?? '') }];
    if (entry.type !== 'file') return [planned];
    if (file++ < skipped) return [];
    passed.add(entry.path);
    return [{ ...planned, contentAt: known.get(contentKey(entry)) ?? null }];
  });
}

/** Contents that the delta puts somewhere and the base has, wherever: a file renamed, copied, or changed in its mode only. */
function knownContents(delta: Delta, base: readonly Entry[]): Map<string, ByteString> {
  const wanted = new Set(delta.put.flatMap((entry) => (entry.type === 'file' ? [contentKey(entry)] : [])));
  const known = new Map<string, ByteString>();
  for (const entry of base) {
    if (entry.type !== 'file' || entry.size === 0) continue;
    const key = contentKey(entry);
    if (wanted.has(key) && !known.has(key)) known.set(key, entry.path);
  }
  return known;
}

function contentKey({ sha256, size }: Entry): string {
  return `${sha256 ?? ''} ${size}`;
}

import { violation } from './archive-format.ts';
import type { MemberAttribute } from './archive-format.ts';
import type { ByteString } from './entry.ts';

/** The largest extended attribute Linux can store, in bytes; an ACL in text form is held to it as well. */
const attributeBytesMax = 64 * 1024;
/** Namespace, dot and 255 bytes of name, each of which may be written as three characters. */
const attributeKeywordBytesMax = 1024;

/** What a pax extended header says about the member after it. */
export interface PaxRecords {
  readonly path: ByteString | null;
  readonly linkpath: ByteString | null;
  readonly size: number | null;
  readonly sparse: { readonly path: ByteString | null; readonly realSize: number } | null;
  readonly attributes: readonly MemberAttribute[];
}

/** What holds for a member that has no pax header. */
export const noPaxRecords: PaxRecords = { path: null, linkpath: null, size: null, sparse: null, attributes: [] };

// The receiver takes times and owners from the checked list of entries, never from here.
const ignoredKeywords = new Set(['mtime', 'atime', 'ctime', 'uid', 'gid', 'uname', 'gname', 'charset', 'comment']);

/**
 * Reads the records of a pax header as raw bytes: names and attribute values need not be text.
 * @throws SnapferryError `PROTOCOL_VIOLATION` for anything that GNU tar does not write for an ordinary tree
 */
export function parsePaxRecords(bytes: Uint8Array): PaxRecords {
  const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const values = new Map<string, ByteString>();
  const attributes = new Map<string, MemberAttribute>();
  for (let position = 0; position < data.length;) {
    const end = recordEnd(data, position);
    const space = data.indexOf(0x20, position);
    const equals = data.indexOf(0x3d, space);
    if (equals === -1 || equals >= end) throw violation('an extended header has a record without a keyword');
    const keyword = data.toString('latin1', space + 1, equals);
    const value = data.subarray(equals + 1, end - 1);
    if (isAttribute(keyword)) {
      if (attributes.has(keyword)) throw violation(`an extended header gives ${JSON.stringify(keyword)} twice`);
      attributes.set(keyword, checkedAttribute(keyword, value));
    } else if (!ignoredKeywords.has(keyword)) {
      if (values.has(keyword)) throw violation(`an extended header gives ${JSON.stringify(keyword)} twice`);
      values.set(keyword, value.toString('latin1'));
    }
    position = end;
  }
  return understood(values, [...attributes.values()]);
}

function recordEnd(data: Buffer, start: number): number {
  let length = 0;
  let position = start;
  for (; position < start + 8; position++) {
    const byte = data[position] ?? 0;
    if (byte === 0x20) break;
    if (byte < 0x30 || byte > 0x39) throw violation('an extended header has a record of unreadable length');
    length = length * 10 + (byte - 0x30);
  }
  const end = start + length;
  if (position === start || length < 4 || end > data.length || data[end - 1] !== 0x0a) {
    throw violation('an extended header has a record of wrong length');
  }
  return end;
}

function isAttribute(keyword: ByteString): boolean {
  return keyword.startsWith('SCHILY.xattr.') || keyword === 'SCHILY.acl.access' || keyword === 'SCHILY.acl.default';
}

function checkedAttribute(keyword: ByteString, value: Buffer): MemberAttribute {
  if (keyword.length > attributeKeywordBytesMax || value.length > attributeBytesMax) {
    throw violation('an extended attribute is larger than the system can store');
  }
  if (/[\u0000\n]/.test(keyword)) throw violation('an extended attribute has a control character in its name');
  if (keyword.startsWith('SCHILY.acl.') && value.includes(0)) throw violation('an ACL has a zero byte');
  // The header's bytes are lent; the attribute is kept until its member is written.
  return { keyword, value: Uint8Array.prototype.slice.call(value) };
}

function understood(values: Map<string, ByteString>, attributes: readonly MemberAttribute[]): PaxRecords {
  const take = (keyword: string): ByteString | null => {
    const value = values.get(keyword) ?? null;
    values.delete(keyword);
    return value;
  };
  const path = take('path');
  const linkpath = take('linkpath');
  const size = takeNumber(take, 'size');
  const major = take('GNU.sparse.major');
  const minor = take('GNU.sparse.minor');
  const sparsePath = take('GNU.sparse.name');
  const realSize = takeNumber(take, 'GNU.sparse.realsize');
  const [unknown] = values.keys();
  if (unknown !== undefined) throw violation(`an extended header has the unknown record ${JSON.stringify(unknown)}`);
  if (major === null && minor === null && sparsePath === null && realSize === null) {
    return { path, linkpath, size, sparse: null, attributes };
  }
  if (major !== '1' || minor !== '0' || realSize === null) throw violation('a sparse file is not in format 1.0');
  return { path, linkpath, size, sparse: { path: sparsePath, realSize }, attributes };
}

function takeNumber(take: (keyword: string) => ByteString | null, keyword: string): number | null {
  const text = take(keyword);
  if (text === null) return null;
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) throw violation(`an extended header has a bad ${keyword}`);
  return value;
}

/** One record as it stands in a pax header: its own length in decimal, keyword, value, newline. */
export function paxRecord(keyword: ByteString, value: ByteString | Uint8Array): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value, 'latin1') : value;
  const bare = keyword.length + bytes.length + 3;
  let length = bare + String(bare).length;
  if (String(length).length > String(bare).length) length += 1;
  return Buffer.concat([Buffer.from(`${length} ${keyword}=`, 'latin1'), bytes, Buffer.from('\n')]);
}

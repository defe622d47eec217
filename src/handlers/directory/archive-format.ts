import { SnapferryError } from '../../errors.ts';
import type { ByteString, Entry } from './entry.ts';

/** Everything in a tar archive is a multiple of this. */
export const blockBytes = 512;
/** Bytes of one pax extended header at most; GNU tar writes all extended attributes of a file into one. */
export const paxBytesMax = 1024 * 1024;
/** Bytes of the text of a sparse map at most: some millions of extents. */
export const sparseMapBytesMax = 64 * 1024 * 1024;

/** The kinds of member that may stand in a stream; device nodes are not among them. */
export type MemberType = Entry['type'];

/** An extended attribute or ACL: the pax keyword and its value, both exactly as GNU tar wrote them. */
export interface MemberAttribute {
  readonly keyword: ByteString;
  readonly value: Uint8Array;
}

/** A run of data in a sparse file, in bytes. */
export interface Segment {
  readonly offset: number;
  readonly length: number;
}

/** The type flag of each kind of member, and back. */
export const typeFlags: Readonly<Record<MemberType, string>> = {
  file: '0',
  hardlink: '1',
  symlink: '2',
  directory: '5',
  fifo: '6',
};

/** How many bytes follow `size` bytes up to the next block. */
export function paddingAfter(size: number): number {
  return (blockBytes - (size % blockBytes)) % blockBytes;
}

/** What a ustar header block says, unchecked against anything but the format. */
export interface HeaderBlock {
  readonly path: ByteString;
  readonly size: number;
  readonly typeFlag: string;
  readonly target: ByteString;
}

/** The error for an archive that is not what a directory stream may be. */
export function violation(what: string): SnapferryError {
  return new SnapferryError(
    'PROTOCOL_VIOLATION',
    `the directory stream is refused: ${what}; nothing of it was committed`,
  );
}

/** The error for an archive that is cut after `offset` bytes. */
export function truncated(offset: number): SnapferryError {
  return new SnapferryError(
    'STREAM_TRUNCATED',
    `the directory stream ends after ${offset} bytes, in the middle of its archive; run the transfer again`,
  );
}

/** A path for a message: quoted, bytes that are not printable ASCII escaped, never longer than a line. */
export function quotePath(path: ByteString): string {
  const text = JSON.stringify(Buffer.from(path, 'latin1').toString());
  return text.length > 200 ? `${text.slice(0, 200)}…"` : text;
}

/**
 * Reads a ustar header block; null for a block of zeros.
 * @throws SnapferryError `PROTOCOL_VIOLATION`
 */
export function parseHeaderBlock(bytes: Uint8Array): HeaderBlock | null {
  const block = Buffer.from(bytes.buffer, bytes.byteOffset, blockBytes);
  let sum = 8 * 0x20;
  for (let i = 0; i < 148; i++) sum += block[i] ?? 0;
  for (let i = 156; i < blockBytes; i++) sum += block[i] ?? 0;
  if (sum === 8 * 0x20 && isZero(block)) return null;
  if (block.toString('latin1', 257, 265) !== 'ustar\u000000') throw violation('a member header is not in POSIX format');
  if (octal(block, 148, 8) !== sum) throw violation('a member header has a wrong checksum');
  const prefix = text(block, 345, 155);
  const name = text(block, 0, 100);
  return {
    path: prefix === '' ? name : `${prefix}/${name}`,
    size: octal(block, 124, 12),
    typeFlag: block.toString('latin1', 156, 157),
    target: text(block, 157, 100),
  };
}

/** Whether all bytes are zero. */
export function isZero(bytes: Uint8Array): boolean {
  for (const byte of bytes) if (byte !== 0) return false;
  return true;
}

function text(block: Buffer, offset: number, length: number): ByteString {
  const field = block.toString('latin1', offset, offset + length);
  const end = field.indexOf('\u0000');
  return end === -1 ? field : field.slice(0, end);
}

function octal(block: Buffer, offset: number, length: number): number {
  let value = 0;
  let i = offset;
  const end = offset + length;
  while (i < end && block[i] === 0x20) i++;
  for (; i < end; i++) {
    const byte = block[i] ?? 0;
    if (byte === 0 || byte === 0x20) break;
    if (byte < 0x30 || byte > 0x37) throw violation('a member header has a number that is not octal');
    value = value * 8 + (byte - 0x30);
  }
  return value;
}

/** The fields of a header block to be written; numbers too big for it belong into a pax header as well. */
export interface HeaderFields {
  readonly path: ByteString;
  readonly typeFlag: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtimeSeconds: number;
  readonly target: ByteString;
}

/** The largest uid or gid a header block can hold. */
export const idInHeaderMax = 0o7777777;
/** The largest size or time in seconds a header block can hold. */
export const numberInHeaderMax = 0o77777777777;
/** The longest path or link target a header block can hold, in bytes. */
export const pathInHeaderBytesMax = 100;

/** Writes a ustar header block at `offset`, whose 512 bytes must be there. Fields that do not fit are cut or zero. */
export function writeHeaderBlock(into: Buffer, offset: number, fields: HeaderFields): void {
  const block = into.subarray(offset, offset + blockBytes);
  block.fill(0);
  block.write(fields.path.slice(0, pathInHeaderBytesMax), 0, 'latin1');
  block.write(octalText(fields.mode, 0o7777, 7), 100, 'latin1');
  block.write(octalText(fields.uid, idInHeaderMax, 7), 108, 'latin1');
  block.write(octalText(fields.gid, idInHeaderMax, 7), 116, 'latin1');
  block.write(octalText(fields.size, numberInHeaderMax, 11), 124, 'latin1');
  block.write(octalText(fields.mtimeSeconds, numberInHeaderMax, 11), 136, 'latin1');
  block.write(fields.typeFlag, 156, 'latin1');
  block.write(fields.target.slice(0, pathInHeaderBytesMax), 157, 'latin1');
  block.write('ustar\u000000', 257, 'latin1');
  let sum = 8 * 0x20;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, '0')}\u0000 `, 148, 'latin1');
}

function octalText(value: number, valueMax: number, digits: number): string {
  return (value < 0 || value > valueMax ? 0 : value).toString(8).padStart(digits, '0');
}

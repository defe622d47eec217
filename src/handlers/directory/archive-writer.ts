import {
  blockBytes,
  idInHeaderMax,
  numberInHeaderMax,
  paddingAfter,
  pathInHeaderBytesMax,
  typeFlags,
  writeHeaderBlock,
} from './archive-format.ts';
import type { HeaderFields, MemberAttribute, MemberType, Segment } from './archive-format.ts';
import { paxRecord } from './archive-pax.ts';
import { encodeSparseMap } from './archive-sparse.ts';
import type { ByteString, Entry } from './entry.ts';

/** Small members are gathered into writes of this size; larger pieces of content pass through uncopied. */
const batchBytes = 256 * 1024;
const passThroughBytesMin = 32 * 1024;

/** A member to be written. Every field is taken as it is: whoever calls has checked it. */
export interface MemberToWrite {
  readonly path: ByteString;
  readonly type: MemberType;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeNs: bigint;
  /** Bytes of the file; 0 for everything else. */
  readonly size: number;
  readonly target: ByteString | null;
  /** Runs of data of a sparse file, whose bytes alone are then written; null when all of it is data. */
  readonly segments: readonly Segment[] | null;
  readonly attributes: readonly MemberAttribute[];
}

/**
 * Writes a POSIX (pax) tar archive that GNU tar extracts. `write` takes bytes that are valid until its promise
 * resolves. Calls must not overlap.
 */
export class ArchiveWriter {
  readonly #write: (bytes: Uint8Array) => Promise<void>;
  #batch = Buffer.allocUnsafe(batchBytes);
  #spare = Buffer.allocUnsafe(batchBytes);
  #filled = 0;
  #inFlight: Promise<void> | null = null;
  #padding = 0;

  constructor(write: (bytes: Uint8Array) => Promise<void>) {
    this.#write = write;
  }

  /** Begins a member; the data of the one before must be complete. Only what does not fit a plain header goes into a pax header. */
  async member(member: MemberToWrite): Promise<void> {
    const map = member.segments === null ? null : encodeSparseMap(member.segments, member.size);
    const dataBytes = member.segments?.reduce((sum, { length }) => sum + length, 0) ?? member.size;
    const storedBytes = dataBytes + (map?.length ?? 0);
    const seconds = floorToSeconds(member.mtimeNs);
    const fields: HeaderFields = {
      path: map === null ? tarPath(member) : 'GNUSparseFile',
      typeFlag: typeFlags[member.type],
      mode: member.mode,
      uid: member.uid,
      gid: member.gid,
      size: storedBytes,
      mtimeSeconds: seconds,
      target: member.target ?? '',
    };
    const pax = Buffer.concat(paxRecords(member, fields, map !== null));
    if (pax.length > 0) {
      await this.#header({ ...fields, path: 'PaxHeader', typeFlag: 'x', mode: 0o600, size: pax.length, target: '' });
      await this.#append(pax);
      await this.#pad(paddingAfter(pax.length));
    }
    await this.#header(fields);
    if (map !== null) await this.#append(map);
    this.#padding = paddingAfter(dataBytes);
    if (dataBytes === 0) await this.endData();
  }

  /** Adds data of the current member. The bytes may be reused once the promise has resolved. */
  async data(bytes: Uint8Array): Promise<void> {
    if (bytes.length < passThroughBytesMin) {
      await this.#append(bytes);
      return;
    }
    await this.flush();
    await this.#write(bytes);
  }

  /** Ends the current member's data. */
  async endData(): Promise<void> {
    await this.#pad(this.#padding);
    this.#padding = 0;
  }

  /** Writes the end of the archive and resolves once everything is taken. */
  async finish(): Promise<void> {
    await this.#pad(2 * blockBytes);
    await this.flush();
  }

  /** Resolves once everything written so far is taken. */
  async flush(): Promise<void> {
    await this.#flush();
    await this.#settle();
  }

  async #header(fields: HeaderFields): Promise<void> {
    if (this.#batch.length - this.#filled < blockBytes) await this.#flush();
    writeHeaderBlock(this.#batch, this.#filled, fields);
    this.#filled += blockBytes;
  }

  async #append(bytes: Uint8Array): Promise<void> {
    for (let position = 0; position < bytes.length;) {
      if (this.#filled === this.#batch.length) await this.#flush();
      const part = bytes.subarray(position, position + this.#batch.length - this.#filled);
      this.#batch.set(part, this.#filled);
      this.#filled += part.length;
      position += part.length;
    }
  }

  async #pad(count: number): Promise<void> {
    if (this.#batch.length - this.#filled < count) await this.#flush();
    this.#batch.fill(0, this.#filled, this.#filled + count);
    this.#filled += count;
  }

  async #flush(): Promise<void> {
    if (this.#filled === 0) return;
    await this.#settle();
    const full = this.#batch.subarray(0, this.#filled);
    this.#inFlight = this.#write(full);
    // A rejection is reported by the next call that waits; until then it must not count as unhandled.
    this.#inFlight.catch(() => undefined);
    [this.#batch, this.#spare] = [this.#spare, this.#batch];
    this.#filled = 0;
  }

  async #settle(): Promise<void> {
    const inFlight = this.#inFlight;
    this.#inFlight = null;
    if (inFlight !== null) await inFlight;
  }
}

/** Begins the member for an entry: all of it from the entry, but for attributes and sparse map. */
export async function writeEntry(
  writer: ArchiveWriter,
  entry: Entry,
  mode: number,
  member: { readonly attributes: readonly MemberAttribute[] } | null,
  segments: readonly Segment[] | null,
): Promise<void> {
  await writer.member({
    path: entry.path,
    type: entry.type,
    mode,
    uid: entry.uid,
    gid: entry.gid,
    mtimeNs: entry.mtimeNs,
    size: entry.size,
    target: entry.target,
    segments,
    attributes: member?.attributes ?? [],
  });
}

function paxRecords(member: MemberToWrite, fields: HeaderFields, isSparse: boolean): Buffer[] {
  const records: Buffer[] = [];
  const add = (keyword: ByteString, value: ByteString | Uint8Array): number => records.push(paxRecord(keyword, value));
  const path = tarPath(member);
  if (isSparse) {
    add('GNU.sparse.major', '1');
    add('GNU.sparse.minor', '0');
    add('GNU.sparse.name', path);
    add('GNU.sparse.realsize', String(member.size));
  } else if (path.length > pathInHeaderBytesMax) {
    add('path', path);
  }
  if (fields.target.length > pathInHeaderBytesMax) add('linkpath', fields.target);
  if (fields.size > numberInHeaderMax) add('size', String(fields.size));
  if (member.uid > idInHeaderMax) add('uid', String(member.uid));
  if (member.gid > idInHeaderMax) add('gid', String(member.gid));
  const isPlainTime = member.mtimeNs % 1_000_000_000n === 0n && fields.mtimeSeconds >= 0;
  if (!isPlainTime || fields.mtimeSeconds > numberInHeaderMax) add('mtime', secondsText(member.mtimeNs));
  for (const { keyword, value } of member.attributes) add(keyword, value);
  return records;
}

/** The root is `./`, a directory ends in a slash: so GNU tar writes them, and so it needs them. */
function tarPath(member: MemberToWrite): ByteString {
  if (member.path === '') return './';
  return member.type === 'directory' ? `${member.path}/` : member.path;
}

function floorToSeconds(ns: bigint): number {
  const seconds = ns / 1_000_000_000n;
  return Number(ns < 0n && ns % 1_000_000_000n !== 0n ? seconds - 1n : seconds);
}

/** Nanoseconds as decimal seconds, nothing lost: `-0.5` is half a second before 1970. */
function secondsText(ns: bigint): string {
  const digits = (ns < 0n ? -ns : ns).toString().padStart(10, '0');
  const fraction = digits.slice(-9).replace(/0+$/, '');
  return `${ns < 0n ? '-' : ''}${digits.slice(0, -9)}${fraction === '' ? '' : `.${fraction}`}`;
}

import { createHash } from 'node:crypto';
import type { Hash } from 'node:crypto';
import { SnapferryError } from '../../errors.ts';
import { quotePath, violation } from './archive-format.ts';
import type { ArchiveMember, ArchiveReader } from './archive-reader.ts';
import { decodeEnd, decodeHeader, decodeRemoved, encodeDelta, streamMemberPath } from './delta-stream.ts';
import type { StreamEnd, StreamHeader } from './delta-stream.ts';
import type { ByteString, Entry } from './entry.ts';
import { checkTree, decodeEntry, diffEntries, manifestSha256 } from './manifest.ts';
import type { Delta } from './manifest.ts';

/** How much a peer may make a receiver hold in memory. */
export interface ReceiveLimits {
  /** The list of changes in front of a stream, in bytes. */
  readonly deltaBytesMax: number;
  /** Lines of that list: paths removed, and entries new or changed. */
  readonly deltaLinesMax: number;
}

/** The defaults of {@link ReceiveLimits}: two million files that changed, at about 250 bytes each. */
export const defaultReceiveLimits: ReceiveLimits = { deltaBytesMax: 512 * 1024 * 1024, deltaLinesMax: 2_000_000 };

/** The header line lists what the source could not read, hence the size. */
const headerLineBytesMax = 16 * 1024 * 1024;
/** Two names of 4096 bytes, each at most six characters a byte in JSON. */
const lineBytesMax = 64 * 1024;

/** What stands in front of a stream, not yet checked against anything this side knows. */
export interface ReceivedList {
  readonly header: StreamHeader;
  readonly delta: Delta;
  readonly end: StreamEnd;
}

/**
 * Reads the first member of a stream.
 * @param save is given the list's bytes as they come, lent until its promise resolves
 * @throws SnapferryError `STREAM_FORMAT_MISMATCH` when the bytes are no directory stream, `PROTOCOL_VIOLATION`,
 * `LIMIT_EXCEEDED`, `STREAM_TRUNCATED`, or whatever the bytes throw
 */
export async function readList(
  reader: ArchiveReader,
  limits: ReceiveLimits,
  save: (bytes: Uint8Array) => Promise<void>,
): Promise<ReceivedList> {
  const member = await firstMember(reader);
  if (member.size > limits.deltaBytesMax) throw listTooLong(`${member.size} bytes`, limits);
  const list = new ListReader(limits);
  for (let piece = await reader.data(); piece !== null; piece = await reader.data()) {
    list.take(piece);
    await save(piece);
  }
  return list.finish();
}

async function firstMember(reader: ArchiveReader): Promise<ArchiveMember> {
  const mismatch = (why: string, cause?: unknown): SnapferryError =>
    new SnapferryError('STREAM_FORMAT_MISMATCH', `the sender does not send a directory stream: ${why}`, { cause });
  let member: ArchiveMember | null;
  try {
    member = await reader.next();
  } catch (error) {
    if (error instanceof SnapferryError && error.code === 'PROTOCOL_VIOLATION') throw mismatch(error.message, error);
    throw error;
  }
  if (member === null) throw mismatch('the archive is empty');
  if (member.type === 'file' && member.path === streamMemberPath && member.segments === null) return member;
  throw mismatch(`it begins with ${quotePath(member.path)}`);
}

function listTooLong(size: string, limits: ReceiveLimits): SnapferryError {
  return new SnapferryError(
    'LIMIT_EXCEEDED',
    `the list of changes has ${size}, more than the ${limits.deltaBytesMax} bytes and ${limits.deltaLinesMax} lines ` +
      'allowed; raise deltaBytesMax and deltaLinesMax if the tree is that large',
  );
}

/** Reads a list from pieces of any size. */
export class ListReader {
  readonly #limits: ReceiveLimits;
  readonly #hash: Hash = createHash('sha256');
  #header: StreamHeader | null = null;
  #end: StreamEnd | null = null;
  readonly #removed: ByteString[] = [];
  readonly #put: Entry[] = [];
  #rest: Buffer = Buffer.alloc(0);

  constructor(limits: ReceiveLimits) {
    this.#limits = limits;
  }

  /** Takes lent bytes. @throws SnapferryError `PROTOCOL_VIOLATION`, `LIMIT_EXCEEDED` */
  take(piece: Uint8Array): void {
    const bytes = Buffer.concat([this.#rest, piece]);
    let position = 0;
    let deltaStart = 0;
    let deltaEnd = 0;
    for (let end = bytes.indexOf(0x0a); end !== -1; end = bytes.indexOf(0x0a, position)) {
      if (this.#line(bytes.toString('utf8', position, end))) deltaEnd = end + 1;
      else if (deltaEnd === 0) deltaStart = end + 1;
      position = end + 1;
    }
    this.#rest = bytes.subarray(position);
    const restBytesMax = this.#header === null ? headerLineBytesMax : lineBytesMax;
    if (this.#rest.length > restBytesMax) throw violation(`its list has a line of over ${restBytesMax} bytes`);
    if (deltaEnd > 0) this.#hash.update(bytes.subarray(deltaStart, deltaEnd));
  }

  /** Whether the line belongs to the delta. */
  #line(line: string): boolean {
    if (this.#end !== null) throw violation('its list goes on after its last line');
    if (this.#header === null) {
      this.#header = decodeHeader(line);
      return false;
    }
    this.#end = decodeEnd(line);
    if (this.#end !== null) return false;
    const removed = decodeRemoved(line);
    if (removed === null) this.#put.push(decodeEntry(line));
    else this.#removed.push(removed);
    const lines = this.#removed.length + this.#put.length;
    if (lines > this.#limits.deltaLinesMax) throw listTooLong(`over ${lines - 1} lines`, this.#limits);
    return true;
  }

  /** What was read, once all of it was. @throws SnapferryError `PROTOCOL_VIOLATION` when it is cut or damaged */
  finish(): ReceivedList {
    if (this.#header === null || this.#end === null || this.#rest.length > 0) throw violation('its list is cut');
    const lines = this.#removed.length + this.#put.length;
    const isOmitted = this.#header.resumed && lines === 0;
    if (!isOmitted && (this.#end.lines !== lines || this.#end.sha256 !== this.#hash.digest('hex'))) {
      throw violation('its list does not have the number of lines or the digest that its last line says');
    }
    return { header: this.#header, delta: { removed: this.#removed, put: this.#put }, end: this.#end };
  }
}

/** A delta whose every claim has been checked. */
export interface CheckedDelta {
  readonly delta: Delta;
  /** All entries of the version it starts from; empty for a full stream. */
  readonly base: readonly Entry[];
  /** All entries of the version it leads to. */
  readonly to: readonly Entry[];
}

/**
 * Applies a delta to the entries this side has, and checks what comes out: that it is a whole tree that cannot reach
 * out of itself, that it is what the sender has, and that the delta is exactly what leads there, so that nothing in
 * it can be redundant or out of order.
 * @param base entries of the version the delta starts from; empty for a full stream
 * @throws SnapferryError `PROTOCOL_VIOLATION` or `DIGEST_MISMATCH`
 */
export async function checkDelta(base: readonly Entry[], list: ReceivedList): Promise<CheckedDelta> {
  const to = merge(base, list.delta);
  checkTree(to);
  if (to.length !== list.header.entries || (await manifestSha256(to)) !== list.header.manifestSha256) {
    throw new SnapferryError(
      'DIGEST_MISMATCH',
      'the list of changes does not lead to the list of files the sender says it has; run the transfer again',
    );
  }
  const delta = diffEntries(base, to);
  const { end } = encodeDelta(delta);
  if (end.sha256 !== list.end.sha256 || end.lines !== list.end.lines) {
    throw violation('its list of changes has more or less than what changes, or has it out of order');
  }
  return { delta, base, to };
}

function merge(base: readonly Entry[], { removed, put }: Delta): Entry[] {
  const gone = new Set<ByteString>(removed);
  const to: Entry[] = [];
  let index = 0;
  const addKept = (until: ByteString | null): void => {
    for (let entry = base[index]; entry !== undefined; entry = base[++index]) {
      if (until !== null && entry.path >= until) {
        if (entry.path === until) index++;
        return;
      }
      if (!gone.has(entry.path)) to.push(entry);
    }
  };
  for (const entry of put) {
    addKept(entry.path);
    to.push(entry);
  }
  addKept(null);
  return to;
}

/** Refuses a header that is not about the step that was asked for. @throws SnapferryError `PROTOCOL_VIOLATION` */
export function checkStep(header: StreamHeader, step: { from: bigint | null; to: bigint; resumed: boolean }): void {
  if (header.to.guid !== step.to || header.from !== step.from) {
    throw violation(
      `asked for the step from ${step.from ?? 'nothing'} to ${step.to}, the sender sends the one from ` +
        `${header.from ?? 'nothing'} to ${header.to.guid}`,
    );
  }
  if (header.resumed !== step.resumed) {
    throw violation(`the sender announced ${step.resumed ? 'a resumed' : 'a whole'} stream and sends the other kind`);
  }
  if (!header.resumed && header.skipped > 0) throw violation('it leaves out contents without being resumed');
}

import { createHash, hash } from 'node:crypto';
import type { Hash } from 'node:crypto';
import { SnapferryError } from '../../errors.ts';
import { quotePath, violation } from './archive-format.ts';
import type { ArchiveMember, ArchiveReader } from './archive-reader.ts';
import { writeEntry } from './archive-writer.ts';
import type { ArchiveWriter } from './archive-writer.ts';
import type { PlannedMember } from './delta-stream.ts';
import type { ByteString, Entry } from './entry.ts';
import { nextTurn } from './manifest.ts';
import type { ModeOf } from './receive-extract.ts';

/** How to turn the members of a stream into an archive of our own. */
export interface MembersRequest {
  readonly reader: ArchiveReader;
  readonly writer: ArchiveWriter;
  /** What the stream must hold, exactly and in this order, and what else is to be made. */
  readonly planned: readonly PlannedMember[];
  /** Has the contents that the stream leaves out because the base has them, in the same order. */
  readonly known?: ArchiveReader | undefined;
  /** What to make of an entry: itself, something else in its place, or nothing. Contents of the latter are not read. */
  readonly place: (entry: Entry, member: ArchiveMember | null) => Entry | null;
  /** The mode to give it. */
  readonly modeOf: ModeOf;
  readonly signal?: AbortSignal | undefined;
  /** Called when the content of a file that is placed is through. */
  readonly onFile?: ((entry: Entry) => void) | undefined;
}

/**
 * Reads the rest of a stream to its end in order, and writes what it should be. Every member must be the next one
 * planned; every content must have the digest that the list announced.
 * @throws SnapferryError `PROTOCOL_VIOLATION` naming the member, `DIGEST_MISMATCH` naming the file, or whatever the
 * bytes or the writing throw
 */
export async function passMembers(request: MembersRequest): Promise<void> {
  const { reader, writer, planned, place, modeOf } = request;
  const passed = new Map<ByteString, Entry>();
  for (const step of planned) {
    const { entry } = step;
    const member = step.isInStream ? await nextMember(reader, step, passed) : null;
    const placed = place(entry, member);
    const content = member === null || placed === null ? null : await contentOf(request, step, member);
    if (placed !== null) await writeEntry(writer, placed, modeOf(placed), member, content?.member.segments ?? null);
    if (entry.type === 'symlink' || entry.type === 'fifo') passed.set(entry.path, entry);
    if (content !== null) {
      await passContent(request, entry, content);
      request.onFile?.(entry);
    } else if (member !== null) {
      await skipContent(reader);
    }
  }
  const surplus = await reader.next();
  if (surplus !== null) throw violation(`${quotePath(surplus.path)} is not in its list of changes`);
}

/** Where the content of a file comes from. */
interface Content {
  readonly reader: ArchiveReader;
  readonly member: ArchiveMember;
}

async function contentOf(
  { reader, known }: MembersRequest,
  { entry, contentAt }: PlannedMember,
  member: ArchiveMember,
): Promise<Content | null> {
  if (entry.type !== 'file') return null;
  if (contentAt === null) return { reader, member };
  const found = await known?.next();
  if (known !== undefined && found?.path === contentAt && found.type === 'file' && found.size === entry.size) {
    return { reader: known, member: found };
  }
  throw new SnapferryError('INTERNAL', `the snapshot here does not have ${quotePath(contentAt)} as its manifest says`);
}

async function nextMember(
  reader: ArchiveReader,
  { entry, contentAt }: PlannedMember,
  passed: ReadonlyMap<ByteString, Entry>,
): Promise<ArchiveMember> {
  const member = await reader.next();
  if (member === null) throw violation(`it ends before ${quotePath(entry.path)}`);
  const fault = memberFault(member, contentAt === null ? entry : { ...entry, size: 0 }, passed);
  if (fault === null) return member;
  throw violation(`${quotePath(member.path)}, where ${quotePath(entry.path)} should be, ${fault}`);
}

function memberFault(member: ArchiveMember, entry: Entry, passed: ReadonlyMap<ByteString, Entry>): string | null {
  // GNU tar writes the root as `./`.
  if (member.path !== (entry.path === '' ? '.' : entry.path)) return 'is another path';
  if (member.size !== entry.size) return `has ${member.size} bytes instead of ${entry.size}`;
  if (member.type === entry.type) return member.target === entry.target ? null : 'points elsewhere';
  // Names of one symlink or fifo count as several in a list of entries, but tar tells that they are one.
  const first = member.type === 'hardlink' ? passed.get(member.target ?? '') : undefined;
  const isSameThing = first?.type === entry.type && first.target === entry.target;
  return isSameThing ? null : `is a ${member.type} and not a ${entry.type}`;
}

async function skipContent(reader: ArchiveReader): Promise<void> {
  while ((await reader.data()) !== null);
}

async function passContent(request: MembersRequest, entry: Entry, { reader, member }: Content): Promise<void> {
  const { writer } = request;
  const first = await reader.data();
  let sha256: string;
  if (member.segments === null && (first?.length ?? 0) === entry.size) {
    if (first !== null) await writer.data(first);
    sha256 = hash('sha256', first ?? new Uint8Array(0), 'hex');
  } else {
    const content = new ContentHash(member, request.signal);
    for (let piece = first; piece !== null; piece = await reader.data()) {
      // tar works on the piece while we hash it.
      const written = writer.data(piece);
      written.catch(() => undefined);
      await content.data(piece);
      await written;
    }
    sha256 = await content.finish();
  }
  await writer.endData();
  if (sha256 === entry.sha256) return;
  throw new SnapferryError(
    'DIGEST_MISMATCH',
    `the content of ${quotePath(entry.path)} is not what the sender announced: it was damaged on the way or in a ` +
      'snapshot; nothing was committed; verify the newest snapshot on both sides',
  );
}

const zeros = new Uint8Array(1 << 20);
const zerosPerTurn = 64;

/** SHA-256 of a file whose holes do not travel. */
class ContentHash {
  readonly #hash: Hash = createHash('sha256');
  readonly #member: ArchiveMember;
  readonly #signal: AbortSignal | undefined;
  #segment = -1;
  #leftInSegment = 0;
  #position = 0;

  constructor(member: ArchiveMember, signal: AbortSignal | undefined) {
    this.#member = member;
    this.#signal = signal;
    if (member.segments === null) this.#leftInSegment = member.size;
  }

  async data(piece: Uint8Array): Promise<void> {
    for (let taken = 0; taken < piece.length;) {
      if (this.#leftInSegment === 0) {
        const segment = this.#member.segments?.[++this.#segment];
        if (segment === undefined) throw violation('a sparse file has more data than its map');
        await this.#zerosUntil(segment.offset);
        this.#leftInSegment = segment.length;
      }
      const part = piece.subarray(taken, taken + this.#leftInSegment);
      this.#hash.update(part);
      taken += part.length;
      this.#leftInSegment -= part.length;
      this.#position += part.length;
    }
  }

  async finish(): Promise<string> {
    await this.#zerosUntil(this.#member.size);
    return this.#hash.digest('hex');
  }

  async #zerosUntil(offset: number): Promise<void> {
    for (let count = 1; this.#position < offset; count++) {
      const part = zeros.subarray(0, Math.min(zeros.length, offset - this.#position));
      this.#hash.update(part);
      this.#position += part.length;
      if (count % zerosPerTurn !== 0) continue;
      await nextTurn();
      if (this.#signal?.aborted === true) throw new SnapferryError('CANCELLED', 'the transfer was cancelled');
    }
  }
}

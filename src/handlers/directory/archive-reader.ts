import { SnapferryError } from '../../errors.ts';
import type { TransferBytes } from '../../sink.ts';
import { ArchiveFeed } from './archive-feed.ts';
import {
  blockBytes,
  isZero,
  paddingAfter,
  parseHeaderBlock,
  paxBytesMax,
  quotePath,
  truncated,
  typeFlags,
  violation,
} from './archive-format.ts';
import type { HeaderBlock, MemberAttribute, MemberType, Segment } from './archive-format.ts';
import { noPaxRecords, parsePaxRecords } from './archive-pax.ts';
import type { PaxRecords } from './archive-pax.ts';
import { readSparseMap } from './archive-sparse.ts';
import type { ByteString } from './entry.ts';

/** GNU tar fills its last record, 20 blocks unless told otherwise, with zeros. */
const endBlocksMax = 2048;

/** One member of an archive, as the archive tells it; nothing about it is to be believed. */
export interface ArchiveMember {
  readonly type: MemberType;
  /** Exactly as written, except that a directory's trailing slash is gone. */
  readonly path: ByteString;
  /** Of a symlink or hardlink; null for everything else. */
  readonly target: ByteString | null;
  /** Bytes of the file; 0 for everything else. */
  readonly size: number;
  /** Runs of data of a sparse file; null when all of it is data. */
  readonly segments: readonly Segment[] | null;
  readonly attributes: readonly MemberAttribute[];
}

/**
 * Reads a POSIX (pax) tar archive member by member, as GNU tar writes it and nothing beyond: own code because the
 * packages lose names that are not UTF-8, binary attributes and sparse maps. Every size is bounded before anything is
 * allocated. Whoever made it calls {@link ArchiveReader.close}.
 */
export class ArchiveReader {
  readonly #feed: ArchiveFeed;
  #dataLeft = 0;
  #padding = 0;

  /** @param signal makes whatever waits for bytes throw `CANCELLED` */
  constructor(bytes: TransferBytes, signal?: AbortSignal) {
    this.#feed = new ArchiveFeed(bytes, signal);
  }

  /**
   * The next member; null after the last, once the archive and the bytes have ended in order. The data of the member
   * before must have been read.
   * @throws SnapferryError `PROTOCOL_VIOLATION`, `STREAM_TRUNCATED`, or whatever the bytes throw
   */
  async next(): Promise<ArchiveMember | null> {
    if (this.#dataLeft > 0) throw new SnapferryError('INTERNAL', 'the data of an archive member was not read');
    await this.#skipPadding();
    let header = await this.#header();
    if (header === null) return this.#end();
    let pax = noPaxRecords;
    if (header.typeFlag === 'x') {
      pax = await this.#paxRecords(header.size);
      header = await this.#header();
      if (header === null) throw violation('an extended header is the last member');
    }
    return this.#member(header, pax);
  }

  /** The next part of the current member's data (of a sparse file: of its runs, in order); null at its end. Lent. */
  async data(): Promise<Uint8Array | null> {
    if (this.#dataLeft === 0) return null;
    const piece = await this.#feed.some(this.#dataLeft);
    this.#dataLeft -= piece.length;
    return piece;
  }

  /** Tells the producer that nothing more is wanted, unless it has ended already. */
  async close(): Promise<void> {
    await this.#feed.close();
  }

  async #skipPadding(): Promise<void> {
    if (this.#padding > 0 && (await this.#feed.take(this.#padding)) === null) throw truncated(this.#feed.offset);
    this.#padding = 0;
  }

  async #header(): Promise<HeaderBlock | null> {
    const block = await this.#feed.take(blockBytes);
    if (block === null) throw truncated(this.#feed.offset);
    return parseHeaderBlock(block);
  }

  async #paxRecords(size: number): Promise<PaxRecords> {
    if (size > paxBytesMax) {
      throw new SnapferryError(
        'LIMIT_EXCEEDED',
        `the directory stream has an extended header of ${size} bytes, more than the ${paxBytesMax} allowed`,
      );
    }
    const bytes = await this.#feed.take(size);
    if (bytes === null && size > 0) throw truncated(this.#feed.offset);
    const records = bytes === null ? noPaxRecords : parsePaxRecords(bytes);
    this.#padding = paddingAfter(size);
    await this.#skipPadding();
    return records;
  }

  async #member(header: HeaderBlock, pax: PaxRecords): Promise<ArchiveMember> {
    const path = pax.sparse?.path ?? pax.path ?? header.path;
    const type = memberType(header.typeFlag, path);
    const storedBytes = pax.size ?? header.size;
    if (type !== 'file' && (storedBytes !== 0 || pax.sparse !== null)) {
      throw violation(`the ${type} ${quotePath(path)} has data`);
    }
    let dataBytes = storedBytes;
    let segments: readonly Segment[] | null = null;
    if (pax.sparse !== null) {
      const map = await readSparseMap(this.#feed, storedBytes, pax.sparse.realSize);
      segments = map.segments;
      dataBytes -= map.mapBytes;
    }
    this.#dataLeft = dataBytes;
    this.#padding = paddingAfter(dataBytes);
    return {
      type,
      path: type === 'directory' ? path.replace(/\/$/, '') : path,
      target: type === 'symlink' || type === 'hardlink' ? (pax.linkpath ?? header.target) : null,
      size: pax.sparse?.realSize ?? storedBytes,
      segments,
      attributes: pax.attributes,
    };
  }

  async #end(): Promise<null> {
    for (let blocks = 1; ; blocks++) {
      const block = await this.#feed.take(blockBytes);
      if (block === null) {
        if (blocks < 2) throw truncated(this.#feed.offset);
        return null;
      }
      if (!isZero(block)) throw violation('something follows the end of the archive');
      if (blocks > endBlocksMax) throw violation('the end of the archive does not end');
    }
  }
}

const typesByFlag = new Map<string, MemberType>([
  ...Object.entries(typeFlags).map(([type, flag]): [string, MemberType] => [flag, type as MemberType]),
  ['\u0000', 'file'],
]);

function memberType(flag: string, path: ByteString): MemberType {
  const type = typesByFlag.get(flag);
  if (type !== undefined) return type;
  const what = flag === '3' || flag === '4' ? 'a device node' : `a member of unknown type ${JSON.stringify(flag)}`;
  throw violation(`${quotePath(path)} is ${what}`);
}

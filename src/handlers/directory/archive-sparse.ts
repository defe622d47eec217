import { blockBytes, paddingAfter, sparseMapBytesMax, truncated, violation } from './archive-format.ts';
import type { Segment } from './archive-format.ts';
import type { ArchiveFeed } from './archive-feed.ts';

/** A sparse file's map as it was read. */
export interface SparseMap {
  /** Runs of data: ascending, apart, inside the file, none empty. */
  readonly segments: readonly Segment[];
  /** Bytes the map itself took of the member's stored data. */
  readonly mapBytes: number;
}

/**
 * Reads the map that stands in front of a GNU sparse 1.0 member's data, and checks all of it.
 * @param storedBytes size of the member in the archive, map included
 * @param realSize size of the file
 * @throws SnapferryError `PROTOCOL_VIOLATION` or `LIMIT_EXCEEDED` or `STREAM_TRUNCATED`
 */
export async function readSparseMap(feed: ArchiveFeed, storedBytes: number, realSize: number): Promise<SparseMap> {
  const numbers = new DecimalLines(feed, Math.min(storedBytes, sparseMapBytesMax));
  const count = await numbers.next();
  const segments: Segment[] = [];
  let end = 0;
  let dataBytes = 0;
  for (let i = 0; i < count; i++) {
    const offset = await numbers.next();
    const length = await numbers.next();
    if (offset < end) throw violation('a sparse map is not ascending');
    end = offset + length;
    if (end > realSize) throw violation('a sparse map reaches beyond its file');
    dataBytes += length;
    if (length > 0) segments.push({ offset, length });
  }
  if (numbers.bytesRead + dataBytes !== storedBytes) {
    throw violation('a sparse map does not add up to the data that follows it');
  }
  return { segments, mapBytes: numbers.bytesRead };
}

/** The map of a GNU sparse 1.0 member as GNU tar reads it, padded to whole blocks. */
export function encodeSparseMap(segments: readonly Segment[], realSize: number): Buffer {
  const numbers = segments.flatMap(({ offset, length }) => [offset, length]);
  const last = segments.at(-1);
  // Without data at the very end, an empty run tells tar where the file ends.
  if (last === undefined || last.offset + last.length < realSize) numbers.push(realSize, 0);
  const text = [numbers.length / 2, ...numbers, ''].join('\n');
  return Buffer.concat([Buffer.from(text, 'latin1'), Buffer.alloc(paddingAfter(text.length))]);
}

class DecimalLines {
  readonly #feed: ArchiveFeed;
  readonly #bytesMax: number;
  #block: Uint8Array = new Uint8Array(0);
  #position = 0;
  bytesRead = 0;

  constructor(feed: ArchiveFeed, bytesMax: number) {
    this.#feed = feed;
    this.#bytesMax = bytesMax;
  }

  async next(): Promise<number> {
    let value = 0;
    for (let digits = 0; ; digits++) {
      if (this.#position === this.#block.length) await this.#nextBlock();
      const byte = this.#block[this.#position++] ?? 0;
      if (byte === 0x0a && digits > 0) return value;
      if (byte < 0x30 || byte > 0x39 || digits >= 16) throw violation('a sparse map has an unreadable number');
      value = value * 10 + (byte - 0x30);
      if (!Number.isSafeInteger(value)) throw violation('a sparse map has a number out of range');
    }
  }

  async #nextBlock(): Promise<void> {
    if (this.bytesRead + blockBytes > this.#bytesMax) {
      throw violation(`a sparse map is longer than its member or than ${sparseMapBytesMax} bytes`);
    }
    const block = await this.#feed.take(blockBytes);
    if (block === null) throw truncated(this.#feed.offset);
    this.#block = block;
    this.#position = 0;
    this.bytesRead += blockBytes;
  }
}

import { Uint8ArrayList } from 'uint8arraylist';
import { SnapferryError } from '../errors.ts';

const nothing: Uint8Array = new Uint8Array(0);

/**
 * Reads exact amounts from pieces of any size, and never a byte more than asked for, so that the stream can change hands
 * between any two reads. Own code: the library for it loses order after a sized read. One read at a time.
 *
 * What {@link take} returns is a view of the current piece, lent until the next piece is read.
 */
export class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>;
  #piece = nothing;
  /** How many bytes of the piece are taken: a view for each header would cost more than the header. */
  #at = 0;
  #ended = false;
  #takenBytes = 0;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** Bytes that can be taken without waiting. */
  get available(): number {
    return this.#piece.byteLength - this.#at;
  }

  /** Bytes taken so far: where in the stream the next one stands. */
  get takenBytes(): number {
    return this.#takenBytes;
  }

  /** Waits until at least one byte is available; false at the end of the stream. Passes on what the source throws. */
  async fill(): Promise<boolean> {
    while (this.available === 0) {
      if (this.#ended) return false;
      const next = await this.#source.next();
      if (next.done === true) this.#ended = true;
      else this.#hold(next.value);
    }
    return true;
  }

  /** Up to `bytesMax` of the available bytes, not copied. */
  take(bytesMax: number): Uint8Array {
    const bytes = bytesMax < this.available ? this.#piece.subarray(this.#at, this.#at + bytesMax) : this.peek();
    this.#takenBytes += bytes.byteLength;
    this.#at += bytes.byteLength;
    return bytes;
  }

  /** The available bytes, not copied and not taken. */
  peek(): Uint8Array {
    return this.#at === 0 ? this.#piece : this.#piece.subarray(this.#at);
  }

  /** The little-endian number in the four bytes that follow `offset` available ones, not taken; they must be available. */
  peekUint32(offset = 0): number {
    const at = this.#at + offset;
    const byte = (index: number): number => this.#piece[at + index] ?? 0;
    return (byte(0) | (byte(1) << 8) | (byte(2) << 16) | (byte(3) << 24)) >>> 0;
  }

  /** Takes bytes without looking at them; they must be available. */
  skip(bytes: number): void {
    this.#takenBytes += bytes;
    this.#at += bytes;
  }

  /** Waits until `bytes` bytes or, at the end of the stream, fewer are available; a small number, they may be copied. */
  async gather(bytes: number): Promise<void> {
    while ((await this.fill()) && this.available < bytes) {
      // Not slice(): on a Buffer that is a view of what is only lent.
      const begun = new Uint8Array(this.peek());
      this.#hold(nothing);
      const isMore = await this.fill();
      this.#hold(isMore ? Buffer.concat([begun, this.#piece]) : begun);
      if (!isMore) return;
    }
  }

  /**
   * Exactly `bytes` bytes, copied only where they span pieces. The amount must be bounded by the caller: all of it is
   * held in memory.
   * @throws SnapferryError `STREAM_TRUNCATED` when the stream ends before
   */
  async read(bytes: number): Promise<Uint8Array> {
    if (this.available >= bytes) return this.take(bytes);
    const parts = new Uint8ArrayList();
    while (parts.byteLength < bytes) {
      if (!(await this.fill())) {
        throw new SnapferryError('STREAM_TRUNCATED', `stream ended ${bytes - parts.byteLength} bytes early`);
      }
      parts.append(new Uint8Array(this.take(bytes - parts.byteLength)));
    }
    return parts.subarray();
  }

  /** Tells the source that nothing more will be read. */
  async close(): Promise<void> {
    this.#ended = true;
    this.#hold(nothing);
    await this.#source.return?.();
  }

  #hold(piece: Uint8Array): void {
    this.#piece = piece;
    this.#at = 0;
  }
}

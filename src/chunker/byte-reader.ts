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
  #ended = false;
  #takenBytes = 0;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** Bytes that can be taken without waiting. */
  get available(): number {
    return this.#piece.byteLength;
  }

  /** Bytes taken so far: where in the stream the next one stands. */
  get takenBytes(): number {
    return this.#takenBytes;
  }

  /** Waits until at least one byte is available; false at the end of the stream. Passes on what the source throws. */
  async fill(): Promise<boolean> {
    while (this.#piece.byteLength === 0) {
      if (this.#ended) return false;
      const next = await this.#source.next();
      if (next.done === true) this.#ended = true;
      else this.#piece = next.value;
    }
    return true;
  }

  /** Up to `bytesMax` of the available bytes, not copied. */
  take(bytesMax: number): Uint8Array {
    const piece = this.#piece;
    if (piece.byteLength <= bytesMax) {
      this.#takenBytes += piece.byteLength;
      this.#piece = nothing;
      return piece;
    }
    this.#takenBytes += bytesMax;
    this.#piece = piece.subarray(bytesMax);
    return piece.subarray(0, bytesMax);
  }

  /** The available bytes, not copied and not taken. */
  peek(): Uint8Array {
    return this.#piece;
  }

  /** Waits until `bytes` bytes or, at the end of the stream, fewer are available; a small number, they may be copied. */
  async gather(bytes: number): Promise<void> {
    while ((await this.fill()) && this.#piece.byteLength < bytes) {
      const begun = this.#piece.slice();
      this.#piece = nothing;
      const isMore = await this.fill();
      this.#piece = isMore ? Buffer.concat([begun, this.#piece]) : begun;
      if (!isMore) return;
    }
  }

  /**
   * Exactly `bytes` bytes, copied only where they span pieces. The amount must be bounded by the caller: all of it is
   * held in memory.
   * @throws SnapferryError `STREAM_TRUNCATED` when the stream ends before
   */
  async read(bytes: number): Promise<Uint8Array> {
    if (this.#piece.byteLength >= bytes) return this.take(bytes);
    const parts = new Uint8ArrayList();
    while (parts.byteLength < bytes) {
      if (!(await this.fill())) {
        throw new SnapferryError('STREAM_TRUNCATED', `stream ended ${bytes - parts.byteLength} bytes early`);
      }
      parts.append(this.take(bytes - parts.byteLength).slice());
    }
    return parts.subarray();
  }

  /** Tells the source that nothing more will be read. */
  async close(): Promise<void> {
    this.#ended = true;
    this.#piece = nothing;
    await this.#source.return?.();
  }
}

import { Uint8ArrayList } from 'uint8arraylist';
import { SnapferryError } from '../errors.ts';
import { ByteReader } from './byte-reader.ts';

/** How a {@link ChunkReader} treats what it reads. */
export interface ChunkReaderOptions {
  /** Called with the payload of each control chunk (empty: a heartbeat). The bytes are lent for the call. */
  readonly onControl?: (payload: Uint8Array) => void;
  /** Largest control chunk accepted. */
  readonly controlBytesMax?: number;
}

/** What may be said about a message to be read. */
export interface MessageOptions {
  /** It must come: the end of the stream in its place is `STREAM_TRUNCATED`, too. */
  readonly isDue?: boolean;
  /** Called when the message has begun and is not all here yet. */
  readonly onBegun?: () => void;
}

/**
 * Reads messages and streams from chunks (docs/PROTOCOL.md section 1). The zero-length chunk is the only end there is:
 * wherever the bytes end before it, that is `STREAM_TRUNCATED`. Nothing is ever allocated by an announced length.
 */
export class ChunkReader {
  /** Whether bit 31 of a length marks a control chunk, as agreed with version 2. */
  controlChunks = false;
  readonly #bytes: ByteReader;
  readonly #options: ChunkReaderOptions;

  constructor(bytes: ByteReader, options: ChunkReaderOptions = {}) {
    this.#bytes = bytes;
    this.#options = options;
  }

  /**
   * The payload of the next message if all of it is here already, as the usual small one is: one chunk and its
   * terminator. Taken without waiting and without a copy, lent until the next read; otherwise null, and nothing is taken.
   * @param bytesMax a longer one is not taken
   */
  takeMessage(bytesMax: number): Uint8Array | null {
    const { available } = this.#bytes;
    if (available < 8) return null;
    const length = this.#bytes.peekUint32();
    // A control chunk is longer than any message may be.
    if (length === 0 || length > bytesMax || available < length + 8) return null;
    if (this.#bytes.peekUint32(4 + length) !== 0) return null;
    this.#bytes.skip(4);
    const whole = this.#bytes.take(length);
    this.#bytes.skip(4);
    return whole;
  }

  /**
   * The payload of the next message, or null when the stream ends in order before it begins. Lent until the next read.
   * @param bytesMax limit of the payload, checked before it is read
   * @param what names the message in errors
   * @throws SnapferryError `LIMIT_EXCEEDED`, `STREAM_TRUNCATED`
   */
  async message(bytesMax: number, what: string, options: MessageOptions = {}): Promise<Uint8Array | null> {
    const mayEnd = options.isDue !== true;
    if (mayEnd && !(await this.#bytes.fill())) return null;
    const whole = this.takeMessage(bytesMax);
    if (whole !== null) return whole;
    let length = await this.#header(what, mayEnd);
    if (length === null) return null;
    options.onBegun?.();
    const message = new GrowingBuffer();
    while (length !== 0 && length !== null) {
      if (message.byteLength + length > bytesMax) {
        throw new SnapferryError('LIMIT_EXCEEDED', `${what} is longer than the ${bytesMax} bytes allowed`);
      }
      for (let missing = length; missing > 0;) {
        if (!(await this.#bytes.fill())) throw truncated(what);
        const piece = this.#bytes.take(missing);
        missing -= piece.byteLength;
        message.append(piece);
      }
      length = await this.#header(what, false);
    }
    return message.bytes();
  }

  /**
   * The payload of the next stream as it arrives, one list per piece read, empty chunks never. Each list is lent until the
   * next is asked for. Ends after the terminator; throws `STREAM_TRUNCATED` if there is none.
   */
  async *stream(): AsyncGenerator<Uint8ArrayList, void, void> {
    const what = 'stream';
    const bytes = this.#bytes;
    let batch = new Uint8ArrayList();
    for (;;) {
      let length = this.#takeDataHeader();
      if (length === null) {
        // What is read next may overwrite the piece the batch was cut from.
        if (batch.byteLength > 0) {
          yield batch;
          batch = new Uint8ArrayList();
        }
        length = await this.#header(what, false);
      }
      if (length === 0) break;
      while (length !== null && length > 0) {
        if (bytes.available === 0) {
          if (batch.byteLength > 0) {
            yield batch;
            batch = new Uint8ArrayList();
          }
          if (!(await bytes.fill())) throw truncated(what);
        }
        const piece = bytes.take(length);
        length -= piece.byteLength;
        batch.append(piece);
      }
    }
    if (batch.byteLength > 0) yield batch;
  }

  /** Length of the next data chunk if that is known without waiting, or null. */
  #takeDataHeader(): number | null {
    if (this.#bytes.available < 4) return null;
    const length = this.#bytes.peekUint32();
    if (this.controlChunks && length >= 0x8000_0000) return null;
    this.#bytes.skip(4);
    return length;
  }

  /** Length of the next data chunk; null at the end of the stream if that is allowed here. */
  async #header(what: string, mayEnd: boolean): Promise<number | null> {
    for (;;) {
      const length = await this.#length(what, mayEnd);
      if (length === null || !this.controlChunks || length < 0x8000_0000) return length;
      const controlBytes = length - 0x8000_0000;
      const controlBytesMax = this.#options.controlBytesMax ?? 4096;
      if (controlBytes > controlBytesMax) {
        throw new SnapferryError(
          'LIMIT_EXCEEDED',
          `control chunk of ${controlBytes} bytes exceeds the ${controlBytesMax} bytes allowed`,
        );
      }
      const payload = await this.#bytes.read(controlBytes);
      this.#options.onControl?.(payload);
    }
  }

  async #length(what: string, mayEnd: boolean): Promise<number | null> {
    if (!(await this.#bytes.fill())) {
      if (mayEnd) return null;
      throw truncated(what);
    }
    if (this.#bytes.available >= 4) {
      const length = this.#bytes.peekUint32();
      this.#bytes.skip(4);
      return length;
    }
    const header = new Uint8Array(4);
    for (let at = 0; at < 4;) {
      if (!(await this.#bytes.fill())) throw truncated(what);
      const piece = this.#bytes.take(4 - at);
      header.set(piece, at);
      at += piece.byteLength;
    }
    return littleEndian(header);
  }
}

/** Holds what has arrived and no more: a list would cost a hundred bytes for each one-byte chunk of a hostile peer. */
class GrowingBuffer {
  #bytes = new Uint8Array(1024);
  byteLength = 0;

  append(piece: Uint8Array): void {
    const needed = this.byteLength + piece.byteLength;
    if (needed > this.#bytes.byteLength) {
      const larger = new Uint8Array(Math.max(needed, 2 * this.#bytes.byteLength));
      larger.set(this.bytes());
      this.#bytes = larger;
    }
    this.#bytes.set(piece, this.byteLength);
    this.byteLength = needed;
  }

  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.byteLength);
  }
}

/**
 * An it-pipe stage: the payload of one framed stream. Bytes after its terminator are refused, since there is nobody to
 * read them; use {@link ChunkReader} where more follows.
 * @throws SnapferryError `STREAM_TRUNCATED`, `PROTOCOL_VIOLATION`
 */
export async function* unchunk(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8ArrayList, void, void> {
  const bytes = new ByteReader(source);
  try {
    yield* new ChunkReader(bytes).stream();
    if (await bytes.fill()) throw new SnapferryError('PROTOCOL_VIOLATION', 'bytes follow the end of the stream');
  } finally {
    await bytes.close();
  }
}

function littleEndian(bytes: Uint8Array): number {
  const [a = 0, b = 0, c = 0, d = 0] = bytes;
  return (a | (b << 8) | (c << 16) | (d << 24)) >>> 0;
}

function truncated(what: string): SnapferryError {
  return new SnapferryError('STREAM_TRUNCATED', `the connection ended inside a ${what}, before its end was declared`);
}

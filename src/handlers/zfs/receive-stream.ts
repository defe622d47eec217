import { Uint8ArrayList } from 'uint8arraylist';
import { SnapferryError, toSnapferryError } from '../../errors.ts';
import type { TransferBytes } from '../../sink.ts';
import { isEndRecord, parseBeginRecord, recordBytes } from './receive-head.ts';
import type { BeginRecord } from './receive-head.ts';

/** What a stream says of itself, of the one stream inside where it is a package. */
export interface StreamHead extends BeginRecord {
  /** Whether it came in a package, which may carry properties of the dataset. */
  readonly hasPackage: boolean;
}

/** More than the records at the end of a stream and of a package, without which `zfs recv` takes nothing for whole. */
const heldBytes = 4 * recordBytes;

/** The list of properties and snapshots that a package begins with. */
const packagePayloadBytesMax = 1024 * 1024;

/**
 * The bytes of a transfer on their way to `zfs recv`. Its head can be looked at first, and the last bytes are held back until
 * the sender has declared the end: before that, nothing can be taken for whole. Whoever made it calls `close`.
 */
export class ReceiveStream {
  readonly #iterator: AsyncIterator<Uint8Array | Uint8ArrayList>;
  /** Read, and not yet given out. Copies: what it came in was only lent. */
  #kept = new Uint8ArrayList();
  #ended = false;
  /** Whether the source has been asked for a piece and has not answered. */
  #asked = false;
  #interruption: Error | null = null;
  #interruptPull: ((reason: Error) => void) | null = null;
  /** Bytes that came in. */
  bytes = 0;

  constructor(bytes: TransferBytes) {
    this.#iterator = bytes[Symbol.asyncIterator]();
  }

  /** Whoever waits for bytes, now or later, gets this error. The first one stays. */
  interrupt(reason: Error): void {
    this.#interruption ??= reason;
    this.#interruptPull?.(this.#interruption);
  }

  /** Whether the sender has declared the end and everything before it has come. */
  get hasEnded(): boolean {
    return this.#ended;
  }

  /**
   * What the stream says of itself. Called once, before {@link ReceiveStream.next}.
   * @param keepsPackage whether a package goes on as such. Otherwise only the first stream in it does, without the properties
   *   around it; `zfs recv` then ignores whatever follows that.
   * @throws SnapferryError `STREAM_FORMAT_MISMATCH`, `LIMIT_EXCEEDED`, `STREAM_TRUNCATED`, or whatever the bytes throw
   */
  async head(keepsPackage: boolean): Promise<StreamHead> {
    const first = parseBeginRecord(await this.#peek(0, recordBytes));
    if (!first.isPackage) return { ...first, hasPackage: false };
    if (first.payloadBytes > packagePayloadBytesMax) {
      throw new SnapferryError(
        'LIMIT_EXCEEDED',
        `the stream begins with ${first.payloadBytes} bytes about its package, more than the ${packagePayloadBytesMax} allowed`,
      );
    }
    const endAt = recordBytes + first.payloadBytes;
    if (!isEndRecord(await this.#peek(endAt, recordBytes))) {
      throw new SnapferryError('STREAM_FORMAT_MISMATCH', 'the stream is a package whose list does not end');
    }
    const innerAt = endAt + recordBytes;
    const inner = parseBeginRecord(await this.#peek(innerAt, recordBytes));
    if (!keepsPackage) this.#kept.consume(innerAt);
    return { ...inner, hasPackage: true };
  }

  /**
   * The next bytes for `zfs recv`, lent until the next call; null when all of them have been given.
   * @throws SnapferryError `STREAM_TRUNCATED`, or whatever the bytes throw
   */
  async next(): Promise<Uint8ArrayList | null> {
    while (this.#kept.byteLength <= heldBytes) {
      const piece = await this.#pull();
      if (piece === null) {
        const rest = this.#kept;
        this.#kept = new Uint8ArrayList();
        return rest.byteLength === 0 ? null : rest;
      }
      this.#kept.append(piece);
      // What is held back is all that outlives the loan of the piece.
      if (this.#kept.byteLength <= heldBytes) this.#kept = new Uint8ArrayList(this.#kept.slice());
    }
    const list = this.#kept;
    const giveBytes = list.byteLength - heldBytes;
    this.#kept = new Uint8ArrayList(list.slice(giveBytes));
    return list.sublist(0, giveBytes);
  }

  /** Tells the source that nothing more is wanted, unless it has ended. Idempotent; never throws. */
  async close(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    // Whoever closes early has an error of their own to report; the source's would only hide it.
    const returned = Promise.resolve(this.#iterator.return?.()).catch(() => undefined);
    // A generator that waits for bytes cannot be returned from before they come.
    if (!this.#asked) await returned;
  }

  async #peek(offset: number, count: number): Promise<Uint8Array> {
    while (this.#kept.byteLength < offset + count) {
      const piece = await this.#pull();
      if (piece === null) {
        throw new SnapferryError(
          'STREAM_TRUNCATED',
          `the sender's stream ends after ${this.bytes} bytes, before anything could be received`,
          { connectionDead: false },
        );
      }
      this.#kept.append(piece.slice());
    }
    return this.#kept.slice(offset, offset + count);
  }

  async #pull(): Promise<Uint8Array | Uint8ArrayList | null> {
    if (this.#interruption !== null) throw this.#interruption;
    if (this.#ended) return null;
    const next = await new Promise<IteratorResult<Uint8Array | Uint8ArrayList>>((resolve, reject) => {
      this.#asked = true;
      this.#interruptPull = reject;
      const answered = (): void => {
        this.#asked = false;
        this.#interruptPull = null;
      };
      this.#iterator.next().then(
        (result) => {
          answered();
          resolve(result);
        },
        (error: unknown) => {
          answered();
          // It has ended itself by throwing.
          this.#ended = true;
          reject(error instanceof Error ? error : toSnapferryError(error));
        },
      );
    });
    if (next.done === true) {
      this.#ended = true;
      return null;
    }
    this.bytes += next.value.byteLength;
    return next.value;
  }
}

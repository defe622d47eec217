import { SnapferryError } from '../errors.ts';

/** How an {@link IncomingBytes} is fed. */
export interface IncomingBytesOptions {
  /** How many bytes are held before the feeder is asked to pause. */
  readonly bufferedBytesMax: number;
  /** Called when the first piece is asked for, and whenever there is room again after {@link IncomingBytes.push} said no. */
  readonly onRoom: () => void;
  /** Called when the consumer is done with a piece it was lent, for a feeder that uses its buffers again. */
  readonly onReturned?: (piece: Uint8Array) => void;
}

/**
 * The receiving half of a byte stream: pieces pushed by an event source come out of one async iterator, with
 * backpressure. It exists because `for await` over a Node stream costs a third of the throughput, and because a feeder
 * that reads into buffers of its own must know when a piece is no longer used.
 */
export class IncomingBytes {
  readonly #options: IncomingBytesOptions;
  #pieces: Uint8Array[] = [];
  #bufferedBytes = 0;
  #lent: Uint8Array | undefined;
  #waiting: { resolve: (result: IteratorResult<Uint8Array>) => void; reject: (error: Error) => void } | undefined;
  #paused = true;
  #mode: 'deliver' | 'hold' | 'discard' = 'deliver';
  #outcome: { readonly error: SnapferryError | undefined } | undefined;
  #receivedBytes = 0;

  constructor(options: IncomingBytesOptions) {
    this.#options = options;
  }

  /** How many bytes have arrived in all, read or not. */
  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** Takes a piece. False: pause until `onRoom` is called. A piece that comes after the end is returned unread. */
  push(piece: Uint8Array): boolean {
    this.#receivedBytes += piece.byteLength;
    if (this.#mode === 'discard' || this.#outcome !== undefined || piece.byteLength === 0) {
      this.#options.onReturned?.(piece);
      return true;
    }
    const waiting = this.#waiting;
    if (waiting !== undefined) {
      this.#waiting = undefined;
      this.#lent = piece;
      waiting.resolve({ done: false, value: piece });
      return true;
    }
    this.#pieces.push(piece);
    this.#bufferedBytes += piece.byteLength;
    this.#paused = this.#mode === 'hold' || this.#bufferedBytes >= this.#options.bufferedBytesMax;
    return !this.#paused;
  }

  /** The peer has ended its direction, or (with an error) the connection broke; what has arrived can still be read. */
  end(error?: SnapferryError): void {
    if (this.#outcome !== undefined) return;
    this.#outcome = { error };
    const waiting = this.#waiting;
    if (waiting === undefined) return;
    this.#waiting = undefined;
    if (error === undefined) waiting.resolve({ done: true, value: undefined });
    else waiting.reject(error);
  }

  /** Broken from this side: what has arrived and was not read is dropped, and reading throws. */
  abort(error: SnapferryError): void {
    this.end(error);
    this.#outcome = { error };
    this.#drop();
  }

  /** Nobody reads any more: everything that has come and will come is thrown away, so that the peer's end is reached. */
  discard(): void {
    this.#mode = 'discard';
    this.#drop();
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.resolve({ done: true, value: undefined });
    this.#resume();
  }

  /** The iterator over the pieces. Leaving it early only stops the reading; the owner still closes the stream. */
  iterator(): AsyncIterableIterator<Uint8Array> {
    return {
      [Symbol.asyncIterator]() {
        return this;
      },
      next: () => this.#next(),
      return: () => {
        if (this.#mode === 'deliver') this.#mode = 'hold';
        this.#drop();
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  #next(): Promise<IteratorResult<Uint8Array>> {
    this.#returnLent();
    const piece = this.#pieces.shift();
    if (piece !== undefined) {
      this.#bufferedBytes -= piece.byteLength;
      this.#lent = piece;
      if (this.#paused && this.#bufferedBytes * 2 <= this.#options.bufferedBytesMax) this.#resume();
      return Promise.resolve({ done: false, value: piece });
    }
    if (this.#mode !== 'deliver') return Promise.resolve({ done: true, value: undefined });
    if (this.#outcome !== undefined) return this.#report(this.#outcome.error);
    if (this.#waiting !== undefined) {
      return Promise.reject(new SnapferryError('INTERNAL', 'two reads of one byte stream at the same time'));
    }
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      if (this.#paused) this.#resume();
    });
  }

  #report(error: SnapferryError | undefined): Promise<IteratorResult<Uint8Array>> {
    this.#mode = 'hold';
    return error === undefined ? Promise.resolve({ done: true, value: undefined }) : Promise.reject(error);
  }

  #resume(): void {
    this.#paused = false;
    if (this.#outcome === undefined) this.#options.onRoom();
  }

  #drop(): void {
    this.#returnLent();
    const pieces = this.#pieces;
    this.#pieces = [];
    this.#bufferedBytes = 0;
    for (const piece of pieces) this.#options.onReturned?.(piece);
  }

  #returnLent(): void {
    const lent = this.#lent;
    if (lent === undefined) return;
    this.#lent = undefined;
    this.#options.onReturned?.(lent);
  }
}

import type { Uint8ArrayList } from 'uint8arraylist';

/**
 * An ordered, reliable stream of bytes in both directions: the only thing the RPC needs from a pipe pair, a socket, a
 * TLS connection or `ssh`. Whoever is given a ByteStream owns it and ends or aborts it.
 */
export interface ByteStream extends AsyncDisposable {
  /**
   * What the peer sends. Ends when the peer has ended its direction in order; throws a SnapferryError
   * (`CONNECTION_LOST`, `CONNECT_FAILED`) when the connection breaks. A piece is lent: it is valid until the next one
   * is asked for, so whoever keeps bytes copies them: with `new Uint8Array(piece)`, for `slice()` of a Buffer is a view.
   * Iterate it once; leaving the iteration early stops the reading, and the owner still closes or aborts the stream.
   */
  readonly source: AsyncIterable<Uint8Array>;
  /**
   * Sends bytes. Resolves when more may be written; rejects with `CONNECTION_LOST` when the connection is broken.
   * The bytes are given away: they may wait in a queue after this has resolved and must not be changed any more. So a
   * piece that is only lent, such as one of another stream's source, is copied before it is written. One write at a time.
   */
  write(bytes: Uint8Array | Uint8ArrayList): Promise<void>;
  /** Ends this side's direction in order, after everything written. Idempotent. */
  end(): Promise<void>;
  /**
   * Drops the connection now, both ways, and releases what belongs to it (a child process is killed and reaped). What
   * this side is waiting for rejects with `reason` as a SnapferryError. The peer sees `CONNECTION_LOST`, or an end where
   * the system has no reset (unix sockets, pipes, TLS): an end alone never means that all was well.
   */
  abort(reason: Error): void;
  /**
   * Ends the connection in order if it is not ended yet, throws away what still comes, waits a limited time for the
   * peer's end, and resolves once everything that belongs to it is released; after an abort it never rejects.
   * Rejects if the end was not in order, e.g. a child that exited with a failure.
   */
  close(): Promise<void>;
  /** What it is, for messages: `ssh web1`, `unix /run/x.sock`. */
  readonly description: string;
}

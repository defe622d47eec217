import { SnapferryError, toSnapferryError } from '../errors.ts';
import type { TransferBytes } from '../sink.ts';
import type { Connection } from './connection.ts';
import { sendStream } from './outgoing-stream.ts';

/** The stream that follows the body of a request, sent while its answer is waited for. Its source is closed always. */
export class Upload {
  readonly #connection: Connection;
  readonly #source: TransferBytes;
  readonly #stopped = new AbortController();
  #sending: Promise<void> | null = null;
  #failure: SnapferryError | null = null;

  constructor(connection: Connection, source: TransferBytes) {
    this.#connection = connection;
    this.#source = source;
  }

  /** Why the source could not be sent whole; null while it goes well, and when it was stopped. */
  get failure(): SnapferryError | null {
    return this.#failure;
  }

  /** Begins to send. To be called when the body has been handed to the connection. */
  start(): void {
    this.#sending = sendStream(this.#connection, this.#source, this.#stopped.signal).catch((error: unknown) => {
      if (!this.#stopped.signal.aborted) this.#failure = toSnapferryError(error, 'SOURCE_FAILED', 'the upload');
    });
  }

  /** Nobody needs what is left of it. Resolves when its end, whatever it is, has been sent. Idempotent. */
  async stop(): Promise<void> {
    this.#stopped.abort(new SnapferryError('CANCELLED', 'the rest of the upload is not needed'));
    this.#sending ??= this.#close();
    await this.#sending;
  }

  async #close(): Promise<void> {
    try {
      await this.#source[Symbol.asyncIterator]().return?.();
    } catch {
      // It was never begun; what its end has to say is of no interest to anybody.
    }
  }
}

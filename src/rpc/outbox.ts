import type { Uint8ArrayList } from 'uint8arraylist';
import { SnapferryError } from '../errors.ts';
import type { ByteStream } from '../transport/byte-stream.ts';

/** How an {@link Outbox} is tied to its connection. */
export interface OutboxOptions {
  /** How long a write may make no progress while nothing is heard from the peer, in ms. */
  readonly stalledMsMax: number;
  /** What killed the connection; nothing more is written then. */
  readonly failure: () => SnapferryError | null;
  /** The error to report for a write that failed. */
  readonly onFailed: (cause: unknown) => SnapferryError;
  /** Called when the peer has taken nothing for too long. */
  readonly onStalled: (error: SnapferryError) => void;
}

/** The stall is counted in ticks, not by the clock, so that a process that was stopped looks before it judges. */
const ticksPerStall = 4;

/** What leaves a connection: one write after the other, in the order given, with an eye on a peer that takes nothing. */
export class Outbox {
  readonly #stream: ByteStream;
  readonly #options: OutboxOptions;
  #writes: Promise<void> = Promise.resolve();
  #queued = 0;
  #sentBytes = 0;
  #sentCount = 0;
  #timer: NodeJS.Timeout | null = null;
  #ticksStalled = 0;

  constructor(stream: ByteStream, options: OutboxOptions) {
    this.#stream = stream;
    this.#options = options;
  }

  /** Writes handed over and not taken by the stream yet. */
  get queued(): number {
    return this.#queued;
  }

  /** Bytes handed to the stream so far. */
  get sentBytes(): number {
    return this.#sentBytes;
  }

  /** Writes finished so far. */
  get sentCount(): number {
    return this.#sentCount;
  }

  /** Resolves when everything handed over until now has been written, or could not be. */
  get flushed(): Promise<void> {
    return this.#writes;
  }

  /** Sends bytes after everything sent before. Resolves when more may be sent. */
  send(bytes: Uint8Array | Uint8ArrayList): Promise<void> {
    this.#queued++;
    // Behind nothing there is nothing to wait for.
    const sent = this.#queued === 1 ? this.#write(bytes) : this.#writes.then(() => this.#write(bytes));
    this.#writes = sent.catch(() => undefined);
    return sent;
  }

  /** Something was heard from the peer: it lives, and may have its reasons not to read. */
  heard(): void {
    this.#ticksStalled = 0;
  }

  /** No stall is watched for any more. */
  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  async #write(bytes: Uint8Array | Uint8ArrayList): Promise<void> {
    try {
      const failure = this.#options.failure();
      if (failure !== null) throw failure;
      this.#ticksStalled = 0;
      this.#sentBytes += bytes.byteLength;
      const written = this.#stream.write(bytes);
      this.#timer ??= setInterval(() => this.#tick(), Math.ceil(this.#options.stalledMsMax / ticksPerStall)).unref();
      await written;
    } catch (error) {
      throw this.#options.onFailed(error);
    } finally {
      this.#queued--;
      this.#sentCount++;
    }
  }

  #tick(): void {
    if (this.#queued === 0) {
      this.stop();
      return;
    }
    this.#ticksStalled++;
    if (this.#ticksStalled <= ticksPerStall) return;
    this.stop();
    const why = `${this.#stream.description} took none of what was written to it for ${this.#options.stalledMsMax} ms, and nothing was heard from it`;
    this.#options.onStalled(new SnapferryError('TIMEOUT', why));
  }
}

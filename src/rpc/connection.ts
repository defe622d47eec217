import type { Uint8ArrayList } from 'uint8arraylist';
import { ByteReader } from '../chunker/byte-reader.ts';
import { encodeMessage } from '../chunker/chunk.ts';
import { stringifyJSON, textOf, type JSONInput, type JSONValue } from '../chunker/json-message.ts';
import { ChunkReader } from '../chunker/unchunk.ts';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import { heartbeatsMissedMax, version1ChunkBytes, version2ChunkBytes, type Limits } from '../limits.ts';
import type { ByteStream } from '../transport/byte-stream.ts';
import type { DigestAlgorithm } from './digest.ts';
import type { Logger, Progress } from './interfaces.ts';
import { decode, decodeControl, encodeProgress } from './messages.ts';

/** What a connection needs to know from its owner. */
export interface ConnectionOptions {
  readonly limits: Limits;
  readonly logger: Logger;
}

const ticksPerHeartbeat = 2;
const bannerBytesMax = 2048;
const bannerMsMax = 500;
const progressMessageCharactersMax = 512;

/**
 * One ByteStream with the framing of the protocol on it: messages and streams in and out, control chunks, heartbeats.
 * Who asks and who answers is decided above. It dies once, with one cause: {@link failure}; everything pending rejects with it.
 */
export class Connection {
  /** Agreed with the peer; 1 until a hello says otherwise. */
  version: 1 | 2 = 1;
  /** Digest of streams in version 2, null for none. */
  digest: DigestAlgorithm | null = null;
  /** Called with the id in a Cancel. */
  onCancel: ((requestId: Uint8Array) => void) | null = null;
  /** Called with news of the request being waited for. */
  onProgress: ((progress: Progress) => void) | null = null;

  readonly limits: Limits;
  readonly logger: Logger;
  readonly #stream: ByteStream;
  readonly #bytes: ByteReader;
  readonly #chunks: ChunkReader;
  readonly #died = new AbortController();
  #writes: Promise<void> = Promise.resolve();
  #writesQueued = 0;
  #isReading = false;
  #isFirstRead = true;
  #ticksSinceRead = 0;
  #ticksSinceWrite = 0;
  #timer: NodeJS.Timeout | null = null;
  #closing: Promise<void> | null = null;

  constructor(stream: ByteStream, options: ConnectionOptions) {
    this.#stream = stream;
    this.limits = options.limits;
    this.logger = options.logger;
    this.#bytes = new ByteReader(this.#watched(stream.source));
    this.#chunks = new ChunkReader(this.#bytes, {
      onControl: (payload) => this.#control(payload),
      controlBytesMax: this.limits.controlBytesMax,
    });
  }

  get description(): string {
    return this.#stream.description;
  }

  /** Aborted, with {@link failure} as its reason, when the connection dies. */
  get died(): AbortSignal {
    return this.#died.signal;
  }

  /** What killed the connection, or null while it lives. */
  get failure(): SnapferryError | null {
    return this.died.aborted ? (this.died.reason as SnapferryError) : null;
  }

  /** Largest payload of one chunk towards this peer. */
  get chunkBytesMax(): number {
    return this.version === 1 ? version1ChunkBytes : version2ChunkBytes;
  }

  /** From the next byte on both sides speak version 2. */
  useVersion2(heartbeatMs: number, digest: DigestAlgorithm | null): void {
    this.version = 2;
    this.digest = digest;
    this.#chunks.controlChunks = true;
    this.#timer = setInterval(() => this.#tick(), Math.max(1, heartbeatMs / ticksPerHeartbeat));
    this.#timer.unref();
  }

  /**
   * Reads and decodes the next message; null when the peer ended the connection in order before it. A message that was
   * read but cannot be decoded leaves the connection in step; every other failure kills it.
   * @param finishMsMax how long it may take once begun
   */
  async readMessage<T>(
    what: string,
    bytesMax: number,
    shape: (value: JSONValue) => T,
    finishMsMax = this.limits.requestReadMsMax,
  ): Promise<T | null> {
    let bytes: Uint8Array | null;
    let timer: NodeJS.Timeout | undefined;
    const timedOut = (): void =>
      this.fail(new SnapferryError('TIMEOUT', `the peer took more than ${finishMsMax} ms to finish a ${what}`));
    try {
      if (this.#isFirstRead) await this.#refuseText();
      const begun = (): void => {
        timer = setTimeout(timedOut, finishMsMax);
      };
      bytes = await this.#chunks.message(bytesMax, what, begun);
    } catch (error) {
      throw this.#readFailed(error);
    } finally {
      clearTimeout(timer);
    }
    return bytes === null ? null : decode(bytes, what, this.limits.jsonDepthMax, shape);
  }

  /** Reads a stream's payload. Lists are lent until the next is asked for. The trailer is not part of it. */
  async *readStream(): AsyncGenerator<Uint8ArrayList, void, void> {
    try {
      yield* this.#chunks.stream();
    } catch (error) {
      throw this.#readFailed(error);
    }
  }

  /** Sends framed bytes after everything sent before. Resolves when more may be sent. */
  async send(bytes: Uint8Array | Uint8ArrayList): Promise<void> {
    this.#writesQueued++;
    const sent = this.#writes.then(async () => {
      if (this.failure !== null) throw this.failure;
      try {
        await this.#stream.write(bytes);
      } catch (error) {
        // A peer that gave up may have said why: whoever is reading gets to read it before the connection is dropped.
        throw this.#causeOr(toSnapferryError(error, 'CONNECTION_LOST', `cannot write to ${this.description}`));
      } finally {
        this.#writesQueued--;
        this.#ticksSinceWrite = 0;
      }
    });
    this.#writes = sent.catch(() => undefined);
    return sent;
  }

  /** The messages as bytes for {@link send}; several go out in one write. */
  encode(...messages: readonly JSONInput[]): Uint8Array {
    const encoded = messages.map((message) => encodeMessage(stringifyJSON(message), this.chunkBytesMax));
    return encoded.length === 1 && encoded[0] !== undefined ? encoded[0] : Buffer.concat(encoded);
  }

  /** Sends a control chunk if the peer knows them; failure shows elsewhere. */
  sendControl(payload: JSONInput | null): void {
    if (this.version === 1 || this.failure !== null) return;
    const json = payload === null ? Buffer.alloc(0) : Buffer.from(stringifyJSON(payload));
    const chunk = Buffer.alloc(4 + json.byteLength);
    chunk.writeUInt32LE(0x8000_0000 + json.byteLength);
    chunk.set(json, 4);
    this.send(chunk).catch(() => undefined);
  }

  /** Sends progress, unless writes are queued: news that cannot leave now is stale when it can. */
  sendProgress(progress: Progress): void {
    if (this.#writesQueued > 0) return;
    this.sendControl(encodeProgress({ ...progress, message: progress.message.slice(0, progressMessageCharactersMax) }));
  }

  /** Kills the connection: the first cause stays, the stream is dropped, everything pending rejects. */
  fail(error: SnapferryError): void {
    this.#stopTimer();
    this.#died.abort(error);
    this.#stream.abort(error);
  }

  /** Ends the connection in order and releases the stream; rejects if the stream did not end in order. */
  async close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#stopTimer();
    await this.#writes;
    if (this.failure !== null) {
      await this.#stream.close().catch(() => undefined);
      return;
    }
    this.#died.abort(new SnapferryError('CONNECTION_LOST', `${this.description} is closed`));
    await this.#stream.close();
  }

  #stopTimer(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  /** The cause to report for a failed read; whatever it is, the connection is out of step from here on. */
  #readFailed(error: unknown): SnapferryError {
    const failure = toSnapferryError(error, 'CONNECTION_LOST', `cannot read from ${this.description}`);
    this.fail(failure);
    return this.#causeOr(failure);
  }

  /** What killed the connection comes before what was noticed because of it. */
  #causeOr(error: SnapferryError): SnapferryError {
    return this.failure ?? error;
  }

  /** The peer's bytes, with a note of when somebody waits for them. */
  #watched(source: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
    const iterator = source[Symbol.asyncIterator]();
    const next = async (): Promise<IteratorResult<Uint8Array>> => {
      this.#isReading = true;
      this.#ticksSinceRead = 0;
      try {
        return await iterator.next();
      } finally {
        this.#isReading = false;
      }
    };
    return { [Symbol.asyncIterator]: () => ({ next }) };
  }

  /**
   * Counts ticks instead of comparing clocks: after a laptop's sleep one tick has passed, not hours, and what the peer
   * sent meanwhile is read before the next.
   */
  #tick(): void {
    this.#ticksSinceRead++;
    this.#ticksSinceWrite++;
    if (this.#isReading && this.#ticksSinceRead > heartbeatsMissedMax * ticksPerHeartbeat) {
      const why = `nothing heard from ${this.description}, not even ${heartbeatsMissedMax} heartbeats`;
      this.fail(new SnapferryError('PEER_SILENT', why));
    } else if (this.#writesQueued === 0 && this.#ticksSinceWrite >= ticksPerHeartbeat) {
      this.sendControl(null);
    }
  }

  #control(payload: Uint8Array): void {
    if (payload.byteLength === 0) return;
    const control = decode(payload, 'control chunk', this.limits.jsonDepthMax, decodeControl);
    if (control.cancel !== null) this.onCancel?.(control.cancel);
    if (control.progress !== null) this.onProgress?.(control.progress);
  }

  /** A login banner or "command not found" is no chunk length: says what the peer printed instead of the protocol. */
  async #refuseText(): Promise<void> {
    this.#isFirstRead = false;
    if (!(await this.#bytes.fill()) || !isText(this.#bytes.peek().subarray(0, 4))) return;
    const parts: Uint8Array[] = [];
    let bytes = 0;
    let cause: unknown;
    const enough = setTimeout(() => this.#stream.abort(new Error('enough text read')), bannerMsMax);
    try {
      while (bytes < bannerBytesMax && (await this.#bytes.fill())) {
        const part = this.#bytes.take(bannerBytesMax - bytes).slice();
        bytes += part.byteLength;
        parts.push(part);
      }
    } catch (error) {
      cause = error;
    } finally {
      clearTimeout(enough);
    }
    const text = JSON.stringify(textOf(Buffer.concat(parts)).trim());
    const exit = cause instanceof SnapferryError && cause.code === 'CONNECT_FAILED' ? ` (${cause.message})` : '';
    const advice = 'make sure that the login prints nothing and that the command runs snapferry';
    throw new SnapferryError(
      'CONNECT_FAILED',
      `${this.description} sent text instead of the protocol: ${text}${exit}; ${advice}`,
      { cause, retryable: false },
    );
  }
}

function isText(bytes: Uint8Array): boolean {
  return bytes.byteLength > 0 && bytes.every((byte) => (byte >= 0x20 && byte < 0x7f) || (byte >= 0x09 && byte <= 0x0d));
}

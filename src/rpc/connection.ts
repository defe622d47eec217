import type { Uint8ArrayList } from 'uint8arraylist';
import { ByteReader } from '../chunker/byte-reader.ts';
import { encodeMessage } from '../chunker/chunk.ts';
import { stringifyJSON, type JSONInput, type JSONValue } from '../chunker/json-message.ts';
import { ChunkReader } from '../chunker/unchunk.ts';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import { heartbeatsMissedMax, version1ChunkBytes, version2ChunkBytes, type Limits } from '../limits.ts';
import type { ByteStream } from '../transport/byte-stream.ts';
import type { DigestAlgorithm } from './digest.ts';
import type { Logger, Progress } from './interfaces.ts';
import { refuseBanner } from './banner.ts';
import { decode, decodeControl, encodeProgress } from './messages.ts';

/** What a connection needs to know from its owner. */
export interface ConnectionOptions {
  readonly limits: Limits;
  readonly logger: Logger;
}

const ticksPerHeartbeat = 2;
/** How long a peer to which nothing can be written any more may go on sending why, or the end of its answer. */
const lastWordsMsMax = 2000;
const progressMessageCharactersMax = 512;

/** A message to be read. */
export interface MessageToRead<T> {
  /** For errors. */
  readonly what: string;
  readonly bytesMax: number;
  readonly shape: (value: JSONValue) => T;
  /** It must come, and come now: it is the rest of something that has begun. */
  readonly isDue?: boolean;
  /** How long it may take once begun, or once due, in ms; null for as long as the peer lives. Default 30 s. */
  readonly finishMsMax?: number | null;
}

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
  #lastWordsTimer: NodeJS.Timeout | undefined;
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
   * Reads and decodes the next message; null when the peer ended the connection in order before it and it was not due. A
   * message that was read but cannot be decoded leaves the connection in step; every other failure kills it.
   */
  async readMessage<T>(message: MessageToRead<T>): Promise<T | null> {
    const { what, bytesMax, shape, isDue = false, finishMsMax = this.limits.requestReadMsMax } = message;
    let bytes: Uint8Array | null;
    let timer: NodeJS.Timeout | undefined;
    const begun = (): void => {
      if (finishMsMax === null) return;
      const why = `the peer took more than ${finishMsMax} ms to finish a ${what}`;
      timer ??= setTimeout(() => this.fail(new SnapferryError('TIMEOUT', why)), finishMsMax);
    };
    try {
      if (this.#isFirstRead) await this.#refuseBanner();
      if (isDue && this.#bytes.available === 0) begun();
      bytes = await this.#chunks.message(bytesMax, what, { isDue, onBegun: begun });
    } catch (error) {
      throw this.#readFailed(error);
    } finally {
      clearTimeout(timer);
    }
    const { jsonDepthMax } = this.limits;
    return bytes === null ? null : decode(bytes, what, { bytesMax, jsonDepthMax }, shape);
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
        throw this.#writeFailed(toSnapferryError(error, 'CONNECTION_LOST', `cannot write to ${this.description}`));
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
    this.#stopTimers();
    this.#died.abort(error);
    this.#stream.abort(error);
  }

  /** Ends the connection in order and releases the stream; rejects if the stream did not end in order. */
  async close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#stopTimers();
    await this.#writes;
    this.#stopTimers();
    if (this.failure !== null) {
      await this.#stream.close().catch(() => undefined);
      return;
    }
    this.#died.abort(new SnapferryError('CONNECTION_LOST', `${this.description} is closed`));
    await this.#stream.close();
  }

  #stopTimers(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    clearTimeout(this.#lastWordsTimer);
  }

  async #refuseBanner(): Promise<void> {
    this.#isFirstRead = false;
    await refuseBanner(this.#bytes, this.#stream);
  }

  /** The connection is over; when a reader does not notice by itself, it is ended for it a little later. */
  #writeFailed(error: SnapferryError): SnapferryError {
    if (this.failure === null) this.#lastWordsTimer ??= setTimeout(() => this.fail(error), lastWordsMsMax);
    return this.#causeOr(error);
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
    const { controlBytesMax: bytesMax, jsonDepthMax } = this.limits;
    const control = decode(payload, 'control chunk', { bytesMax, jsonDepthMax }, decodeControl);
    if (control.cancel !== null) this.onCancel?.(control.cancel);
    if (control.progress === null) return;
    try {
      this.onProgress?.(control.progress);
    } catch (error) {
      this.logger.warn({ err: error }, 'the receiver of progress failed');
    }
  }
}

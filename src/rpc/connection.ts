import type { Uint8ArrayList } from 'uint8arraylist';
import { ByteReader } from '../chunker/byte-reader.ts';
import { encodeMessage } from '../chunker/chunk.ts';
import { stringifyJSON, type JSONInput } from '../chunker/json-message.ts';
import { ChunkReader } from '../chunker/unchunk.ts';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import { heartbeatsMissedMax, version1ChunkBytes, version2ChunkBytes, type Limits } from '../limits.ts';
import type { ByteStream } from '../transport/byte-stream.ts';
import type { DigestAlgorithm } from './digest.ts';
import type { Logger, Progress } from './interfaces.ts';
import { refuseBanner } from './banner.ts';
import { handedOverStream } from './handed-over-stream.ts';
import { Heartbeat } from './heartbeat.ts';
import { decode, decodeControl, encodeProgress } from './messages.ts';
import type { MessageToRead } from './message-to-read.ts';
import { Outbox } from './outbox.ts';
import { TappedSource } from './tapped-source.ts';

/** What a connection needs to know from its owner. */
export interface ConnectionOptions {
  readonly limits: Limits;
  readonly logger: Logger;
}

/** How long a peer to which nothing can be written any more may go on sending why, or the end of its answer. */
const lastWordsMsMax = 2000;
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
  /** Where its lines go from now on. */
  logger: Logger;
  /** Nothing but messages may be sent: the peer may already take what comes for something else. */
  holdControl = false;
  readonly #stream: ByteStream;
  readonly #source: TappedSource;
  readonly #outbox: Outbox;
  readonly #bytes: ByteReader;
  readonly #chunks: ChunkReader;
  readonly #died = new AbortController();
  #isFirstRead = true;
  #boundaryBytes = 0;
  #isDetached = false;
  #heartbeat: Heartbeat | null = null;
  #lastWordsTimer: NodeJS.Timeout | undefined;
  #closing: Promise<void> | null = null;

  constructor(stream: ByteStream, options: ConnectionOptions) {
    this.#stream = stream;
    this.limits = options.limits;
    this.logger = options.logger;
    this.#source = new TappedSource(stream.source, {
      onWaiting: () => this.#heartbeat?.readBegins(),
      onHeard: () => {
        this.#heartbeat?.readEnds();
        this.#outbox.heard();
      },
    });
    this.#outbox = new Outbox(stream, {
      stalledMsMax: this.limits.writeMsMax,
      failure: () => this.failure,
      // A peer that gave up may have said why: whoever is reading gets to read it before the connection is dropped.
      onFailed: (cause) =>
        this.#writeFailed(toSnapferryError(cause, 'CONNECTION_LOST', `cannot write to ${this.description}`)),
      onStalled: (error) => this.fail(error),
    });
    this.#bytes = new ByteReader(this.#source);
    this.#chunks = new ChunkReader(this.#bytes, {
      onControl: (payload) => this.#control(payload),
      controlBytesMax: this.limits.controlBytesMax,
    });
  }

  get description(): string {
    return this.#stream.description;
  }

  /** Bytes handed to the stream so far, framing included. */
  get sentBytes(): number {
    return this.#outbox.sentBytes;
  }

  /** Bytes read from the stream so far, framing included. */
  get receivedBytes(): number {
    return this.#source.receivedBytes;
  }

  /** Whether the stream has been handed to another owner by {@link detach}. */
  get isDetached(): boolean {
    return this.#isDetached;
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
    const options = {
      everyMs: heartbeatMs,
      isWriting: () => this.#outbox.queued > 0,
      writeCount: () => this.#outbox.sentCount,
      beat: () => this.sendControl(null),
      onSilent: () => {
        const why = `nothing heard from ${this.description}, not even ${heartbeatsMissedMax} heartbeats`;
        this.fail(new SnapferryError('PEER_SILENT', why));
      },
    };
    this.#heartbeat = new Heartbeat(options, this.#source.isWaiting);
  }

  /**
   * Reads and decodes the next message; null when the peer ended the connection in order before it and it was not due. A
   * message that was read but cannot be decoded leaves the connection in step; every other failure kills it.
   */
  async readMessage<T>(message: MessageToRead<T>): Promise<T | null> {
    return this.takeMessage(message) ?? this.#waitForMessage(message);
  }

  /** As {@link readMessage}, when the whole message is here already; otherwise undefined, and nothing has happened. */
  takeMessage<T>(message: MessageToRead<T>): T | undefined {
    // The first bytes may be no message at all.
    if (this.#isFirstRead) return undefined;
    const bytes = this.#chunks.takeMessage(message.bytesMax);
    return bytes === null ? undefined : this.#decode(bytes, message);
  }

  async #waitForMessage<T>(message: MessageToRead<T>): Promise<T | null> {
    const { what, bytesMax, isDue = false, finishMsMax = this.limits.requestReadMsMax } = message;
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
    return bytes === null ? null : this.#decode(bytes, message);
  }

  #decode<T>(bytes: Uint8Array, { what, bytesMax, shape, onSize }: MessageToRead<T>): T {
    this.#boundaryBytes = this.#bytes.takenBytes;
    onSize?.(bytes.byteLength);
    return decode(bytes, what, { bytesMax, jsonDepthMax: this.limits.jsonDepthMax }, shape);
  }

  /** Reads a stream's payload. Lists are lent until the next is asked for. The trailer is not part of it. */
  readStream(): AsyncIterator<Uint8ArrayList, void, void> {
    const payload = this.#chunks.stream();
    const next = async (): Promise<IteratorResult<Uint8ArrayList, void>> => {
      try {
        const result = await payload.next();
        if (result.done === true) this.#boundaryBytes = this.#bytes.takenBytes;
        return result;
      } catch (error) {
        throw this.#readFailed(error);
      }
    };
    return { next };
  }

  /** Sends framed bytes after everything sent before. Resolves when more may be sent. */
  send(bytes: Uint8Array | Uint8ArrayList): Promise<void> {
    return this.#outbox.send(bytes);
  }

  /** The messages as bytes for {@link send}; several go out in one write. */
  encode(...messages: readonly JSONInput[]): Uint8Array {
    const encoded = messages.map((message) => encodeMessage(stringifyJSON(message), this.chunkBytesMax));
    return encoded.length === 1 && encoded[0] !== undefined ? encoded[0] : Buffer.concat(encoded);
  }

  /** Sends a control chunk if the peer knows them; failure shows elsewhere. */
  sendControl(payload: JSONInput | null): void {
    if (this.version === 1 || this.failure !== null || this.holdControl) return;
    const json = payload === null ? Buffer.alloc(0) : Buffer.from(stringifyJSON(payload));
    const chunk = Buffer.alloc(4 + json.byteLength);
    chunk.writeUInt32LE(0x8000_0000 + json.byteLength);
    chunk.set(json, 4);
    this.send(chunk).catch(() => undefined);
  }

  /** Sends progress, unless writes are queued: news that cannot leave now is stale when it can. */
  sendProgress(progress: Progress): void {
    if (this.#outbox.queued > 0) return;
    this.sendControl(encodeProgress({ ...progress, message: progress.message.slice(0, progressMessageCharactersMax) }));
  }

  /** Kills the connection: the first cause stays, the stream is dropped, everything pending rejects. */
  fail(error: SnapferryError): void {
    this.#stopTimers();
    this.#outbox.stop();
    this.#died.abort(error);
    if (!this.#isDetached) this.#stream.abort(error);
  }

  /**
   * Gives the stream away, with every byte received and not used yet; nothing is read or written here from now on. What
   * still waits for the peer rejects with `CONNECTION_LOST`.
   * @throws SnapferryError `BUSY` while the peer is in the middle of a message, or what killed the connection
   */
  detach(): ByteStream {
    if (this.failure !== null) throw this.failure;
    if (this.#bytes.takenBytes !== this.#boundaryBytes) {
      throw new SnapferryError('BUSY', `${this.description} cannot be handed over while a message is being received`);
    }
    const error = new SnapferryError('CONNECTION_LOST', `${this.description} was handed over to another owner`);
    this.#isDetached = true;
    const source = this.#source.handOver(this.#bytes.take(this.#bytes.available), error);
    this.fail(error);
    return handedOverStream(this.#stream, source, this.#outbox.flushed);
  }

  /** Ends the connection in order and releases the stream; rejects if the stream did not end in order. */
  async close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (this.#isDetached) return;
    this.#stopTimers();
    await this.#outbox.flushed;
    this.#outbox.stop();
    this.#stopTimers();
    if (this.failure !== null) {
      await this.#stream.close().catch(() => undefined);
      return;
    }
    this.#died.abort(new SnapferryError('CONNECTION_LOST', `${this.description} is closed`));
    await this.#stream.close();
  }

  #stopTimers(): void {
    this.#heartbeat?.stop();
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

  #control(payload: Uint8Array): void {
    this.#boundaryBytes = this.#bytes.takenBytes;
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

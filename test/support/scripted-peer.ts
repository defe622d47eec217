import type { ByteStream } from '../../src/transport/byte-stream.ts';
import { memoryPair } from '../../src/transport/memory.ts';

/** A message as it came, found by a parser of the tests' own. */
export interface ReceivedMessage {
  readonly wire: Buffer;
  readonly payload: Buffer;
}

/** One end of a memory pair that sends what it is told and keeps what it gets. Knows nothing of the protocol but chunks. */
export class ScriptedPeer {
  readonly #stream: ByteStream;
  #untaken = Buffer.alloc(0);
  #hasEnded = false;
  #wake: () => void = () => undefined;

  constructor(stream: ByteStream) {
    this.#stream = stream;
    void this.#read();
  }

  /** What came after the last message taken. */
  get untaken(): Buffer {
    return this.#untaken;
  }

  /** Takes bytes that belong to no message. */
  skip(bytes: number): void {
    this.#untaken = this.#untaken.subarray(bytes);
  }

  /** Sends bytes, cut into the pieces given by `split`. */
  send(bytes: Uint8Array, split: Split = whole): void {
    // A connection the other side has dropped shows in what does not come back.
    for (const piece of split(bytes)) this.#stream.write(piece).catch(() => undefined);
  }

  /** Ends this side's direction. */
  end(): void {
    void this.#stream.end();
  }

  /** Breaks the connection. */
  abort(): void {
    this.#stream.abort(new Error('the cable was pulled out'));
  }

  /** The next whole message; null if the connection ends before it is. */
  async message(): Promise<ReceivedMessage | null> {
    for (;;) {
      const message = this.#parse();
      if (message !== null) return message;
      if (this.#hasEnded) return null;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** What came after the last message taken, once the other side has ended. */
  async rest(): Promise<Buffer> {
    while (!this.#hasEnded) await new Promise<void>((resolve) => (this.#wake = resolve));
    return this.#untaken;
  }

  #parse(): ReceivedMessage | null {
    const message = firstMessage(this.#untaken);
    if (message !== null) this.#untaken = this.#untaken.subarray(message.wire.byteLength);
    return message;
  }

  async #read(): Promise<void> {
    try {
      for await (const piece of this.#stream.source) {
        this.#untaken = Buffer.concat([this.#untaken, piece]);
        this.#wake();
      }
    } catch {
      // Broken is ended, to whom it may concern.
    }
    this.#hasEnded = true;
    this.#wake();
  }
}

/** The message bytes begin with; null if it is not whole. */
function firstMessage(bytes: Buffer): ReceivedMessage | null {
  const pieces: Buffer[] = [];
  for (let at = 0; at + 4 <= bytes.length;) {
    const length = bytes.readUInt32LE(at);
    at += 4;
    if (length === 0) return { wire: bytes.subarray(0, at), payload: Buffer.concat(pieces) };
    pieces.push(bytes.subarray(at, at + length));
    at += length;
  }
  return null;
}

/** How many whole messages and streams these bytes are. */
export function countMessages(bytes: Buffer): number {
  const first = firstMessage(bytes);
  return first === null ? 0 : 1 + countMessages(bytes.subarray(first.wire.byteLength));
}

/** How bytes are cut into pieces. */
export type Split = (bytes: Uint8Array) => Uint8Array[];

/** All at once. */
export const whole: Split = (bytes) => [bytes];

/** One byte at a time. */
export const byteByByte: Split = (bytes) => Array.from(bytes, (_, at) => bytes.subarray(at, at + 1));

/** Pieces of 1 to `piecesBytesMax` bytes. */
export function randomSplit(random: () => number, pieceBytesMax: number): Split {
  return (bytes) => {
    const pieces: Uint8Array[] = [];
    for (let at = 0; at < bytes.byteLength;) {
      const end = Math.min(at + 1 + Math.floor(random() * pieceBytesMax), bytes.byteLength);
      pieces.push(bytes.subarray(at, end));
      at = end;
    }
    return pieces;
  };
}

/** Numbers from 0 to 1 that are the same for the same seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The seed of a random test: `SNAPFERRY_SEED`, or one of its own, to be printed. */
export const testSeed = Number(process.env['SNAPFERRY_SEED'] ?? Math.floor(Math.random() * 2 ** 31));

/** A stream for our side and a scripted peer at its other end; nothing that is sent ever waits. */
export function scripted(): { stream: ByteStream; peer: ScriptedPeer } {
  const [stream, far] = memoryPair({ bufferBytesMax: 2 ** 40 });
  return { stream, peer: new ScriptedPeer(far) };
}

/** A JSON message in one chunk, with its terminator. */
export function messageOf(json: unknown): Buffer {
  return framed(Buffer.from(typeof json === 'string' ? json : JSON.stringify(json)));
}

/** Bytes as one chunk and a terminator. */
export function framed(payload: Uint8Array): Buffer {
  return Buffer.concat([chunkOf(payload), Buffer.alloc(4)]);
}

/** Bytes as one chunk without a terminator. */
export function chunkOf(payload: Uint8Array, flag = 0): Buffer {
  const header = Buffer.alloc(4);
  header.writeUInt32LE(flag + payload.byteLength);
  return Buffer.concat([header, payload]);
}

/** A control chunk of version 2; without a payload a heartbeat. */
export function controlOf(json?: unknown): Buffer {
  return chunkOf(json === undefined ? Buffer.alloc(0) : Buffer.from(JSON.stringify(json)), 0x8000_0000);
}

import type { OnReadOpts, Socket } from 'node:net';
import { IncomingBytes } from './incoming-bytes.ts';

const buffersMax = 4;
const bufferBytes = 256 * 1024;

/** What may be chosen about a {@link ReadRing}. */
export interface ReadRingOptions {
  /**
   * Several reads of one turn of the event loop become one piece when each is at most so long: TLS hands over every record,
   * 16 KiB, for itself, and what happens for each piece costs more than to decrypt it. Default: every read is a piece.
   */
  readonly gatheredBytesMax?: number;
  /** For tests: what is given back is overwritten at once. */
  readonly poison?: boolean;
}

interface Slot {
  readonly bytes: Uint8Array<ArrayBuffer>;
  lentPieces: number;
}

/**
 * Receives into a few buffers that are used again and again, by net's `onread`: a fresh buffer for each read is what
 * receiving costs most. The pieces are lent: one is overwritten some time after the next is asked for. They are plain
 * Uint8Arrays, so that their `slice()` is a copy, which a Buffer's is not.
 */
export class ReadRing {
  /** The bytes received; give it to `nodeByteStream`. */
  readonly incoming: IncomingBytes;
  /** The option for `net.connect`. */
  readonly onread: OnReadOpts;
  readonly #gatheredBytesMax: number;
  readonly #poison: boolean;
  readonly #free: Slot[] = [];
  /** Those with pieces that are lent. */
  readonly #used = new Map<ArrayBufferLike, Slot>();
  #armed = newSlot();
  /** Of the armed buffer: what is handed over, and what is received. */
  #handedBytes = 0;
  #filledBytes = 0;
  #handing: NodeJS.Immediate | undefined;
  #paused = false;
  #socket: Socket | undefined;

  constructor({ gatheredBytesMax = 0, poison = false }: ReadRingOptions = {}) {
    this.#gatheredBytesMax = gatheredBytesMax;
    this.#poison = poison;
    this.incoming = new IncomingBytes({
      // The ring itself knows when there is no room.
      bufferedBytesMax: Number.POSITIVE_INFINITY,
      onRoom: () => undefined,
      onReturned: (piece) => this.#takeBack(piece),
    });
    this.onread = {
      buffer: () => (this.#filledBytes === 0 ? this.#armed.bytes : this.#armed.bytes.subarray(this.#filledBytes)),
      callback: (receivedBytes) => this.#received(receivedBytes),
    };
  }

  /** Tells the ring its socket, once `net.connect` has returned it, and before anybody else listens to it. */
  feedFrom(socket: Socket): void {
    this.#socket = socket;
    if (this.#gatheredBytesMax === 0) return;
    // What has been gathered comes before the end.
    for (const event of ['end', 'error', 'close']) socket.on(event, () => this.#handOver());
  }

  #received(receivedBytes: number): boolean {
    this.#filledBytes += receivedBytes;
    const hasRoom = bufferBytes - this.#filledBytes >= this.#gatheredBytesMax;
    if (hasRoom && receivedBytes <= this.#gatheredBytesMax) {
      this.#handing ??= setImmediate(() => this.#handOver());
      return true;
    }
    const piece = this.#cut();
    this.#armed = this.#free.pop() ?? newSlot();
    this.#handedBytes = this.#filledBytes = 0;
    // Node keeps the buffer it was given last, also while it is paused: one that is free has to stay with it.
    this.#paused = this.#used.size >= buffersMax - 1;
    this.incoming.push(piece);
    return !this.#paused;
  }

  #handOver(): void {
    if (this.#filledBytes > this.#handedBytes) this.incoming.push(this.#cut());
  }

  /** What has been gathered, which is lent from now on. */
  #cut(): Uint8Array {
    clearImmediate(this.#handing);
    this.#handing = undefined;
    const slot = this.#armed;
    const piece = slot.bytes.subarray(this.#handedBytes, this.#filledBytes);
    this.#handedBytes = this.#filledBytes;
    slot.lentPieces += 1;
    this.#used.set(slot.bytes.buffer, slot);
    return piece;
  }

  #takeBack(piece: Uint8Array): void {
    const slot = this.#used.get(piece.buffer);
    if (slot === undefined) return;
    if (this.#poison) piece.fill(0xdb);
    slot.lentPieces -= 1;
    if (slot.lentPieces > 0) return;
    this.#used.delete(piece.buffer);
    if (slot !== this.#armed) this.#free.push(slot);
    if (!this.#paused) return;
    this.#paused = false;
    this.#socket?.resume();
  }
}

function newSlot(): Slot {
  return { bytes: new Uint8Array(bufferBytes), lentPieces: 0 };
}

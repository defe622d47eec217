import type { OnReadOpts, Socket } from 'node:net';
import { IncomingBytes } from './incoming-bytes.ts';

const buffersMax = 4;
const bufferBytes = 256 * 1024;

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
  readonly #free: Uint8Array<ArrayBuffer>[] = [];
  readonly #used = new Map<ArrayBufferLike, Uint8Array<ArrayBuffer>>();
  readonly #poison: boolean;
  #armed = new Uint8Array(bufferBytes);
  #paused = false;
  #socket: Socket | undefined;

  /** @param poison for tests: what is given back is overwritten at once */
  constructor(poison = false) {
    this.#poison = poison;
    this.incoming = new IncomingBytes({
      // The ring itself knows when there is no room.
      bufferedBytesMax: Number.POSITIVE_INFINITY,
      onRoom: () => undefined,
      onReturned: (piece) => this.#takeBack(piece),
    });
    this.onread = { buffer: () => this.#armed, callback: (receivedBytes) => this.#received(receivedBytes) };
  }

  /** Tells the ring its socket, once `net.connect` has returned it. */
  feedFrom(socket: Socket): void {
    this.#socket = socket;
  }

  #received(receivedBytes: number): boolean {
    const buffer = this.#armed;
    this.#used.set(buffer.buffer, buffer);
    this.#armed = this.#free.pop() ?? new Uint8Array(bufferBytes);
    // Node keeps the buffer it was given last, also while it is paused: one that is free has to stay with it.
    this.#paused = this.#used.size >= buffersMax - 1;
    this.incoming.push(buffer.subarray(0, receivedBytes));
    return !this.#paused;
  }

  #takeBack(piece: Uint8Array): void {
    const buffer = this.#used.get(piece.buffer);
    if (buffer === undefined) return;
    this.#used.delete(piece.buffer);
    if (this.#poison) buffer.fill(0xdb);
    this.#free.push(buffer);
    if (!this.#paused) return;
    this.#paused = false;
    this.#socket?.resume();
  }
}

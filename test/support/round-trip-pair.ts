import type { ByteStream } from '../../src/transport/byte-stream.ts';
import { memoryPair } from '../../src/transport/memory.ts';

/** Two ends with a line between them that counts instead of waiting. */
export interface RoundTripPair {
  readonly near: ByteStream;
  readonly far: ByteStream;
  /** How often what was written had to travel from near to far, one after the other. */
  readonly roundTrips: () => number;
}

/**
 * A pair whose line lets things through only when both sides have nothing left to do: all that was written until then
 * travels at once, as over a line whose delay is long and everything else short. No clock is involved.
 */
export function roundTripPair(): RoundTripPair {
  const options = { bufferBytesMax: 1024 * 1024 };
  const [near, nearLine] = memoryPair(options);
  const [farLine, far] = memoryPair(options);
  let travelled = 0;
  const toFar = new Queue();
  const toNear = new Queue();
  void toFar.fill(nearLine);
  void toNear.fill(farLine);
  const carry = async (): Promise<void> => {
    for (;;) {
      await idle();
      if (toFar.isOver && toNear.isOver) break;
      const [forth, back] = [toFar.take(), toNear.take()];
      if (forth.length > 0) travelled++;
      await Promise.all([pass(forth, farLine, toFar), pass(back, nearLine, toNear)]).catch(() => undefined);
      if (toFar.isOver) await farLine.close().catch(() => undefined);
      if (toNear.isOver) await nearLine.close().catch(() => undefined);
    }
  };
  void carry();
  return { near, far, roundTrips: () => travelled };
}

/** Turns of the event loop in which both sides get to do all that they can without the line. */
const turnsUntilIdle = 20;

async function idle(): Promise<void> {
  for (let turn = 0; turn < turnsUntilIdle; turn++) await new Promise((resolve) => setImmediate(resolve));
}

async function pass(pieces: readonly Uint8Array[], to: ByteStream, queue: Queue): Promise<void> {
  for (const piece of pieces) await to.write(piece);
  if (queue.isOver) await to.end();
}

class Queue {
  #pieces: Uint8Array[] = [];
  #hasEnded = false;

  /** Whether it has ended and everything in it was taken. */
  get isOver(): boolean {
    return this.#hasEnded && this.#pieces.length === 0;
  }

  take(): Uint8Array[] {
    return this.#pieces.splice(0);
  }

  async fill(line: ByteStream): Promise<void> {
    try {
      for await (const piece of line.source) this.#pieces.push(new Uint8Array(piece));
    } catch {
      // Broken is ended.
    }
    this.#hasEnded = true;
  }
}

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** What is held in this process after garbage collection, in bytes: heap and buffers. */
export async function heldBytes(): Promise<number> {
  // What is released by callbacks of this turn is garbage in the next.
  for (let turns = 0; turns < 3; turns++) {
    await new Promise((resolve) => setImmediate(resolve));
    collect();
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

/** Keeps the most that was held at any of its samples above what was held at its beginning. */
export interface MemoryGauge {
  sample(): Promise<void>;
  readonly grownBytesMax: number;
}

/** Begins to watch what this process holds. */
export async function memoryGauge(): Promise<MemoryGauge> {
  const before = await heldBytes();
  let grown = 0;
  return {
    async sample() {
      grown = Math.max(grown, (await heldBytes()) - before);
    },
    get grownBytesMax() {
      return grown;
    },
  };
}

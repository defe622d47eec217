import { randomFillSync } from 'node:crypto';

const idBytes = 16;
/** Asking for random bytes costs more than a small request does, so they are asked for by the page. */
const pool = new Uint8Array(4096);
let used = pool.byteLength;

/** A random id for a request. */
export function newRequestId(): Uint8Array {
  if (used === pool.byteLength) {
    randomFillSync(pool);
    used = 0;
  }
  used += idBytes;
  return pool.slice(used - idBytes, used);
}

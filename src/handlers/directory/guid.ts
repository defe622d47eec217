import { randomBytes } from 'node:crypto';

/** A new identity: random, 64 bits, never 0. */
export function newGuid(): bigint {
  for (;;) {
    const guid = randomBytes(8).readBigUInt64BE();
    if (guid !== 0n) return guid;
  }
}

import { createHash } from 'node:crypto';
import type { Uint8ArrayList } from 'uint8arraylist';
import xxhash from 'xxhash-wasm';

/**
 * Digest of a stream in version 2: `xxh64` finds damage at 10 GB/s and more; `sha256` also withstands someone who means it,
 * at a fifth of the speed.
 */
export type DigestAlgorithm = 'xxh64' | 'sha256';

/** What this side offers and accepts, the preferred first. */
export const digestAlgorithms: readonly DigestAlgorithm[] = ['xxh64', 'sha256'];

/** Whether a name a peer sent is one of {@link digestAlgorithms}. */
export function isDigestAlgorithm(name: string): name is DigestAlgorithm {
  return digestAlgorithms.some((algorithm) => algorithm === name);
}

/** Counts and digests a stream on its way. */
export interface StreamDigest {
  readonly bytes: number;
  update(bytes: Uint8Array | Uint8ArrayList): void;
  /** Lower-case hex; call once, at the end. Empty without an algorithm. */
  value(): string;
}

interface Hash {
  update(bytes: Uint8Array): unknown;
  value(): string;
}

type NewHash = () => Hash;

const hex64 = (value: bigint): string => value.toString(16).padStart(16, '0');

/** The native one is twice as fast, and may be missing: it is there for the common platforms only. */
async function nativeXxh64(): Promise<NewHash | null> {
  const native = await import('@node-rs/xxhash').catch(() => null);
  if (native === null) return null;
  return () => {
    const hash = new native.Xxh64();
    return { update: (bytes) => hash.update(bytes), value: () => hex64(hash.digest()) };
  };
}

async function portableXxh64(): Promise<NewHash> {
  const portable = await xxhash();
  return () => {
    const hash = portable.create64();
    return { update: (bytes) => hash.update(bytes), value: () => hex64(hash.digest()) };
  };
}

/** Both make the same digests; which one is used is decided when the first is needed. */
export const xxh64Implementations = { native: nativeXxh64, portable: portableXxh64 } as const;

let xxh64: Promise<NewHash> | null = null;

async function newXxh64(): Promise<Hash> {
  xxh64 ??= nativeXxh64().then((native) => native ?? portableXxh64());
  return (await xxh64)();
}

async function createDigest(algorithm: DigestAlgorithm | null): Promise<Hash> {
  if (algorithm === null) return { update: () => undefined, value: () => '' };
  if (algorithm === 'sha256') {
    const hash = createHash('sha256');
    return { update: (bytes) => hash.update(bytes), value: () => hash.digest('hex') };
  }
  return newXxh64();
}

/** A digest for one stream; with null it only counts. */
export async function streamDigest(algorithm: DigestAlgorithm | null): Promise<StreamDigest> {
  const hash = await createDigest(algorithm);
  let count = 0;
  return {
    get bytes() {
      return count;
    },
    update(bytes) {
      count += bytes.byteLength;
      if (bytes instanceof Uint8Array) hash.update(bytes);
      else for (const piece of bytes) hash.update(piece);
    },
    value: () => hash.value(),
  };
}

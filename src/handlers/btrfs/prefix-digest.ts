import { createHash } from 'node:crypto';
import { commandHeaderBytes } from './stream-format.ts';

/** A {@link PrefixDigest} on paper. */
export interface SavedPrefixDigest {
  /** Hex. */
  readonly chain: string;
  /** Base64. */
  readonly pending: string;
}

const blockBytes = 256 * commandHeaderBytes;
const chainBytes = 32;

/**
 * A digest over the commands of a stream so far, by which a sender that makes the stream again knows that it is the same up to there.
 * It covers every command's length, number and CRC-32C, and by that its contents, at no cost to speak of; and its state can be kept.
 */
export class PrefixDigest {
  #chain: Buffer;
  readonly #block = Buffer.alloc(blockBytes);
  #used = 0;

  /** Of a stream of which only the header has come. */
  constructor(version: number) {
    this.#chain = createHash('sha256').update(`btrfs stream ${version}`).digest();
  }

  /** @throws RangeError when it is not what {@link PrefixDigest.save} gave */
  static restore({ chain, pending }: SavedPrefixDigest): PrefixDigest {
    const restored = new PrefixDigest(1);
    const block = Buffer.from(pending, 'base64');
    restored.#chain = Buffer.from(chain, 'hex');
    if (restored.#chain.length !== chainBytes || block.length >= blockBytes) throw new RangeError('no saved digest');
    block.copy(restored.#block);
    restored.#used = block.length;
    return restored;
  }

  /** Adds a command by its header. */
  add(bytes: Uint8Array, at: number): void {
    this.#block.set(bytes.subarray(at, at + commandHeaderBytes), this.#used);
    this.#used += commandHeaderBytes;
    if (this.#used < blockBytes) return;
    this.#chain = createHash('sha256').update(this.#chain).update(this.#block).digest();
    this.#used = 0;
  }

  /** Hex. */
  value(): string {
    return createHash('sha256').update(this.#chain).update(this.#block.subarray(0, this.#used)).digest('hex');
  }

  save(): SavedPrefixDigest {
    return { chain: this.#chain.toString('hex'), pending: this.#block.subarray(0, this.#used).toString('base64') };
  }
}

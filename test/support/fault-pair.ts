import type { ByteStream } from '../../src/transport/byte-stream.ts';
import { memoryPair } from '../../src/transport/memory.ts';
import { whole, type Split } from './scripted-peer.ts';

/** What happens to the bytes of one direction on their way. */
export interface Fault {
  /** Changes a piece that begins at this offset of the direction; what it returns is passed on. */
  readonly change?: (piece: Uint8Array, offset: number) => Uint8Array;
  /** The direction ends in order after so many bytes, whatever else is sent. */
  readonly cutBytes?: number;
  /** How what arrives is cut into pieces. */
  readonly split?: Split;
}

/** Two ends with a faulty line between them. */
export interface FaultPair {
  readonly near: ByteStream;
  readonly far: ByteStream;
  /** Bytes that went through so far. */
  readonly sentBytes: { toFar: number; toNear: number };
  /** What near got. */
  readonly passedToNear: () => Buffer;
}

/** @param toFar, toNear what happens to what near and far send */
export function faultPair(toFar: Fault = {}, toNear: Fault = {}): FaultPair {
  const [near, nearLine] = memoryPair();
  const [farLine, far] = memoryPair();
  const sentBytes = { toFar: 0, toNear: 0 };
  const toNearPieces: Uint8Array[] = [];
  const end = (): void => {
    // Both ways: what a peer does that has vanished.
    void nearLine.close().catch(() => undefined);
    void farLine.close().catch(() => undefined);
  };
  void carry(nearLine, farLine, toFar, ({ byteLength }) => (sentBytes.toFar += byteLength)).finally(end);
  const passed = (bytes: Uint8Array): void => {
    sentBytes.toNear += bytes.byteLength;
    toNearPieces.push(bytes.slice());
  };
  void carry(farLine, nearLine, toNear, passed).finally(end);
  return { near, far, sentBytes, passedToNear: () => Buffer.concat(toNearPieces) };
}

async function carry(
  from: ByteStream,
  to: ByteStream,
  { change, cutBytes = Infinity, split = whole }: Fault,
  note: (passed: Uint8Array) => void,
): Promise<void> {
  let offset = 0;
  try {
    if (cutBytes === 0) return;
    for await (const piece of from.source) {
      const rest = piece.subarray(0, cutBytes - offset);
      const changed = change?.(rest, offset) ?? rest;
      offset += rest.byteLength;
      note(changed);
      for (const part of split(changed)) await to.write(part);
      if (offset >= cutBytes) return;
    }
  } catch {
    // One end has dropped the connection; the other is told by the end.
  }
}

/** A fault that changes the byte at `offset`. */
export function flip(offset: number, mask = 0x01): Fault {
  return {
    change(piece, start) {
      if (offset < start || offset >= start + piece.byteLength) return piece;
      const copy = piece.slice();
      copy[offset - start]! ^= mask;
      return copy;
    },
  };
}

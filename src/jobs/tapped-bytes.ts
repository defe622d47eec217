import type { TransferBytes } from '../sink.ts';

/** Who looks at the pieces of a transfer that pass. */
export interface BytesTap {
  /** Before a piece is handed on. If it throws, the transfer fails with that. */
  readonly onPiece?: (bytes: number) => Promise<void>;
  /** Once it is over, in whichever way; at most once. */
  readonly onOver?: () => void;
}

/** The bytes as they are, looked at. Closes them also when it is closed before the first piece was asked for, as no generator would. */
export function tappedBytes(bytes: TransferBytes, { onPiece, onOver }: BytesTap): TransferBytes {
  return {
    [Symbol.asyncIterator]() {
      const pieces = bytes[Symbol.asyncIterator]();
      let isOver = false;
      const end = (): void => {
        if (!isOver) onOver?.();
        isOver = true;
      };
      return {
        async next() {
          try {
            const piece = await pieces.next();
            if (piece.done === true) end();
            else await onPiece?.(piece.value.byteLength);
            return piece;
          } catch (error) {
            await pieces.return?.();
            end();
            throw error;
          }
        },
        async return() {
          try {
            await pieces.return?.();
          } finally {
            end();
          }
          return { done: true, value: undefined };
        },
      };
    },
  };
}

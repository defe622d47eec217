import type { TransferBytes } from '../sink.ts';

/** A transfer's bytes on their way to a sink, with knowledge of how they ended. */
export interface WatchedBytes {
  /** For the sink. */
  readonly bytes: TransferBytes;
  /** Whether they were read to their end, which for a transfer means: whole and verified. */
  isComplete(): boolean;
  /** What the source threw of its own accord, not because it was told to stop. */
  failure(): { readonly error: unknown } | null;
  /** Makes the source stop, and waits until it has. Rejects if it fails over that. Idempotent. */
  close(): Promise<void>;
}

/**
 * Passes bytes on as they are and counts them. Closing always gets through: neither a generator that waits for a piece
 * nor one that was never begun reacts to `return()`, so then `stop`, the signal of the transfer's call, is aborted too.
 */
export function watchBytes(
  source: TransferBytes,
  stop: AbortController,
  onBytes: (count: number) => void,
): WatchedBytes {
  const iterator = source[Symbol.asyncIterator]();
  let isBegun = false;
  let isComplete = false;
  let failure: { readonly error: unknown } | null = null;
  let pending: Promise<unknown> | null = null;
  let closing: Promise<void> | null = null;

  const read = async () => {
    try {
      const result = await iterator.next();
      if (result.done === true) isComplete = true;
      else onBytes(result.value.byteLength);
      return result;
    } catch (error) {
      if (closing === null) failure ??= { error };
      throw error;
    } finally {
      pending = null;
    }
  };
  const stopSource = async () => {
    const waiting = pending;
    if (waiting !== null || !isBegun) stop.abort();
    for (const outcome of await Promise.allSettled([waiting, iterator.return?.()])) {
      if (outcome.status === 'rejected') throw outcome.reason;
    }
  };
  const close = () => (closing ??= isComplete || failure !== null ? Promise.resolve() : stopSource());

  return {
    isComplete: () => isComplete,
    failure: () => failure,
    close,
    bytes: {
      [Symbol.asyncIterator]: () => ({
        next() {
          isBegun = true;
          const result = read();
          pending = result;
          return result;
        },
        async return() {
          await close();
          return { done: true, value: undefined };
        },
      }),
    },
  };
}

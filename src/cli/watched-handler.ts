import { SnapferryError } from '../errors.ts';
import { delegating } from '../handlers/delegating.ts';
import type { IncrementalTransferRequest, InitialTransferRequest, RPCHandler, Transfer } from '../rpc/interfaces.ts';
import type { TransferBytes } from '../sink.ts';

/** News of what a handler is doing. */
export interface HandlerWatch {
  /** A transfer has begun. */
  readonly onTransfer?: (request: InitialTransferRequest | IncrementalTransferRequest, transfer: Transfer) => void;
  /** Payload has gone out. */
  readonly onBytes?: (bytes: number) => void;
  /** A transfer ended before its end because the source failed; one that its receiver left is no failure. */
  readonly onTransferFailed?: (error: unknown) => void;
}

/** A handler whose transfers are watched. What they send is not changed. */
export function watchedTransfers(handler: RPCHandler, watch: HandlerWatch): RPCHandler {
  const watched = (request: InitialTransferRequest | IncrementalTransferRequest, transfer: Transfer): Transfer => {
    watch.onTransfer?.(request, transfer);
    return { ...transfer, bytes: watchedBytes(transfer.bytes, watch) };
  };
  return delegating(handler, {
    initialTransfer: async (request, context) => watched(request, await handler.initialTransfer(request, context)),
    incrementalTransfer: async (request, context) =>
      watched(request, await handler.incrementalTransfer(request, context)),
  });
}

async function* watchedBytes(bytes: TransferBytes, watch: HandlerWatch): TransferBytes {
  try {
    for await (const piece of bytes) {
      const length = piece.byteLength;
      yield piece;
      watch.onBytes?.(length);
    }
  } catch (error) {
    if (!(error instanceof SnapferryError && error.code === 'CANCELLED')) watch.onTransferFailed?.(error);
    throw error;
  }
}

/** A handler that can be told to leave. */
export interface LeavingHandler {
  readonly handler: RPCHandler;
  /**
   * Refuses every further request with `GOODBYE`. Resolves once the request in progress, with its transfer or
   * pull, is over; at once when there is none.
   */
  readonly leave: () => Promise<void>;
}

/** Counts what a handler has under way, so that a server can stop between two requests. */
export function leavingHandler(handler: RPCHandler): LeavingHandler {
  let active = 0;
  let isLeaving = false;
  let onIdle = (): void => {};
  const over = (): void => {
    active -= 1;
    if (active === 0) onIdle();
  };
  const begin = (): void => {
    if (isLeaving) throw new SnapferryError('GOODBYE', 'this server is being stopped; try again in a moment');
    active += 1;
  };
  const during = async <T>(work: () => Promise<T>): Promise<T> => {
    begin();
    try {
      return await work();
    } finally {
      over();
    }
  };
  /** Counted until its last byte is out, or it was left. */
  const transferring = async (start: () => Promise<Transfer>): Promise<Transfer> => {
    begin();
    try {
      const transfer = await start();
      return { ...transfer, bytes: untilOver(transfer.bytes, over) };
    } catch (error) {
      over();
      throw error;
    }
  };
  const pullMe = handler.pullMe?.bind(handler);
  const counted = delegating(handler, {
    filesystems: (request, context) => during(() => handler.filesystems(request, context)),
    filesystemVersions: (request, context) => during(() => handler.filesystemVersions(request, context)),
    initialTransfer: (request, context) => transferring(() => handler.initialTransfer(request, context)),
    incrementalTransfer: (request, context) => transferring(() => handler.incrementalTransfer(request, context)),
    ...(pullMe && {
      async pullMe(request, context) {
        const pull = await during(() => pullMe(request, context));
        return (client) => during(() => pull(client));
      },
    }),
  });
  return {
    handler: counted,
    leave() {
      isLeaving = true;
      return active === 0 ? Promise.resolve() : new Promise((resolve) => (onIdle = resolve));
    },
  };
}

async function* untilOver(bytes: TransferBytes, over: () => void): TransferBytes {
  try {
    yield* bytes;
  } finally {
    over();
  }
}

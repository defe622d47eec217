import { SnapferryError } from '../errors.ts';
import { delegating } from '../handlers/delegating.ts';
import type { IncrementalTransferRequest, InitialTransferRequest, RPCHandler, Transfer } from '../rpc/interfaces.ts';
import type { TransferBytes } from '../sink.ts';

/** News of what a handler is doing. */
export interface HandlerWatch {
  /** A transfer has begun. */
  readonly onTransfer?: (request: InitialTransferRequest | IncrementalTransferRequest, transfer: Transfer) => void;
  /** Payload of a transfer has gone out. */
  readonly onBytes?: (bytes: number, request: InitialTransferRequest | IncrementalTransferRequest) => void;
  /** A transfer ended before its end because the source failed; one that its receiver left is no failure. */
  readonly onTransferFailed?: (error: unknown) => void;
}

/** A handler whose transfers are watched. What they send is not changed. */
export function watchedTransfers(handler: RPCHandler, watch: HandlerWatch): RPCHandler {
  const watched = (request: InitialTransferRequest | IncrementalTransferRequest, transfer: Transfer): Transfer => {
    watch.onTransfer?.(request, transfer);
    return { ...transfer, bytes: watchedBytes(transfer.bytes, watch, request) };
  };
  return delegating(handler, {
    initialTransfer: async (request, context) => watched(request, await handler.initialTransfer(request, context)),
    incrementalTransfer: async (request, context) =>
      watched(request, await handler.incrementalTransfer(request, context)),
  });
}

async function* watchedBytes(
  bytes: TransferBytes,
  watch: HandlerWatch,
  request: InitialTransferRequest | IncrementalTransferRequest,
): TransferBytes {
  try {
    for await (const piece of bytes) {
      const length = piece.byteLength;
      yield piece;
      watch.onBytes?.(length, request);
    }
  } catch (error) {
    if (!(error instanceof SnapferryError && error.code === 'CANCELLED')) watch.onTransferFailed?.(error);
    throw error;
  }
}

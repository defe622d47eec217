import type { Backend } from '../config/job.ts';
import { formatDatasetPath } from '../dataset.ts';
import type { DatasetPath } from '../dataset.ts';
import { SnapferryError } from '../errors.ts';
import { delegating } from '../handlers/delegating.ts';
import type { RPCHandler, Transfer } from '../rpc/interfaces.ts';
import type { DatasetTurns, EndTurn } from './dataset-turns.ts';
import { tappedBytes } from './tapped-bytes.ts';

/** A source of which nothing is pruned while it is being sent. A dataset that is being pruned is refused with `BUSY`. */
export function sourceInTurn(handler: RPCHandler, backend: Backend, turns: DatasetTurns): RPCHandler {
  const inTurn = async (
    dataset: DatasetPath,
    signal: AbortSignal,
    begin: () => Promise<Transfer>,
  ): Promise<Transfer> => {
    const end = turns.tryRead(backend, dataset);
    if (end === null) {
      throw new SnapferryError('BUSY', `${formatDatasetPath(dataset)} is being pruned; try again in a moment`);
    }
    try {
      return held(await begin(), signal, end);
    } catch (error) {
      end();
      throw error;
    }
  };
  return delegating(handler, {
    initialTransfer: (request, context) =>
      inTurn(request.filesystem, context.signal, () => handler.initialTransfer(request, context)),
    incrementalTransfer: (request, context) =>
      inTurn(request.filesystem, context.signal, () => handler.incrementalTransfer(request, context)),
  });
}

/** The turn ends with the bytes; with the request if nobody ever reads them. */
function held(transfer: Transfer, signal: AbortSignal, end: EndTurn): Transfer {
  signal.addEventListener('abort', end, { once: true });
  const onOver = (): void => {
    signal.removeEventListener('abort', end);
    end();
  };
  if (signal.aborted) end();
  return { ...transfer, bytes: tappedBytes(transfer.bytes, { onOver }) };
}

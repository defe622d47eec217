import { formatVersion } from '../dataset.ts';
import type { DatasetPath } from '../dataset.ts';
import { SnapferryError } from '../errors.ts';
import type { Progress, RPCRequester, Transfer } from '../rpc/interfaces.ts';
import type { ReceiveResult, ReplicationSink } from '../sink.ts';
import { combineFailures, failureOf, isCausedBy } from './failure.ts';
import type { Step } from './plan.ts';
import { watchBytes } from './watch-bytes.ts';
import type { WatchedBytes } from './watch-bytes.ts';

/** What {@link runStep} takes. */
export interface StepRequest {
  readonly client: RPCRequester;
  readonly sink: ReplicationSink;
  /** Name at the source. */
  readonly filesystem: DatasetPath;
  /** Name at the sink. */
  readonly target: DatasetPath;
  readonly step: Step;
  readonly jobId: string;
  readonly signal: AbortSignal | undefined;
  /** The source has begun to send. */
  onStarted(transfer: Transfer): void;
  /** So many payload bytes have come. */
  onBytes(count: number): void;
  onProgress(progress: Progress): void;
  /** The connection to the source is dead, for this reason. */
  onConnectionLost(error: SnapferryError): void;
}

/**
 * One transfer from the request to the commit. Resolves once the sink has committed. If the source fails, rejects with
 * the source's error; if the sink fails while the source would go on, with the sink's, and the source is told to stop. If
 * both fail, the one that failed first is the error and the other is attached to it.
 */
export async function runStep(request: StepRequest): Promise<ReceiveResult> {
  const { sink, step, signal } = request;
  const doing = `replicating ${formatVersion(step.to)}`;
  const stop = new AbortController();
  const forward = () => stop.abort(signal?.reason);
  if (signal?.aborted === true) forward();
  signal?.addEventListener('abort', forward, { once: true });
  try {
    const transfer = await offer(request, stop.signal).catch((error: unknown) => {
      throw sourceFailure(request, error, doing);
    });
    request.onStarted(transfer);
    const watched = watchBytes(transfer.bytes, stop, (count) => request.onBytes(count));
    let result: ReceiveResult;
    try {
      result = await sink.receive(
        {
          filesystem: request.target,
          from: step.from,
          to: step.to,
          format: transfer.format,
          resumed: transfer.resumed,
        },
        watched.bytes,
        signal,
      );
    } catch (sinkError) {
      throw await receiveFailure(request, watched, sinkError);
    }
    const source = watched.failure();
    if (source !== null) throw sourceFailure(request, source.error, doing);
    if (!watched.isComplete()) {
      await watched.close();
      throw new SnapferryError(
        'INTERNAL',
        `${doing}: the target took it as complete without reading the source's transfer to its verified end`,
      );
    }
    return result;
  } finally {
    signal?.removeEventListener('abort', forward);
  }
}

function offer(request: StepRequest, signal: AbortSignal): Promise<Transfer> {
  const { client, filesystem, step, jobId } = request;
  const options = { signal, onProgress: (progress: Progress) => request.onProgress(progress) };
  const rest = { filesystem, jobId, ...(step.resumeToken === null ? {} : { resumeToken: step.resumeToken }) };
  return step.from === null
    ? client.initialTransfer({ ...rest, version: step.to }, options)
    : client.incrementalTransfer({ ...rest, from: step.from, to: step.to }, options);
}

function sourceFailure(request: StepRequest, error: unknown, doing: string): SnapferryError {
  const failure = failureOf(error, doing, request.signal);
  if (failure.connectionDead) request.onConnectionLost(failure);
  return failure;
}

/** Which of the errors of a failed receive comes first. Ends the transfer. */
async function receiveFailure(
  request: StepRequest,
  watched: WatchedBytes,
  sinkError: unknown,
): Promise<SnapferryError> {
  const doing = `replicating ${formatVersion(request.step.to)}`;
  const source = watched.failure();
  if (source !== null) {
    const primary = sourceFailure(request, source.error, doing);
    if (isCausedBy(sinkError, source.error)) return primary;
    const other = failureOf(sinkError, 'receiving', request.signal);
    return other.code === 'CANCELLED' ? primary : combineFailures(primary, other, 'the target failed too');
  }
  const primary = failureOf(sinkError, doing, request.signal);
  if (request.client.protocolVersion === 1 && !watched.isComplete()) {
    const why = 'a version-1 sender can only be stopped in mid transfer by dropping the connection';
    request.onConnectionLost(new SnapferryError('CONNECTION_LOST', why, { cause: primary }));
  }
  try {
    await watched.close();
  } catch (error) {
    const other = sourceFailure(request, error, 'sending');
    if (other.code !== 'CANCELLED') return combineFailures(primary, other, 'the source failed too');
  }
  return primary;
}

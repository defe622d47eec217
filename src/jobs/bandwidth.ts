import type { BandwidthLimit } from '../config/transfer-settings.ts';
import { delegating } from '../handlers/delegating.ts';
import type { RPCHandler, Transfer } from '../rpc/interfaces.ts';
import type { ReplicationSink, TransferBytes } from '../sink.ts';
import type { Clock } from './clock.ts';
import { wait } from './clock-wait.ts';
import { delegatingSink } from './delegating-sink.ts';
import { tappedBytes } from './tapped-bytes.ts';

const msPerSecond = 1000;

/**
 * A bucket that fills with a certain rate up to a certain size, and from which every piece of a transfer takes its bytes. A piece that is
 * larger than what is there is let through once its debt is paid, so pieces need not be cut.
 */
export class Bandwidth {
  readonly #limit: BandwidthLimit;
  readonly #clock: Clock;
  #balanceBytes: number;
  #filledMs: number;

  constructor(limit: BandwidthLimit, clock: Clock) {
    this.#limit = limit;
    this.#clock = clock;
    this.#balanceBytes = limit.burstBytesMax;
    this.#filledMs = clock.monotonicMs();
  }

  /**
   * Resolves when so many bytes may pass.
   * @throws SnapferryError `CANCELLED`
   */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    const { bytesPerSecondMax, burstBytesMax } = this.#limit;
    const nowMs = this.#clock.monotonicMs();
    const gained = ((nowMs - this.#filledMs) * bytesPerSecondMax) / msPerSecond;
    this.#filledMs = nowMs;
    this.#balanceBytes = Math.min(burstBytesMax, this.#balanceBytes + gained) - bytes;
    if (this.#balanceBytes >= 0) return;
    // Whoever comes next waits for this debt and its own.
    await wait(this.#clock, (-this.#balanceBytes * msPerSecond) / bytesPerSecondMax, signal);
  }
}

/** A source whose transfers, all together, keep to a bandwidth. Null: as it is. */
export function limitedSource(handler: RPCHandler, bandwidth: Bandwidth | null): RPCHandler {
  if (bandwidth === null) return handler;
  const limited = (transfer: Transfer, signal: AbortSignal): Transfer => ({
    ...transfer,
    bytes: limitedBytes(transfer.bytes, bandwidth, signal),
  });
  return delegating(handler, {
    initialTransfer: async (request, context) =>
      limited(await handler.initialTransfer(request, context), context.signal),
    incrementalTransfer: async (request, context) =>
      limited(await handler.incrementalTransfer(request, context), context.signal),
  });
}

/** A sink whose receives, all together, keep to a bandwidth. Null: as it is. */
export function limitedSink(sink: ReplicationSink, bandwidth: Bandwidth | null): ReplicationSink {
  if (bandwidth === null) return sink;
  return delegatingSink(sink, {
    receive: (request, bytes, signal) =>
      sink.receive(request, limitedBytes(bytes, bandwidth, signal ?? new AbortController().signal), signal),
  });
}

function limitedBytes(bytes: TransferBytes, bandwidth: Bandwidth, signal: AbortSignal): TransferBytes {
  return tappedBytes(bytes, { onPiece: (count) => bandwidth.take(count, signal) });
}

import type { ReplicationSettings } from '../config/transfer-settings.ts';
import { spellDuration } from '../duration.ts';
import { SnapferryError } from '../errors.ts';
import type { Clock } from './clock.ts';
import { wait } from './clock-wait.ts';
import { eitherSignal } from './either-signal.ts';
import { StallGuard } from './stall-guard.ts';

/** What an attempt has come to. */
export interface Attempt {
  /** Whether something is left to do that may work a little later. */
  readonly isLeft: boolean;
  /** Whether something has arrived for good, which gives new patience. */
  readonly hasArrived: boolean;
}

/** How attempts are made. */
export interface AttemptsOptions {
  readonly retry: ReplicationSettings['retry'];
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Told before each wait. */
  readonly onRetry: (waitMs: number) => void;
}

/**
 * Makes attempts until nothing is left to do, or patience is at its end: so many in a row without anything having arrived, with waits
 * between them that grow. Resolves then; whoever made the attempts knows what is left.
 * @throws SnapferryError `CANCELLED` when a wait was cut short
 */
export async function attempts(attempt: () => Promise<Attempt>, options: AttemptsOptions): Promise<void> {
  const { retry, clock, signal, onRetry } = options;
  for (let count = 1; ; count++) {
    const { isLeft, hasArrived } = await attempt();
    if (hasArrived) count = 1;
    if (!isLeft || count >= retry.attemptsMax || signal.aborted) return;
    const waitMs = Math.min(retry.waitMsMax, retry.waitMsMin * 2 ** (count - 1));
    onRetry(waitMs);
    await wait(clock, waitMs, signal);
  }
}

/**
 * Runs work that has to move: `onMove` says that it does. When nothing has moved for so long, its signal is aborted with `TIMEOUT`. The
 * signal may be handed to any number of calls at once.
 */
export async function whileMoving<T>(
  {
    clock,
    signal,
    stallMsMax,
    what,
  }: Pick<AttemptsOptions, 'clock' | 'signal'> & {
    readonly stallMsMax: number;
    readonly what: string;
  },
  work: (signal: AbortSignal, onMove: () => void) => Promise<T>,
): Promise<T> {
  const stalled = new AbortController();
  const guard = new StallGuard(clock, stallMsMax, () => {
    const text = `${what}: nothing has moved for ${spellDuration(stallMsMax)}, so it was stopped; see whether the other side is all right`;
    stalled.abort(new SnapferryError('TIMEOUT', text));
  });
  const either = eitherSignal(signal, stalled.signal);
  try {
    return await work(either.signal, () => guard.touch());
  } finally {
    guard.close();
    either.unlink();
  }
}

import type { ReplicationSettings } from '../config/transfer-settings.ts';
import { spellDuration } from '../duration.ts';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import type { Clock } from './clock.ts';
import { wait } from './clock-wait.ts';
import { eitherSignal } from './either-signal.ts';
import type { RunLedger } from './run-ledger.ts';
import type { RunError } from './run-result.ts';
import { StallGuard } from './stall-guard.ts';

/** What an attempt has come to. */
export interface Attempt {
  /** Whether something is left to do that may work a little later. */
  readonly isLeft: boolean;
  /** Whether something has arrived for good, which gives new patience. */
  readonly hasArrived: boolean;
}

/** How the attempts of a run are made, and told of. */
export interface ToldAttemptsOptions {
  readonly settings: Pick<ReplicationSettings, 'retry'>;
  readonly clock: Clock;
  readonly ledger: RunLedger;
  readonly signal: AbortSignal;
  readonly onMove: () => void;
  /** Why there is another one, by dataset; null: the run as a whole. */
  readonly reasons: () => Iterable<readonly [dataset: string | null, error: RunError]>;
}

/**
 * {@link attempts} that the events of a run tell of. A wait is no stall.
 * @returns why the waiting was cut short; null: it was not
 */
export async function toldAttempts(
  attempt: () => Promise<Attempt>,
  { settings, clock, ledger, signal, onMove, reasons }: ToldAttemptsOptions,
): Promise<SnapferryError | null> {
  const onRetry = (waitMs: number): void => {
    onMove();
    for (const [dataset, error] of reasons()) ledger.tell({ kind: 'retrying', dataset, error, waitMs });
  };
  try {
    await attempts(attempt, { retry: settings.retry, clock, signal, onRetry });
    return null;
  } catch (error) {
    return toSnapferryError(error);
  }
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

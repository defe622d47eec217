import pRetry from 'p-retry';
import { SnapferryError } from '../errors.ts';

/** How often and how long to wait for something busy. */
export interface RetryPolicy {
  /** Attempts in all; 1 never repeats. */
  readonly attemptsMax: number;
  /** Before the second attempt; doubled for each later one. */
  readonly waitMsMin: number;
  /** No wait is longer. */
  readonly waitMsMax: number;
}

/** The defaults of {@link RetryPolicy}: about half a minute in all. */
export const defaultRetryPolicy: RetryPolicy = { attemptsMax: 6, waitMsMin: 1000, waitMsMax: 15_000 };

/**
 * Whether the same call over the same connection may be repeated: only if something was busy. After every other
 * retryable error the connection is gone or going, so whoever dialled has to dial again; the rest will not get
 * better by itself. An error that is no SnapferryError is a bug, here or in a backend. Pure.
 */
export function mayRetry(error: unknown): error is SnapferryError {
  return error instanceof SnapferryError && error.code === 'BUSY' && error.retryable;
}

/** What {@link retrying} takes beside the attempt. */
export interface RetryingOptions {
  /** Fields left out are those of {@link defaultRetryPolicy}. */
  readonly policy?: Partial<RetryPolicy> | undefined;
  /** Cuts a wait short. */
  readonly signal?: AbortSignal | undefined;
  /** Told before each wait. */
  readonly onRetry?: ((error: SnapferryError) => void) | undefined;
  /** Asked in addition to {@link mayRetry}. */
  readonly unless?: (() => boolean) | undefined;
}

/**
 * Runs `attempt` until it succeeds, fails in a way that {@link mayRetry} does not repeat, or the policy is exhausted.
 * Rejects with the last error, or with the signal's reason.
 */
export async function retrying<T>(attempt: () => Promise<T>, options: RetryingOptions): Promise<T> {
  const { attemptsMax, waitMsMin, waitMsMax } = { ...defaultRetryPolicy, ...options.policy };
  const successes: T[] = [];
  try {
    await pRetry(
      async () => {
        successes.push(await attempt());
      },
      {
        retries: attemptsMax - 1,
        minTimeout: waitMsMin,
        maxTimeout: waitMsMax,
        factor: 2,
        signal: options.signal,
        shouldRetry({ error }) {
          if (!mayRetry(error) || options.unless?.() === true) return false;
          options.onRetry?.(error);
          return true;
        },
      },
    );
  } catch (error) {
    // p-retry reports an abort even when it came just after the attempt had succeeded, and a success may be a commit.
    if (successes.length === 0) throw error;
  }
  return successes[0] as T;
}

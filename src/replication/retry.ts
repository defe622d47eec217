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
 * better by itself. An error that is no SnapferryError is a bug, here or in a backend.
 */
export function mayRetry(error: unknown): boolean {
  return error instanceof SnapferryError && error.code === 'BUSY' && error.retryable;
}

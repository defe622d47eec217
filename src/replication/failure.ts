import { SnapferryError, toSnapferryError } from '../errors.ts';

/** The error as a SnapferryError, `CANCELLED` if it is nothing but the signal's reason coming back. */
export function failureOf(error: unknown, doing: string, signal?: AbortSignal): SnapferryError {
  if (error instanceof SnapferryError) return error;
  if (signal?.aborted === true && error === signal.reason) {
    return new SnapferryError('CANCELLED', `${doing}: cancelled`, { cause: error });
  }
  return toSnapferryError(error, 'INTERNAL', doing);
}

/** Whether `error` is `cause` or names it, at any depth, as its cause. */
export function isCausedBy(error: unknown, cause: unknown): boolean {
  const seen = new Set<unknown>();
  let current = error;
  while (current !== undefined && !seen.has(current)) {
    if (current === cause) return true;
    seen.add(current);
    current = current instanceof Error ? current.cause : undefined;
  }
  return false;
}

/** One error for two failures: everything of the primary one, with the other's text added and both as its cause. */
export function combineFailures(primary: SnapferryError, other: SnapferryError, otherIs: string): SnapferryError {
  return new SnapferryError(primary.code, `${primary.message}; ${otherIs}: ${other.message}`, {
    cause: new AggregateError([primary, other], primary.message),
    retryable: primary.retryable,
    fromPeer: primary.fromPeer,
  });
}

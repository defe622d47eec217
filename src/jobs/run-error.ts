import { isErrorCode, SnapferryError, toSnapferryError } from '../errors.ts';
import type { ErrorCode } from '../errors.ts';
import type { RunError } from './run-result.ts';

/** The error as plain data. A foreign one gets the code `fallback`. */
export function toRunError(error: unknown, fallback: ErrorCode = 'INTERNAL'): RunError {
  const { code, message } = toSnapferryError(error, fallback);
  return { code, message };
}

/** Whether an error of that code mostly passes by itself. One that a newer peer invented does not. */
export function isRetryableCode(code: string | null): boolean {
  return code !== null && isErrorCode(code) && new SnapferryError(code, '').retryable;
}

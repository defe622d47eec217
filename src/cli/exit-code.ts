import type { ErrorCode } from '../errors.ts';
import type { FilesystemResult } from '../rpc/interfaces.ts';

/** What the program's exit status says. Scripts and systemd units branch on these; they never change their meaning. */
export const exitCodes = {
  done: 0,
  failed: 1,
  /** The command line or a configuration file is wrong; nothing was done. */
  usage: 2,
  /** Some datasets failed, or what was committed lacks files that could not be read. */
  incomplete: 3,
  /** The same command may work a little later (EX_TEMPFAIL of sysexits). */
  tryAgainLater: 75,
  interrupted: 130,
} as const;

/** One of the values of {@link exitCodes}. */
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** The codes of errors that only a program can make, beside those of the library. */
export type ProgramErrorCode = ErrorCode | 'USAGE' | 'CONFIGURATION';

const exitCodeByErrorCode: Readonly<Record<ProgramErrorCode, ExitCode>> = {
  CONNECT_FAILED: exitCodes.tryAgainLater,
  CONNECTION_LOST: exitCodes.tryAgainLater,
  STREAM_TRUNCATED: exitCodes.tryAgainLater,
  PEER_SILENT: exitCodes.tryAgainLater,
  TIMEOUT: exitCodes.tryAgainLater,
  PROTOCOL_VERSION: exitCodes.failed,
  PROTOCOL_VIOLATION: exitCodes.failed,
  LIMIT_EXCEEDED: exitCodes.failed,
  DIGEST_MISMATCH: exitCodes.failed,
  UNKNOWN_REQUEST: exitCodes.failed,
  INVALID_REQUEST: exitCodes.failed,
  ACCESS_DENIED: exitCodes.failed,
  DATASET_NOT_FOUND: exitCodes.failed,
  VERSION_NOT_FOUND: exitCodes.failed,
  RESUME_TOKEN_INVALID: exitCodes.failed,
  STREAM_FORMAT_MISMATCH: exitCodes.failed,
  BUSY: exitCodes.tryAgainLater,
  CANCELLED: exitCodes.failed,
  GOODBYE: exitCodes.tryAgainLater,
  SOURCE_FAILED: exitCodes.failed,
  INTERNAL: exitCodes.failed,
  USAGE: exitCodes.usage,
  CONFIGURATION: exitCodes.usage,
};

/**
 * The exit code of an error by its code. An error that knows better than its code whether a retry helps is believed; a
 * code we do not know (from a newer peer) is a plain failure.
 */
export function exitCodeOf(error: {
  readonly code: string | null;
  readonly retryable?: boolean | undefined;
}): ExitCode {
  const { code, retryable } = error;
  const byCode =
    code !== null && Object.hasOwn(exitCodeByErrorCode, code)
      ? exitCodeByErrorCode[code as ProgramErrorCode]
      : exitCodes.failed;
  if (byCode === exitCodes.usage || retryable === undefined) return byCode;
  if (retryable) return exitCodes.tryAgainLater;
  return byCode === exitCodes.tryAgainLater ? exitCodes.failed : byCode;
}

/**
 * The exit code of a run by its results. `incomplete` means that something was committed although not all of it went
 * well; a run in which nothing worked has the code of its first failure.
 */
export function exitCodeOfResults(results: readonly FilesystemResult[]): ExitCode {
  const failures = results.filter((result) => !result.ok);
  const first = failures[0];
  if (first === undefined) return exitCodes.done;
  const somethingCommitted = results.some((result) => result.ok || result.steps > 0 || result.missing.length > 0);
  return somethingCommitted ? exitCodes.incomplete : exitCodeOf(first);
}

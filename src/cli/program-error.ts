import { ConfigurationError } from '../config/configuration-error.ts';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import type { ErrorCode } from '../errors.ts';

import { printableLines } from './format.ts';
import { UsageError } from './usage-error.ts';

/** An error as a person or a script is told about it. */
export interface ErrorReport {
  readonly code: string;
  /** What was being done and what happened. May have several lines. */
  readonly message: string;
  /** What to do next; null when there is nothing to advise beyond the message. */
  readonly advice: string | null;
  /** Whether the same command may work a little later. */
  readonly retryable: boolean;
}

const adviceOf: Partial<Record<ErrorCode, string>> = {
  CONNECT_FAILED:
    'check that the host can be reached with ssh and that snapferry is installed there, then run it again',
  CONNECTION_LOST: 'run the same command again; what has arrived whole is not sent again',
  STREAM_TRUNCATED: 'run the same command again; what has arrived whole is not sent again',
  PEER_SILENT: 'check the network and the other machine, then run the same command again',
  TIMEOUT: 'check the other machine, then run the same command again',
  PROTOCOL_VERSION: 'install the same version of snapferry on both machines',
  PROTOCOL_VIOLATION: 'nothing was committed; if both machines run snapferry, please report this',
  DIGEST_MISMATCH: 'nothing was committed; run it again, and test the memory and the network of both machines',
  BUSY: 'wait until the other run has ended, then run it again',
  GOODBYE: 'run it again once the other side is back',
  INTERNAL: 'this is a fault in snapferry; please report it with the output of -vv',
};

/** What to tell about an error, wherever it came from. */
export function reportError(error: unknown): ErrorReport {
  if (error instanceof UsageError || error instanceof ConfigurationError) {
    return { code: error.code, message: error.message, advice: null, retryable: false };
  }
  const failure = error instanceof SnapferryError ? error : fromSystem(error);
  const { code, message, retryable } = failure;
  return { code, message, advice: adviceOf[code] ?? null, retryable };
}

/** Node's own errors of files and programs say enough and are no fault of ours. */
function fromSystem(error: unknown): SnapferryError {
  const code = (error as NodeJS.ErrnoException | null)?.code;
  const isOfTheSystem = error instanceof Error && typeof code === 'string' && /^E[A-Z0-9]+$/.test(code);
  return toSnapferryError(error, isOfTheSystem ? 'SOURCE_FAILED' : 'INTERNAL');
}

/** The lines that end a failed command: what failed, how, `(CODE)`, and what to do next. */
export function renderError(report: ErrorReport, doing: string | null): string {
  const [first = '', ...rest] = printableLines(report.message).split('\n');
  const head = `snapferry: ${doing === null ? '' : `${printableLines(doing)}: `}${first} (${report.code})`;
  const lines = [head, ...rest.map((line) => `  ${line}`)];
  if (report.advice !== null) lines.push(`  what to do: ${report.advice}`);
  return `${lines.join('\n')}\n`;
}

import { SnapferryError } from '../errors.ts';
import type { Logger } from '../rpc/interfaces.ts';
import { exitCodeOf, exitCodes } from './exit-code.ts';
import type { ExitCode } from './exit-code.ts';
import { listenForInterruption } from './interruption.ts';
import { programLogger } from './program-logger.ts';
import { renderError, reportError } from './program-error.ts';
import { processTerminal } from './terminal.ts';
import type { Terminal } from './terminal.ts';

/** The options every command has. */
export interface OutputOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
  /** Times -v was given. */
  readonly verbose?: number;
  readonly logJson?: boolean;
}

/** What a command works with. */
export interface Run {
  readonly terminal: Terminal;
  readonly logger: Logger;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
}

/** A command to be run. */
export interface RunOptions {
  readonly output: OutputOptions;
  /** What is being done, to which, for the front of an error: `pull web1:/srv to /backup`. */
  readonly doing: string;
  readonly body: (run: Run) => Promise<ExitCode>;
  /** What a person who interrupted it should know; several lines are fine. */
  readonly onInterrupted?: () => Promise<string> | string;
}

/**
 * Runs the body of a command and sets the exit code: the body's, or that of its error, which is reported on stderr (in
 * JSON mode on stdout too). Never rejects.
 */
export async function runCommand({ output, doing, body, onInterrupted }: RunOptions): Promise<void> {
  const verbose = output.verbose ?? 0;
  const terminal = processTerminal({
    json: output.json === true,
    quiet: output.quiet === true,
    logs: verbose > 0,
  });
  const interruption = listenForInterruption((name) => {
    terminal.writeError(`${name}: stopping in order; once more stops at once\n`);
  });
  const { signal } = interruption;
  try {
    const logger = await programLogger({ verbose, json: output.logJson === true });
    const exitCode = await body({ terminal, logger, signal });
    // What was done in spite of the signal is done.
    if (signal.aborted && exitCode !== exitCodes.done) throw signal.reason;
    process.exitCode = exitCode;
  } catch (error) {
    process.exitCode = signal.aborted ? exitCodes.interrupted : exitCodeOf(reportError(error));
    if (signal.aborted) await reportInterruption(terminal, doing, onInterrupted);
    else reportFailure(terminal, doing, error);
    if (verbose > 1) terminal.writeError(`${stackOf(error)}\n`);
  } finally {
    terminal.progress.clear();
    interruption[Symbol.dispose]();
  }
}

function reportFailure(terminal: Terminal, doing: string, error: unknown): void {
  const report = reportError(error);
  terminal.writeError(renderError(report, doing));
  terminal.printJSON({ error: { doing, ...report } });
}

async function reportInterruption(
  terminal: Terminal,
  doing: string,
  explain: RunOptions['onInterrupted'],
): Promise<void> {
  const text = (await explain?.()) ?? 'nothing was left half done';
  terminal.writeError(`snapferry: ${doing}: interrupted\n${text.replace(/^/gm, '  ')}\n`);
  terminal.printJSON({ error: { doing, code: 'CANCELLED', message: 'interrupted', advice: text, retryable: true } });
}

function stackOf(error: unknown): string {
  const lines: string[] = [];
  for (let at: unknown = error; at !== undefined && at !== null; at = (at as { cause?: unknown }).cause) {
    lines.push(at instanceof SnapferryError || at instanceof Error ? (at.stack ?? at.message) : JSON.stringify(at));
    if (lines.length >= 10) break;
  }
  return lines.join('\ncaused by: ');
}

import pc from 'picocolors';
import { printableLines } from './format.ts';
import { createProgressDisplay } from './progress-display.ts';
import type { ProgressDisplay } from './progress-display.ts';

/** How much a command says. */
export interface Verbosity {
  /** One JSON document on stdout instead of text. */
  readonly json: boolean;
  /** Only errors on stderr. */
  readonly quiet: boolean;
  /** Whether log lines are written to stderr, too: a bar would be torn by them. */
  readonly logs: boolean;
}

/** Where a command's words go: results to stdout, everything else to stderr. */
export interface Terminal extends Verbosity {
  /** A result, for people; ends with a newline. Nothing in JSON mode. */
  print(text: string): void;
  /** The result, for programs. Nothing unless in JSON mode. Called once. */
  printJSON(document: unknown): void;
  /** One fact in passing. Silent when quiet. */
  note(text: string): void;
  /** Something a person should look at, also when quiet. */
  warn(text: string): void;
  /** Raw lines to stderr, above the progress bar if there is one. */
  writeError(text: string): void;
  readonly progress: ProgressDisplay;
}

/** The terminal of this process. */
export function processTerminal(verbosity: Verbosity): Terminal {
  const { stdout, stderr } = process;
  const colours = pc.createColors(stderr.isTTY && pc.isColorSupported);
  const progress = createProgressDisplay({
    write: (text) => void stderr.write(text),
    isTTY: stderr.isTTY && !verbosity.logs,
    silent: verbosity.quiet,
    now: () => performance.now(),
  });
  const writeError = (text: string): void => {
    progress.clear();
    stderr.write(text);
  };
  return {
    ...verbosity,
    progress,
    writeError,
    print(text) {
      progress.clear();
      if (!verbosity.json) stdout.write(text);
    },
    printJSON(document) {
      progress.clear();
      if (verbosity.json) stdout.write(`${JSON.stringify(document, bigintAsText, 2)}\n`);
    },
    note(text) {
      if (!verbosity.quiet) writeError(`${colours.dim(printableLines(text))}\n`);
    },
    warn(text) {
      writeError(`${colours.yellow('warning:')} ${printableLines(text)}\n`);
    },
  };
}

/** A u64 does not fit into a JSON number that every reader keeps exact. */
function bigintAsText(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value;
}

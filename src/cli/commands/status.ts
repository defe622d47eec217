import type { Command } from 'commander';
import pc from 'picocolors';
import { SnapferryError, toSnapferryError } from '../../errors.ts';
import { addDaemonOptions } from '../daemon-client.ts';
import type { DaemonFlags } from '../daemon-client.ts';
import { exitCodes } from '../exit-code.ts';
import type { ExitCode } from '../exit-code.ts';
import { addExamples, addOutputOptions } from '../options.ts';
import type { OutputFlags } from '../options.ts';
import { runCommand } from '../run.ts';
import type { Run } from '../run.ts';
import { followStatus } from '../status-follow.ts';
import { paintLine } from '../status-lines.ts';
import { watchStatus } from '../status-live.ts';
import { renderStatus } from '../status-render.ts';
import { readStatus, statusOfJob } from '../status-source.ts';
import { UsageError } from '../usage-error.ts';

interface Flags extends OutputFlags, DaemonFlags {
  readonly once?: boolean;
  readonly follow?: boolean;
}

/** `snapferry status`. */
export function configure(command: Command): void {
  command
    .argument('[job]', 'the name of a job, with all of its datasets; default: all jobs')
    .option('--once', 'show it and end; the default where there is no terminal')
    .option('--follow', 'go on showing it; the default on a terminal. With --json: one document a line')
    .action((job: string | undefined) => {
      const flags = command.opts<Flags>();
      return runCommand({
        output: flags,
        doing: job === undefined ? 'status' : `status of ${job}`,
        onInterrupted: () => 'it only looked',
        body: (run) => status(run, job ?? null, flags),
      });
    });
  addDaemonOptions(command);
  addOutputOptions(command);
  command.addHelpText(
    'after',
    `
Without a daemon it shows what the history remembers, and says so. On a terminal: q or Ctrl-C ends it.`,
  );
  addExamples(command, [
    ['', 'what is going on, what is wrong, and what to do about it'],
    ['web1 --once', 'one job with all of its datasets'],
    ['--json --follow', 'for a program that shows it in its own way'],
  ]);
}

async function status(run: Run, job: string | null, flags: Flags): Promise<ExitCode> {
  const isTerminal = process.stdout.isTTY && process.env['TERM'] !== 'dumb';
  if (flags.once === true && flags.follow === true) throw new UsageError('choose one of --once and --follow');
  if (flags.json === true && flags.follow === true) return follow(run, job, flags);
  if (flags.follow === true && !isTerminal) throw new UsageError('--follow needs a terminal, or --json');
  if (isTerminal && flags.json !== true && flags.once !== true) {
    await watchStatus({ job, flags, signal: run.signal });
    return exitCodes.done;
  }
  const seen = statusOfJob(await readStatus(flags, run.signal), job);
  const colours = pc.createColors(process.stdout.isTTY && pc.isColorSupported);
  const lines = renderStatus(seen, { isDetailed: job !== null });
  run.terminal.print(lines.map((line) => `${paintLine(line, colours)}\n`).join(''));
  run.terminal.printJSON(seen);
  return exitCodes.done;
}

/** A document on each line. It ends with the daemon: whoever follows decides whether to come again. */
async function follow({ signal }: Run, job: string | null, flags: Flags): Promise<ExitCode> {
  try {
    for await (const seen of followStatus(flags, signal)) {
      process.stdout.write(`${JSON.stringify(statusOfJob(seen, job))}\n`);
    }
  } catch (error) {
    throw toSnapferryError(error);
  }
  if (signal.aborted) return exitCodes.done;
  throw new SnapferryError('CONNECTION_LOST', 'the daemon has ended the connection', { retryable: true });
}

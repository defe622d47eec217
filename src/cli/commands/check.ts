import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import { parseDuration } from '../../duration.ts';
import { addDaemonOptions } from '../daemon-client.ts';
import type { DaemonFlags } from '../daemon-client.ts';
import { addExamples, addOutputOptions } from '../options.ts';
import type { OutputFlags } from '../options.ts';
import { reportError } from '../program-error.ts';
import { runCommand } from '../run.ts';
import { readStatus, statusOfJob } from '../status-source.ts';
import { judgeStatus, pluginLine } from '../status-verdict.ts';
import type { Verdict } from '../status-verdict.ts';

interface Flags extends OutputFlags, DaemonFlags {
  readonly criticalAfter: number;
  readonly daemon: boolean;
}

const day = 24 * 3_600_000;
const exitCodeOf = { ok: 0, warning: 1, critical: 2 } as const;

/** `snapferry check`. */
export function configure(command: Command): void {
  command
    .argument('[job]', 'the name of a job; default: all jobs')
    .option('--critical-after <time>', 'what may pass by itself is only a warning for so long: 12h, 1d', parseTime, day)
    .option('--no-daemon', 'that no daemon runs is meant: go by the history alone')
    .action((job: string | undefined) => {
      const flags = command.opts<Flags>();
      return runCommand({
        output: flags,
        doing: 'check',
        onInterrupted: () => 'it only looked',
        async body({ terminal, signal }) {
          const verdict = await judge(job ?? null, flags, signal);
          if (flags.quiet !== true || verdict.level !== 'ok') terminal.print(`${pluginLine(verdict)}\n`);
          terminal.printJSON(verdict);
          return exitCodeOf[verdict.level];
        },
      });
    });
  addDaemonOptions(command);
  addOutputOptions(command);
  command.addHelpText(
    'after',
    `
Prints one line, as monitoring plugins do, and exits with
  0  OK        all is well
  1  WARNING   something that may pass by itself
  2  CRITICAL  something a person has to look at, no daemon, or nothing that can be judged`,
  );
  addExamples(command, [
    ['', 'for Nagios, Icinga, Zabbix, or cron: it says something every time'],
    ['--quiet', 'in cron, which mails what is printed: it says something only if something is wrong'],
    ['web1 --no-daemon', 'one job that "snapferry run" runs from cron'],
  ]);
}

/** What cannot be judged is critical, too: a check that fails must not look like one that is well. */
async function judge(job: string | null, flags: Flags, signal: AbortSignal): Promise<Verdict> {
  try {
    const seen = statusOfJob(await readStatus(flags, signal), job);
    return judgeStatus(seen, { criticalAfterMs: flags.criticalAfter, wantsDaemon: flags.daemon });
  } catch (error) {
    if (signal.aborted) throw error;
    const { message, code } = reportError(error);
    const summary = `${message.split('\n', 1)[0] ?? ''} (${code})`;
    return { level: 'critical', summary, troubles: [{ level: 'critical', job: null, message: summary }], ages: [] };
  }
}

function parseTime(text: string): number {
  try {
    return parseDuration(text);
  } catch (error) {
    throw new InvalidArgumentError(error instanceof Error ? error.message : String(error));
  }
}

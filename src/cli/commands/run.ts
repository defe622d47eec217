import type { Command } from 'commander';
import { configurationFileDefault } from '../../config/configuration.ts';
import type { Configuration } from '../../config/configuration.ts';
import { noteRun } from '../../daemon/note-run.ts';
import { toSnapferryError } from '../../errors.ts';
import { createJob } from '../../jobs/create-job.ts';
import type { RunResult } from '../../jobs/run-result.ts';
import { besideLocalPeer, configuredJob } from '../configured-job.ts';
import type { ExitCode } from '../exit-code.ts';
import { addExamples, addOutputOptions } from '../options.ts';
import type { OutputFlags } from '../options.ts';
import { showJobEvent, tellRunResult } from '../run-display.ts';
import { runCommand } from '../run.ts';
import type { Run } from '../run.ts';

interface Flags extends OutputFlags {
  readonly config: string;
  readonly dryRun?: boolean;
  readonly wait?: boolean;
}

/** `snapferry run JOB`. */
export function configure(command: Command): void {
  command
    .argument('<job>', 'the name of a job of the configuration')
    .option('-c, --config <file>', 'the configuration', configurationFileDefault)
    .option('-n, --dry-run', 'only show what would be done')
    .option('-w, --wait', 'if the daemon is running the job, wait until it has, instead of failing')
    .action((name: string) => {
      const flags = command.opts<Flags>();
      return runCommand({
        output: flags,
        doing: `run ${name}`,
        body: (run) => runJob(run, name, flags),
        onInterrupted: () => 'what has arrived whole is kept, and the next run goes on from there',
      });
    });
  addOutputOptions(command);
  addExamples(command, [
    ['web1', 'all that the job does, once: snapshots, replication, pruning'],
    ['--dry-run web1', 'what that would be'],
    ['--config ./snapferry.yml --wait --json home', 'from a script'],
  ]);
}

async function runJob(run: Run, name: string, flags: Flags): Promise<ExitCode> {
  const { terminal, signal } = run;
  const configured = configuredJob(run, {
    name,
    file: flags.config,
    onEvent: (event) => showJobEvent(terminal, event),
  });
  const dryRun = flags.dryRun === true;
  const job = createJob(configured.job, configured.dependencies);
  const result = await besideLocalPeer(configured, () =>
    job.run({ cause: 'once', signal, dryRun, waitsForOthers: flags.wait === true }),
  );
  if (!dryRun) await note(run, configured.configuration, result);
  return tellRunResult(terminal, result, dryRun);
}

/** What was done is done, also where nobody can write it down. */
async function note({ terminal }: Run, configuration: Configuration, result: RunResult): Promise<void> {
  try {
    await noteRun(configuration, result);
  } catch (error) {
    terminal.note(`this run will be missing from the history, status and check: ${toSnapferryError(error).message}`);
  }
}

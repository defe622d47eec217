import type { Command } from 'commander';
import { exitCodes } from '../exit-code.ts';
import { formatCount } from '../format.ts';
import { addConnectionOptions, addDatasetOptions, addExamples, addOutputOptions, addSudoOptions } from '../options.ts';
import { runCommand } from '../run.ts';
import { releaseAnywhere, renderTraces } from '../traces.ts';
import type { ReleaseFlags } from '../traces.ts';
import { UsageError } from '../usage-error.ts';

/** `snapferry release LOCATION`. */
export function configure(command: Command): void {
  command
    .argument('<location>', 'the directory or dataset whose snapshots are no longer to be protected')
    .option('--job <name>', 'only what belongs to this job')
    .option('--all-jobs', 'what belongs to any job')
    .option('-n, --dry-run', 'only show what would be removed')
    .action((text: string) => {
      const flags = command.opts<ReleaseFlags>();
      return runCommand({
        output: flags,
        doing: `release ${text}`,
        async body(run) {
          if ((flags.job === undefined) !== (flags.allJobs === true)) {
            throw new UsageError('say of which job: --job NAME ("snapferry holds" lists them), or --all-jobs');
          }
          const document = await releaseAnywhere(run, text, flags);
          run.terminal.print(renderTraces(document));
          const count = formatCount(document.traces.length, 'hold or cursor', 'holds and cursors');
          run.terminal.print(`${document.dryRun ? 'would release' : 'released'} ${count}\n`);
          run.terminal.printJSON({ ...document, location: text });
          return exitCodes.done;
        },
      });
    });
  addSudoOptions(addDatasetOptions(command));
  addOutputOptions(addConnectionOptions(command));
  command.addHelpText('after', explanation);
  addExamples(command, [
    ['--dry-run --all-jobs --recursive zfs:tank', 'what of ours is there?'],
    ['--job cli_0123456789abcdef zfs:tank/home', 'a target that is never coming back'],
  ]);
}

const explanation = `
Only what snapferry made is removed, see "snapferry holds"; no snapshot is. A job that is released and yet goes on
needs a snapshot that both sides still have, or it begins anew.
`;

import type { Command } from 'commander';
import { exitCodes } from '../exit-code.ts';
import { addConnectionOptions, addDatasetOptions, addExamples, addOutputOptions, addSudoOptions } from '../options.ts';
import { runCommand } from '../run.ts';
import { holdsAnywhere, renderTraces } from '../traces.ts';
import type { TraceFlags } from '../traces.ts';

/** `snapferry holds [LOCATION]`. */
export function configure(command: Command): void {
  command
    .argument('[location]', 'a directory or dataset; default: every ZFS pool of this machine')
    .option('--job <name>', 'only those of this job')
    .action((text: string | undefined) => {
      const flags = command.opts<TraceFlags>();
      return runCommand({
        output: flags,
        doing: `list the holds of ${text ?? 'all pools'}`,
        async body(run) {
          const document = await holdsAnywhere(run, text ?? null, flags);
          run.terminal.print(renderTraces(document));
          run.terminal.printJSON({ ...document, location: text ?? null });
          return exitCodes.done;
        },
      });
    });
  addOutputOptions(addConnectionOptions(addSudoOptions(addDatasetOptions(command))));
  command.addHelpText('after', explanation);
  addExamples(command, [
    ['', 'everything of ours in all pools'],
    ['--recursive zfs:tank/home', 'of a dataset and those below it'],
    ['--json -r web1:zfs:tank', 'on another machine, for a program to read'],
  ]);
}

const explanation = `
What it lists, and nothing of anybody else:
  CURSOR     where the next transfer of a job starts (a ZFS bookmark, or a note)
  TENTATIVE  the same for a transfer that was begun and is not known to have arrived
  STEP       a snapshot held because a transfer of it was begun (a ZFS hold)
  LAST       the newest snapshot a target has received (a ZFS hold)
`;

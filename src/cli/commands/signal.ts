import { Argument } from 'commander';
import type { Command } from 'commander';
import { z } from 'zod';
import { addDaemonOptions, daemonClient } from '../daemon-client.ts';
import type { DaemonFlags } from '../daemon-client.ts';
import { exitCodes } from '../exit-code.ts';
import { addExamples, addOutputOptions } from '../options.ts';
import type { OutputFlags } from '../options.ts';
import { runCommand } from '../run.ts';

interface Flags extends OutputFlags, DaemonFlags {}

const signals = ['wakeup', 'reset', 'cancel'] as const;
const answer = z.object({ result: z.string() });

/** What the daemon has done, in words. */
const outcomes: Readonly<Record<string, string>> = {
  begun: 'a run has begun',
  remembered: 'it runs already, and will run once more afterwards',
  stopping: 'it is being stopped, and does not run any more',
  cancelled: 'the run was cancelled; what had arrived is kept',
  idle: 'nothing was going on',
};

/** `snapferry signal`. */
export function configure(command: Command): void {
  command
    .argument('<job>', 'the name of a job')
    .addArgument(new Argument('<signal>', 'what the daemon is to do').choices(signals))
    .action((job: string, signal: (typeof signals)[number]) => {
      const flags = command.opts<Flags>();
      return runCommand({
        output: flags,
        doing: `signal ${job} ${signal}`,
        onInterrupted: () => 'the daemon may have done it all the same',
        async body(run) {
          await using client = await daemonClient(flags, run.signal);
          const response = await client.call(signal, { job }, { signal: run.signal });
          const { result } = answer.parse(response);
          run.terminal.print(`${job}: ${outcomes[result] ?? result}\n`);
          run.terminal.printJSON({ job, signal, result });
          return exitCodes.done;
        },
      });
    });
  addDaemonOptions(command);
  addOutputOptions(command);
  command.addHelpText(
    'after',
    `
Signals:
  wakeup  run the job now; if it is running, once more afterwards
  cancel  stop what it is doing; its schedule goes on, and the next run goes on where this one was
  reset   stop what it is doing and run it anew at once, without waiting for the next attempt`,
  );
  addExamples(command, [
    ['web1 wakeup', 'do not wait for the schedule'],
    ['vault cancel', 'send the clients of a sink away; it serves on'],
  ]);
}

import type { Command } from 'commander';
import { z } from 'zod';
import { responseOf } from '../../daemon/control/control-client.ts';
import { addDaemonOptions, daemonClient } from '../daemon-client.ts';
import type { DaemonFlags } from '../daemon-client.ts';
import { exitCodes } from '../exit-code.ts';
import type { ExitCode } from '../exit-code.ts';
import { printableLines } from '../format.ts';
import { addExamples, addOutputOptions } from '../options.ts';
import type { OutputFlags } from '../options.ts';
import { runCommand } from '../run.ts';
import type { Run } from '../run.ts';

interface Flags extends OutputFlags, DaemonFlags {}

const names = z.array(z.string());
const outcome = z.object({ added: names, changed: names, removed: names, unchanged: names, warnings: names });

/** `snapferry reload`. */
export function configure(command: Command): void {
  command.action(() => {
    const flags = command.opts<Flags>();
    return runCommand({
      output: flags,
      doing: 'reload',
      onInterrupted: () => 'the daemon may have done it all the same',
      body: (run) => reload(run, flags),
    });
  });
  addDaemonOptions(command);
  addOutputOptions(command);
  addExamples(command, [['', 'go over to the configuration as it is now; a bad one changes nothing']]);
}

async function reload(run: Run, flags: Flags): Promise<ExitCode> {
  await using client = await daemonClient(flags, run.signal);
  const result = await client.attempt('reload', {}, { signal: run.signal });
  if (result.kind === 'refused' && result.code === 'CONFIGURATION') {
    run.terminal.writeError(`${printableLines(result.message)}\n`);
    run.terminal.writeError(
      'snapferry: reload: refused; the daemon goes on with the configuration it has (CONFIGURATION)\n',
    );
    run.terminal.printJSON({ ok: false, error: { doing: 'reload', code: result.code, message: result.message } });
    return exitCodes.usage;
  }
  const { warnings, ...jobs } = outcome.parse(responseOf(result, 'reload'));
  for (const warning of warnings) run.terminal.warn(warning);
  const parts = Object.entries(jobs).filter(([, list]) => list.length > 0);
  run.terminal.print(parts.map(([what, list]) => `${what}: ${list.join(', ')}\n`).join(''));
  run.terminal.printJSON({ ok: true, ...jobs, warnings });
  return exitCodes.done;
}

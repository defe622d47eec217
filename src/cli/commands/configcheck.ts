import type { Command } from 'commander';
import { configurationFileDefault } from '../../config/configuration.ts';
import type { Configuration } from '../../config/configuration.ts';
import { ConfigurationError } from '../../config/configuration-error.ts';
import { loadConfiguration } from '../../config/load-configuration.ts';
import { exitCodes } from '../exit-code.ts';
import type { ExitCode } from '../exit-code.ts';
import { formatCount, printableLines } from '../format.ts';
import { addExamples, addOutputOptions } from '../options.ts';
import type { OutputFlags } from '../options.ts';
import { runCommand } from '../run.ts';
import type { Run } from '../run.ts';

interface Flags extends OutputFlags {
  readonly config: string;
  readonly warningsAsErrors?: boolean;
}

/** `snapferry configcheck`. */
export function configure(command: Command): void {
  command
    .option('-c, --config <file>', 'the configuration', configurationFileDefault)
    .option('--warnings-as-errors', 'exit with 2 if there is anything to warn about, too')
    .action(() => {
      const flags = command.opts<Flags>();
      const doing = `check ${flags.config}`;
      return runCommand({ output: flags, doing, body: (run) => Promise.resolve(check(run, flags, doing)) });
    });
  addOutputOptions(command);
  addExamples(command, [
    ['', 'is the configuration of the daemon right?'],
    ['--config ./snapferry.yml --warnings-as-errors', 'before it is installed, in a script'],
  ]);
}

function check(run: Run, flags: Flags, doing: string): ExitCode {
  let configuration: Configuration;
  try {
    configuration = loadConfiguration(flags.config);
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    const { problems, code, message } = error;
    run.terminal.writeError(`${printableLines(message)}\n`);
    run.terminal.writeError(`snapferry: ${doing}: ${formatCount(problems.length, 'mistake')} (${code})\n`);
    const report = { doing, code, message, advice: null, retryable: false };
    run.terminal.printJSON({ ok: false, file: flags.config, problems, error: report });
    return exitCodes.usage;
  }
  const { jobs, warnings, files } = configuration;
  for (const { text } of warnings) run.terminal.warn(text);
  const isRefused = flags.warningsAsErrors === true && warnings.length > 0;
  run.terminal.print(
    `${flags.config}: ${formatCount(jobs.length, 'job')}, ${formatCount(warnings.length, 'warning')}\n`,
  );
  run.terminal.printJSON({
    ok: !isRefused,
    file: flags.config,
    files,
    jobs: jobs.map(({ name, type, backend }) => ({ name, type, backend })),
    warnings,
  });
  return isRefused ? exitCodes.usage : exitCodes.done;
}

import type { Command } from 'commander';
import { configurationFileDefault } from '../../config/configuration.ts';
import { loadConfiguration } from '../../config/load-configuration.ts';
import { runDaemon } from '../../daemon/daemon-process.ts';
import { monitoringExtensions } from '../../daemon/monitoring-extensions.ts';
import { createJob } from '../../jobs/create-job.ts';
import { inheritedSockets } from '../../transport/inherited-sockets.ts';
import { exitCodeOf, exitCodes } from '../exit-code.ts';
import { addExamples } from '../options.ts';
import { renderError, reportError } from '../program-error.ts';
import { programVersion } from '../program-version.ts';

interface Flags {
  readonly config: string;
}

/** `snapferry daemon`. */
export function configure(command: Command): void {
  command
    .option('-c, --config <file>', 'the configuration', configurationFileDefault)
    .action(() => daemon(command.opts<Flags>()));
  command.addHelpText(
    'after',
    `
Signals:
  SIGTERM, SIGINT  stop: runs may finish within global.shutdown_timeout; a second one cancels them
  SIGHUP           reload the configuration; a bad one changes nothing`,
  );
  addExamples(command, [
    ['', 'in the foreground, as systemd runs it; it logs to stderr'],
    ['--config ./snapferry.yml', 'to try a configuration; Ctrl-C stops it'],
  ]);
}

/** Its log is its output; how it ended is the exit code. */
async function daemon({ config }: Flags): Promise<void> {
  try {
    const sockets = inheritedSockets();
    await runDaemon({
      load: () => loadConfiguration(config),
      createJob,
      version: programVersion(),
      inheritedSockets: sockets,
      extensions: monitoringExtensions(sockets),
    });
    process.exitCode = exitCodes.done;
  } catch (error) {
    const report = reportError(error);
    process.stderr.write(renderError(report, `daemon --config ${config}`));
    process.exitCode = exitCodeOf(report);
  }
}

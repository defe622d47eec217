import { writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { configurationJSONSchema } from '../../config/configuration-schema.ts';
import { importZrepl } from '../../config/zrepl/import-zrepl.ts';
import type { ImportNote } from '../../config/zrepl/import-zrepl.ts';
import { exitCodes } from '../exit-code.ts';
import type { ExitCode } from '../exit-code.ts';
import { formatCount } from '../format.ts';
import { addExamples, addOutputOptions } from '../options.ts';
import type { OutputFlags } from '../options.ts';
import { runCommand } from '../run.ts';
import type { Run } from '../run.ts';
import { UsageError } from '../usage-error.ts';

interface ImportFlags extends OutputFlags {
  readonly output?: string;
  readonly force?: boolean;
}

/** `snapferry config schema` and `snapferry config import`. */
export function configure(command: Command): void {
  configureSchema(command.command('schema').summary('print the JSON Schema of the configuration, for editors'));
  configureImport(command.command('import').summary('turn a configuration of zrepl 0.7 into one of ours'));
  addExamples(command, [
    ['schema > snapferry.schema.json', 'for an editor that knows JSON Schema'],
    ['import /etc/zrepl/zrepl.yml', 'what would the configuration of zrepl look like?'],
  ]);
}

function configureSchema(command: Command): void {
  command.description('Prints the JSON Schema (draft 2020-12) of snapferry.yml.').action(() =>
    runCommand({
      output: {},
      doing: 'print the schema',
      body(run) {
        run.terminal.print(`${JSON.stringify(configurationJSONSchema(), null, 2)}\n`);
        return Promise.resolve(exitCodes.done);
      },
    }),
  );
  command.addHelpText('after', schemaHelp);
}

const schemaHelp = `
In an editor with a YAML language server, put this at the top of the configuration:
  # yaml-language-server: $schema=/usr/local/share/snapferry/schema.json
`;

function configureImport(command: Command): void {
  command
    .description(
      'Prints the configuration that means the same here, and names on stderr everything that has no counterpart, with the reason.',
    )
    .argument('<file>', 'zrepl.yml')
    .option('-o, --output <file>', 'write it there instead of stdout')
    .option('-f, --force', 'replace that file if it exists')
    .action((file: string) => {
      const flags = command.opts<ImportFlags>();
      return runCommand({
        output: flags,
        doing: `import ${file}`,
        body: (run) => Promise.resolve(runImport(run, file, flags)),
      });
    });
  addOutputOptions(command);
  command.addHelpText('after', importHelp);
}

const importHelp = `
Exit codes:
  0 everything was taken over   3 something was not, see stderr   2 it cannot be read, or is refused here

Examples:
  # what would it look like?
  snapferry config import /etc/zrepl/zrepl.yml
  # write it where the daemon looks for it
  snapferry config import /etc/zrepl/zrepl.yml --output /etc/snapferry/snapferry.yml
`;

function runImport(run: Run, file: string, flags: ImportFlags): ExitCode {
  const { yaml, notes, configuration } = importZrepl(file);
  const dropped = notes.filter(({ kind }) => kind === 'dropped');
  for (const { text } of notes.filter(({ kind }) => kind === 'changed')) run.terminal.note(`changed: ${text}`);
  for (const { text } of dropped) run.terminal.warn(`not taken over: ${text}`);
  for (const { text } of configuration.warnings) run.terminal.warn(text);
  if (flags.output === undefined) run.terminal.print(yaml);
  else write(flags.output, yaml, flags.force === true);
  const target = flags.output ?? 'stdout';
  run.terminal.note(`${formatCount(configuration.jobs.length, 'job')} to ${target}; ${summary(dropped)}`);
  run.terminal.printJSON({ file, yaml, notes, warnings: configuration.warnings });
  return dropped.length > 0 ? exitCodes.incomplete : exitCodes.done;
}

function summary(dropped: readonly ImportNote[]): string {
  return dropped.length === 0
    ? 'everything was taken over'
    : `${formatCount(dropped.length, 'thing')} not taken over, see above`;
}

function write(file: string, yaml: string, isForced: boolean): void {
  try {
    // Names of files with secrets are in it, and whom backups go to: nobody else's business.
    writeFileSync(file, yaml, { flag: isForced ? 'w' : 'wx', mode: 0o640 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') throw new UsageError(`${file} exists; give another name, or --force to replace it`);
    throw error;
  }
}

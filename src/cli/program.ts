import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { commandTable } from './command-table.ts';
import { exitCodes } from './exit-code.ts';

/**
 * Runs the command line. Sets the exit code, never rejects for anything a user did. Only the module of the command
 * that is asked for is loaded: `--help` and `--version` answer in the time Node needs to start.
 */
export async function runProgram(argv: readonly string[]): Promise<void> {
  // `snapferry list | head -1` is no failure of ours.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(process.exitCode ?? exitCodes.done);
    throw error;
  });
  const asked = commandsAsked(argv.slice(2));
  const program = await createProgram((name) => asked.includes(name));
  try {
    await program.parseAsync(argv);
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    const isHelp = ['commander.helpDisplayed', 'commander.version'].includes(error.code);
    const isAskedFor = isHelp || (error.code === 'commander.help' && error.exitCode === 0);
    process.exitCode = isAskedFor ? exitCodes.done : exitCodes.usage;
    if (!isAskedFor && argv.includes('--json')) printUsageError(error);
  }
}

function printUsageError(error: CommanderError): void {
  const message = error.message.replace(/^error: /, '');
  const document = { error: { doing: null, code: 'USAGE', message, advice: null, retryable: false } };
  process.stdout.write(`${JSON.stringify(document, null, 2)}\n`);
}

/** Whose modules a command line needs. */
function commandsAsked(args: readonly string[]): readonly (string | undefined)[] {
  const [first, second] = args;
  if (first === 'help') return [second];
  // A shell asks what may stand in the command line after `--`.
  return first === 'completion' && second === 'complete' ? [first, args[3]] : [first];
}

/** The program with all its commands, and the options and arguments of those whose modules are to be loaded. */
export async function createProgram(isLoaded: (name: string) => boolean = () => true): Promise<Command> {
  const program = new Command('snapferry')
    .description('Carries snapshots of directories, ZFS datasets and btrfs subvolumes between machines.')
    .version(readVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .helpCommand('help [command]', 'show help for a command')
    .exitOverride()
    .showHelpAfterError('(snapferry help COMMAND shows what it takes)')
    .configureHelp({ subcommandTerm: (command) => command.name() });
  program.addHelpText('after', overview);
  for (const entry of commandTable) {
    const command = program.command(entry.name).summary(entry.summary).description(capitalised(entry.summary));
    command.helpGroup(entry.group).usage(entry.usage);
    if (isLoaded(entry.name)) (await entry.load()).configure(command);
  }
  return program;
}

const overview = `
Locations:
  /path, ./path, dir:/path              a directory on this machine
  zfs:pool/dataset                      a ZFS dataset
  btrfs:/path                           a btrfs subvolume
  [user@]host:LOCATION                  any of them on another machine, by ssh
  ssh://[user@]host[:port]/LOCATION     the same, with a port
  LOCATION@SNAPSHOT                     one of its snapshots, for restore and verify

Examples:
  snapferry pull ./some-directory ./backup
  snapferry pull web1:/srv/data /backup/web1
  snapferry push /srv/data backup@vault:web1
  snapferry pull --recursive web1:zfs:tank/home zfs:backup/web1
  snapferry restore /backup/web1 etc/hosts --to ./restored

Exit codes:
  0 done   1 failed   2 usage or configuration   3 some failed or incomplete   75 try again later   130 interrupted
`;

function capitalised(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

/** Beside `dist` in the package, and beside `src` in the repository. */
function readVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

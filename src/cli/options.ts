import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { checkVersionName } from '../dataset.ts';
import type { SnapshotChoices } from './remote-command.ts';
import { splitWords } from './split-words.ts';

/** The options of {@link addOutputOptions}. */
export interface OutputFlags {
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly verbose?: number;
  readonly logJson?: boolean;
}

const outputGroup = 'Output:';
const sshGroup = 'Connection:';
const snapshotGroup = 'Snapshot of the source:';

/** `--json`, `--quiet`, `-v`, `--log-json`: for every command. */
export function addOutputOptions(command: Command, { json = true } = {}): Command {
  if (json) command.addOption(new Option('--json', 'print one JSON document on stdout').helpGroup(outputGroup));
  return command
    .addOption(new Option('-q, --quiet', 'say nothing but results and problems').helpGroup(outputGroup))
    .addOption(
      new Option('-v, --verbose', 'log on stderr; twice for everything')
        .argParser((_value, count: number | undefined) => (count ?? 0) + 1)
        .helpGroup(outputGroup),
    )
    .addOption(new Option('--log-json', 'log as JSON lines also on a terminal').helpGroup(outputGroup));
}

/** The options of {@link addConnectionOptions}. */
export interface ConnectionFlags {
  readonly sshPort?: number;
  readonly identityFile?: string;
  readonly sshOption?: readonly string[];
  readonly sshConfig?: string;
  readonly remoteProgram?: readonly string[];
  readonly minimumVersion?: '1' | '2';
}

/** How to reach a remote location. */
export function addConnectionOptions(command: Command): Command {
  return command
    .addOption(new Option('--ssh-port <port>', 'port of the ssh server').argParser(parsePort).helpGroup(sshGroup))
    .addOption(new Option('-i, --identity-file <file>', 'private key for ssh').helpGroup(sshGroup))
    .addOption(
      new Option('--ssh-option <name=value>', 'an option of ssh_config(5); repeatable')
        .argParser(collectSSHOption)
        .helpGroup(sshGroup),
    )
    .addOption(new Option('--ssh-config <file>', "use this instead of ssh's own configuration").helpGroup(sshGroup))
    .addOption(
      new Option('--remote-program <command>', 'how snapferry is called on the other machine')
        .argParser(parseProgram)
        .default(['snapferry'], 'snapferry')
        .helpGroup(sshGroup),
    )
    .addOption(
      new Option('--minimum-version <version>', 'refuse a peer that only speaks an older protocol')
        .choices(['1', '2'])
        .default('1')
        .helpGroup(sshGroup),
    );
}

/** The options of {@link addSnapshotChoices}. */
export interface SnapshotFlags {
  readonly snapshotName?: string;
  readonly snapshotPrefix?: string;
  readonly exclude?: readonly string[];
}

/** How a new snapshot is made. */
export function addSnapshotChoices(command: Command): Command {
  return command
    .addOption(
      new Option('--snapshot-name <name>', 'name of the new snapshot')
        .argParser(parseSnapshotName)
        .conflicts('snapshotPrefix')
        .helpGroup(snapshotGroup),
    )
    .addOption(
      new Option('--snapshot-prefix <text>', 'what its name begins with, before the time; default: snapferry_')
        .argParser(parseSnapshotName)
        .helpGroup(snapshotGroup),
    )
    .addOption(
      new Option('-e, --exclude <pattern>', 'leave out what matches, as in .gitignore; repeatable')
        .argParser(collect)
        .helpGroup(snapshotGroup),
    );
}

/** `--no-snapshot`, beside {@link addSnapshotChoices}. */
export function addNoSnapshot(command: Command): Command {
  return command.addOption(
    new Option('--no-snapshot', 'replicate what is there, taking no new snapshot').helpGroup(snapshotGroup),
  );
}

/** What the flags say about a new snapshot. */
export function snapshotChoices(flags: SnapshotFlags): SnapshotChoices {
  return { name: flags.snapshotName ?? null, prefix: flags.snapshotPrefix ?? null, exclude: flags.exclude ?? [] };
}

/** Adds examples below the help of a command. */
export function addExamples(command: Command, examples: readonly (readonly [line: string, what: string])[]): Command {
  const lines = examples.map(([line, what]) => `  # ${what}\n  snapferry ${command.name()} ${line}`);
  return command.addHelpText('after', `\nExamples:\n${lines.join('\n')}`);
}

function collect(value: string, previous: readonly string[] | undefined): readonly string[] {
  if (value === '') throw new InvalidArgumentError('it is empty.');
  return [...(previous ?? []), value];
}

function collectSSHOption(value: string, previous: readonly string[] | undefined): readonly string[] {
  if (!/^[A-Za-z][A-Za-z0-9]*=./.test(value)) throw new InvalidArgumentError('it must read Name=value.');
  return collect(value, previous);
}

function parsePort(value: string): number {
  const port = Number(value);
  if (!/^\d+$/.test(value) || port < 1 || port > 65535) {
    throw new InvalidArgumentError('it must be a number from 1 to 65535.');
  }
  return port;
}

function parseSnapshotName(value: string): string {
  try {
    checkVersionName(value);
  } catch (error) {
    throw new InvalidArgumentError(`${(error as Error).message}.`);
  }
  return value;
}

function parseProgram(value: string): readonly string[] {
  let words;
  try {
    words = splitWords(value, 'it');
  } catch (error) {
    throw new InvalidArgumentError(`${(error as Error).message}.`);
  }
  if (words.length === 0) throw new InvalidArgumentError('it is empty.');
  return words;
}

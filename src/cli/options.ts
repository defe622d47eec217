import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { checkVersionName } from '../dataset.ts';
import { placeholderEncryptions } from './choices.ts';
import type { PlaceholderEncryption, ReceiveChoices, SendChoices, SnapshotChoices } from './choices.ts';
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
const datasetGroup = 'Datasets (ZFS and btrfs):';
const transferGroup = 'How ZFS sends and receives:';

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
      new Option(
        '-e, --exclude <pattern>',
        'leave out files that match, as in .gitignore; of ZFS and btrfs, datasets below the source: tmp, "tmp<"; repeatable',
      )
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

/** The options of {@link addDatasetOptions}. */
export interface DatasetFlags {
  readonly recursive?: boolean;
}

/** `--recursive`. */
export function addDatasetOptions(command: Command): Command {
  return command.addOption(new Option('-r, --recursive', 'with the datasets below, too').helpGroup(datasetGroup));
}

/** `--from-snapshots`. */
export function addFromSnapshots(command: Command): Command {
  return command.addOption(
    new Option('--from-snapshots <prefix>', 'take no snapshot, and send only those whose names begin so')
      .argParser(parseSnapshotName)
      .helpGroup(snapshotGroup),
  );
}

/** The options of {@link addSudoOptions}. */
export interface SudoFlags {
  readonly sudo?: boolean;
  readonly remoteSudo?: boolean;
}

/** `--sudo` and `--remote-sudo`. */
export function addSudoOptions(command: Command, { remote = true } = {}): Command {
  command.addOption(new Option('--sudo', 'run zfs or btrfs through "sudo -n" on this machine').helpGroup(datasetGroup));
  if (!remote) return command;
  return command.addOption(new Option('--remote-sudo', 'the same on the other machine').helpGroup(datasetGroup));
}

/** The options of {@link addTransferOptions}. */
export interface TransferFlags {
  readonly raw?: boolean;
  readonly sendProperties?: boolean;
  readonly recvOption?: readonly string[];
  readonly recvExclude?: readonly string[];
  readonly placeholderEncryption?: PlaceholderEncryption;
}

/** How ZFS sends and receives. */
export function addTransferOptions(command: Command): Command {
  command
    .addOption(
      new Option('--raw', 'send blocks as they are on the disk; encrypted datasets are sent so anyway').helpGroup(
        transferGroup,
      ),
    )
    .addOption(
      new Option('--send-properties', 'with the properties of the datasets that do not reach beyond them').helpGroup(
        transferGroup,
      ),
    );
  return addReceiveOptions(command);
}

/** The half of {@link addTransferOptions} that is about receiving. */
export function addReceiveOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--recv-option <name=value>', 'set a property of what is received; repeatable')
        .argParser(collectProperty)
        .helpGroup(transferGroup),
    )
    .addOption(
      new Option('--recv-exclude <name>', 'do not take a property from the source; repeatable')
        .argParser(collectPropertyName)
        .helpGroup(transferGroup),
    )
    .addOption(
      new Option('--placeholder-encryption <how>', 'of parents that are made below an encrypted dataset')
        .choices(placeholderEncryptions)
        .helpGroup(transferGroup),
    );
}

/** What the flags say about sending. */
export function sendChoices(flags: TransferFlags): SendChoices {
  return { raw: flags.raw === true, properties: flags.sendProperties === true };
}

/** What the flags say about receiving. */
export function receiveChoices(flags: TransferFlags): ReceiveChoices {
  return {
    options: flags.recvOption ?? [],
    exclude: flags.recvExclude ?? [],
    placeholderEncryption: flags.placeholderEncryption ?? null,
    fromSnapshots: null,
  };
}

/** What the flags say about a new snapshot. */
export function snapshotChoices(flags: SnapshotFlags): SnapshotChoices {
  return { name: flags.snapshotName ?? null, prefix: flags.snapshotPrefix ?? null, exclude: flags.exclude ?? [] };
}

/** Adds examples below the help of a command. */
export function addExamples(command: Command, examples: readonly (readonly [line: string, what: string])[]): Command {
  const lines = examples.map(([line, what]) => `  # ${what}\n  ${`snapferry ${command.name()} ${line}`.trimEnd()}`);
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

const propertyPattern = /^[a-z][a-z0-9_:.-]*$/;

function collectPropertyName(value: string, previous: readonly string[] | undefined): readonly string[] {
  if (!propertyPattern.test(value)) throw new InvalidArgumentError('it is not the name of a property.');
  return collect(value, previous);
}

function collectProperty(value: string, previous: readonly string[] | undefined): readonly string[] {
  const name = value.slice(0, Math.max(0, value.indexOf('=')));
  if (!propertyPattern.test(name)) throw new InvalidArgumentError('it must read name=value.');
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

import { parseArgs } from 'node:util';
import type { ParseArgsConfig } from 'node:util';
import {
  flagsOfReceive,
  flagsOfSend,
  flagsOfSnapshot,
  receiveFlagOptions,
  receiveOfFlags,
  sendFlagOptions,
  sendOfFlags,
  snapshotFlagOptions,
  snapshotModeOf,
  snapshotOfFlags,
  text,
} from './choices.ts';
import type { FlagValues, ReceiveChoices, SendChoices, SnapshotChoices, SnapshotMode } from './choices.ts';
import { formatPlace, parsePlace } from './location.ts';
import type { Place } from './location.ts';
import { UsageError } from './usage-error.ts';

/** What every command for another machine says. */
interface CommandBase {
  readonly place: Place;
  /** Whether datasets below the place are meant, too. */
  readonly recursive: boolean;
  /** Whether the backend's program is to be run through sudo there. */
  readonly sudo: boolean;
}

/** `snapferry serve --stdio`: the other end of a pull or push. */
export interface ServeCommand extends CommandBase {
  readonly command: 'serve';
  readonly snapshot: SnapshotMode;
  readonly choices: SnapshotChoices;
  readonly send: SendChoices;
  readonly receive: ReceiveChoices;
  /**
   * The dataset at the client whose place is the one named here; what lies below it there is pushed to below it here. Null:
   * what is pushed is one dataset, whatever its name.
   */
  readonly sourceRoot: string | null;
}

/** `snapferry snapshot` on the other machine. */
export interface SnapshotCommand extends CommandBase {
  readonly command: 'snapshot';
  readonly choices: SnapshotChoices;
  readonly dryRun: boolean;
  readonly force: boolean;
  readonly json: boolean;
}

/** `snapferry list`, `verify` or `holds` on the other machine. */
export interface InspectCommand extends CommandBase {
  /** The path of the place may end in `@SNAPSHOT` for `verify`. */
  readonly command: 'list' | 'verify' | 'holds';
  readonly json: boolean;
}

/** `snapferry release` on the other machine. */
export interface ReleaseCommand extends CommandBase {
  readonly command: 'release';
  readonly json: boolean;
  readonly dryRun: boolean;
  /** Null: of every job. */
  readonly job: string | null;
}

/** What one snapferry asks another to run over ssh. */
export type RemoteCommand = ServeCommand | SnapshotCommand | InspectCommand | ReleaseCommand;

/** Those that answer with a document. */
export type DocumentCommand = Exclude<RemoteCommand, ServeCommand>;

const baseOptions = { recursive: { type: 'boolean' }, sudo: { type: 'boolean' } } as const;
const inspectOptions = { ...baseOptions, json: { type: 'boolean' } } as const;

const optionsOf = {
  serve: {
    ...baseOptions,
    ...snapshotFlagOptions,
    ...sendFlagOptions,
    ...receiveFlagOptions,
    stdio: { type: 'boolean' },
    snapshot: { type: 'boolean' },
    'snapshot-dry-run': { type: 'boolean' },
    'source-root': { type: 'string' },
  },
  snapshot: {
    ...baseOptions,
    ...snapshotFlagOptions,
    'dry-run': { type: 'boolean' },
    force: { type: 'boolean' },
    json: { type: 'boolean' },
  },
  list: inspectOptions,
  verify: inspectOptions,
  holds: inspectOptions,
  release: {
    ...inspectOptions,
    'dry-run': { type: 'boolean' },
    job: { type: 'string' },
    'all-jobs': { type: 'boolean' },
  },
} as const satisfies Record<RemoteCommand['command'], ParseArgsConfig['options']>;

/** The words behind the program's own name; {@link parseRemoteCommand} reads them back. */
export function remoteArguments(command: RemoteCommand): string[] {
  const base = [...flag('recursive', command.recursive), ...flag('sudo', command.sudo)];
  return [command.command, ...flagsOf(command), ...base, '--', formatPlace(command.place)];
}

function flagsOf(command: RemoteCommand): string[] {
  switch (command.command) {
    case 'serve': {
      const mode = { none: [], take: ['--snapshot'], plan: ['--snapshot-dry-run'] }[command.snapshot];
      const { choices, send, receive, sourceRoot } = command;
      const root = sourceRoot === null ? [] : [`--source-root=${sourceRoot}`];
      return [
        '--stdio',
        ...mode,
        ...flagsOfSnapshot(choices),
        ...flagsOfSend(send),
        ...flagsOfReceive(receive),
        ...root,
      ];
    }
    case 'snapshot':
      return [
        ...flag('dry-run', command.dryRun),
        ...flag('force', command.force),
        ...flag('json', command.json),
        ...flagsOfSnapshot(command.choices),
      ];
    case 'release':
      return [
        ...flag('dry-run', command.dryRun),
        ...flag('json', command.json),
        ...(command.job === null ? ['--all-jobs'] : [`--job=${command.job}`]),
      ];
    default:
      return flag('json', command.json);
  }
}

function flag(name: string, isSet: boolean): string[] {
  return isSet ? [`--${name}`] : [];
}

/**
 * Reads the words of a command line that {@link remoteArguments} wrote, with the program's own words (`snapferry`, or
 * `node main.js`) still in front. Strict: whatever it does not know is refused, never passed over.
 * @throws UsageError
 */
export function parseRemoteCommand(words: readonly string[]): RemoteCommand {
  const index = words.findIndex((word, position) => position > 0 && Object.hasOwn(optionsOf, word));
  const command = words[index] as RemoteCommand['command'] | undefined;
  if (command === undefined) {
    throw new UsageError(`${JSON.stringify(words.join(' '))} is none of snapferry's commands for another machine`);
  }
  const { values, positionals } = parseStrictly(command, words.slice(index + 1));
  const [location, ...surplus] = positionals;
  if (location === undefined || location === '' || surplus.length > 0) {
    throw new UsageError(`snapferry ${command} takes one location here, not ${positionals.length}`);
  }
  const isSet = (name: string) => values[name] === true;
  const base = { place: parsePlace(location), recursive: isSet('recursive'), sudo: isSet('sudo') };
  switch (command) {
    case 'serve':
      return serveCommand(base, values);
    case 'snapshot': {
      const choices = snapshotOfFlags(values);
      return { command, ...base, choices, dryRun: isSet('dry-run'), force: isSet('force'), json: isSet('json') };
    }
    case 'release': {
      const job = text(values, 'job');
      if (isSet('all-jobs') === (job !== null)) throw new UsageError('snapferry release needs --job or --all-jobs');
      return { command, ...base, json: isSet('json'), dryRun: isSet('dry-run'), job };
    }
    default:
      return { command, ...base, json: isSet('json') };
  }
}

function serveCommand(base: CommandBase, values: FlagValues): ServeCommand {
  if (values['stdio'] !== true) throw new UsageError('snapferry serve needs --stdio');
  return {
    command: 'serve',
    ...base,
    snapshot: snapshotModeOf(values['snapshot'] === true, values['snapshot-dry-run'] === true),
    choices: snapshotOfFlags(values),
    send: sendOfFlags(values),
    receive: receiveOfFlags(values),
    sourceRoot: text(values, 'source-root'),
  };
}

function parseStrictly(
  command: RemoteCommand['command'],
  args: string[],
): { values: FlagValues; positionals: string[] } {
  try {
    return parseArgs({ args, options: optionsOf[command], strict: true, allowPositionals: true });
  } catch (error) {
    throw new UsageError(`snapferry ${command}: ${(error as Error).message}`, { cause: error });
  }
}

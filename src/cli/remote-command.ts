import { parseArgs } from 'node:util';
import type { ParseArgsConfig } from 'node:util';
import { UsageError } from './usage-error.ts';

/** What is asked of the source's snapshots before it is read: nothing, a new one, or what a new one would hold. */
export type SnapshotMode = 'none' | 'take' | 'plan';

/** How a new snapshot is made. */
export interface SnapshotChoices {
  /** Null: prefix and time. */
  readonly name: string | null;
  /** Null: the default one. */
  readonly prefix: string | null;
  /** As in .gitignore. */
  readonly exclude: readonly string[];
}

/** `snapferry serve --stdio`: the other end of a pull or push. */
export interface ServeCommand {
  readonly command: 'serve';
  readonly snapshot: SnapshotMode;
  readonly choices: SnapshotChoices;
  readonly path: string;
}

/** `snapferry snapshot` on the other machine. */
export interface SnapshotCommand {
  readonly command: 'snapshot';
  readonly choices: SnapshotChoices;
  readonly dryRun: boolean;
  readonly force: boolean;
  readonly json: boolean;
  readonly path: string;
}

/** `snapferry list` or `snapferry verify` on the other machine. */
export interface InspectCommand {
  readonly command: 'list' | 'verify';
  readonly json: boolean;
  /** May end in `@SNAPSHOT` for `verify`. */
  readonly path: string;
}

/** What one snapferry asks another to run over ssh. */
export type RemoteCommand = ServeCommand | SnapshotCommand | InspectCommand;

/** No special choices about a snapshot. */
export const defaultChoices: SnapshotChoices = { name: null, prefix: null, exclude: [] };

const choiceOptions = {
  'snapshot-name': { type: 'string' },
  'snapshot-prefix': { type: 'string' },
  exclude: { type: 'string', multiple: true },
} as const;

const optionsOf = {
  serve: {
    ...choiceOptions,
    stdio: { type: 'boolean' },
    snapshot: { type: 'boolean' },
    'snapshot-dry-run': { type: 'boolean' },
  },
  snapshot: {
    ...choiceOptions,
    'dry-run': { type: 'boolean' },
    force: { type: 'boolean' },
    json: { type: 'boolean' },
  },
  list: { json: { type: 'boolean' } },
  verify: { json: { type: 'boolean' } },
} as const satisfies Record<RemoteCommand['command'], ParseArgsConfig['options']>;

/** The words behind the program's own name; {@link parseRemoteCommand} reads them back. */
export function remoteArguments(command: RemoteCommand): string[] {
  return [command.command, ...flagsOf(command), '--', command.path];
}

function flagsOf(command: RemoteCommand): string[] {
  switch (command.command) {
    case 'serve': {
      const mode = { none: [], take: ['--snapshot'], plan: ['--snapshot-dry-run'] }[command.snapshot];
      return ['--stdio', ...mode, ...flagsOfChoices(command.choices)];
    }
    case 'snapshot':
      return [
        ...(command.dryRun ? ['--dry-run'] : []),
        ...(command.force ? ['--force'] : []),
        ...(command.json ? ['--json'] : []),
        ...flagsOfChoices(command.choices),
      ];
    default:
      return command.json ? ['--json'] : [];
  }
}

/** `--option=value` in one word, so that a value may begin with `-`. */
function flagsOfChoices({ name, prefix, exclude }: SnapshotChoices): string[] {
  return [
    ...(name === null ? [] : [`--snapshot-name=${name}`]),
    ...(prefix === null ? [] : [`--snapshot-prefix=${prefix}`]),
    ...exclude.map((pattern) => `--exclude=${pattern}`),
  ];
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
  const [path, ...surplus] = positionals;
  if (path === undefined || path === '' || surplus.length > 0) {
    throw new UsageError(`snapferry ${command} takes one location here, not ${positionals.length}`);
  }
  const flag = (name: string) => values[name] === true;
  const json = flag('json');
  if (command === 'list' || command === 'verify') return { command, json, path };
  const choices = choicesOf(values);
  if (command === 'snapshot') {
    return { command, choices, dryRun: flag('dry-run'), force: flag('force'), json, path };
  }
  if (!flag('stdio')) throw new UsageError('snapferry serve needs --stdio');
  return { command, snapshot: snapshotModeOf(flag('snapshot'), flag('snapshot-dry-run')), choices, path };
}

/** @throws UsageError when both are asked for */
export function snapshotModeOf(take: boolean, plan: boolean): SnapshotMode {
  if (take && plan) throw new UsageError('--snapshot and --snapshot-dry-run exclude each other');
  return take ? 'take' : plan ? 'plan' : 'none';
}

type Values = Readonly<Record<string, unknown>>;

function parseStrictly(command: RemoteCommand['command'], args: string[]): { values: Values; positionals: string[] } {
  try {
    return parseArgs({ args, options: optionsOf[command], strict: true, allowPositionals: true });
  } catch (error) {
    throw new UsageError(`snapferry ${command}: ${(error as Error).message}`, { cause: error });
  }
}

function choicesOf(values: Values): SnapshotChoices {
  const text = (value: unknown) => (typeof value === 'string' ? value : null);
  const exclude = values['exclude'];
  return {
    name: text(values['snapshot-name']),
    prefix: text(values['snapshot-prefix']),
    exclude: Array.isArray(exclude) ? exclude.filter((pattern) => typeof pattern === 'string') : [],
  };
}

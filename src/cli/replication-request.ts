import type { InitialReplicationPolicy } from '../rpc/interfaces.ts';
import { formatLocation, parseLocation } from './location.ts';
import type { Location } from './location.ts';
import {
  addConnectionOptions,
  addNoSnapshot,
  addOutputOptions,
  addSnapshotChoices,
  snapshotChoices,
} from './options.ts';
import type { ConnectionFlags, OutputFlags, SnapshotFlags } from './options.ts';
import type { SnapshotChoices } from './remote-command.ts';
import { UsageError } from './usage-error.ts';
import { Option } from 'commander';
import type { Command } from 'commander';

/** The options of pull, push and plan. */
export interface ReplicationFlags extends OutputFlags, ConnectionFlags, SnapshotFlags {
  /** False with `--no-snapshot`. */
  readonly snapshot?: boolean;
  readonly initial?: InitialReplicationPolicy;
  readonly dryRun?: boolean;
}

/** One replication as the command line asks for it. */
export interface ReplicationRequest {
  readonly direction: 'pull' | 'push';
  readonly source: Location;
  readonly target: Location;
  readonly takesSnapshot: boolean;
  readonly choices: SnapshotChoices;
  readonly policy: InitialReplicationPolicy;
  readonly connection: ConnectionFlags;
}

/** Adds what pull, push and plan have in common. */
export function addReplicationOptions(command: Command): Command {
  command
    .argument('<source>', 'the directory to replicate, or a copy of one')
    .argument('<target>', 'the directory that becomes, or is, the copy')
    .addOption(
      new Option('--initial <policy>', 'what the first transfer of all sends')
        .choices(['most_recent', 'all'])
        .default('most_recent'),
    );
  addNoSnapshot(addSnapshotChoices(command));
  return addOutputOptions(addConnectionOptions(command));
}

/**
 * The request a command line makes.
 * @throws UsageError for locations that cannot be read, or that are on the wrong sides
 */
export function replicationRequest(
  direction: 'pull' | 'push',
  sourceText: string,
  targetText: string,
  flags: ReplicationFlags,
): ReplicationRequest {
  const [source, target] = [parseLocation(sourceText), parseLocation(targetText)];
  checkSides(direction, source, target);
  return {
    direction,
    source,
    target,
    takesSnapshot: flags.snapshot !== false,
    choices: snapshotChoices(flags),
    policy: flags.initial ?? 'most_recent',
    connection: flags,
  };
}

function checkSides(direction: 'pull' | 'push', source: Location, target: Location): void {
  if (source.kind === 'remote' && target.kind === 'remote') {
    throw new UsageError(
      'source and target are both on other machines; run snapferry on one of them, e.g. ' +
        `ssh ${source.host} snapferry push ${source.path} ${formatLocation(target)}`,
    );
  }
  const [wrong, other] = direction === 'pull' ? [target, 'push'] : [source, 'pull'];
  if (wrong.kind === 'local') return;
  throw new UsageError(
    `${direction} needs a ${direction === 'pull' ? 'target' : 'source'} on this machine; run ` +
      `snapferry ${other} ${formatLocation(source)} ${formatLocation(target)}`,
  );
}

/** `pull web1:/srv to /backup`, for messages. */
export function describeRequest({ direction, source, target }: ReplicationRequest): string {
  return `${direction} ${formatLocation(source)} to ${formatLocation(target)}`;
}

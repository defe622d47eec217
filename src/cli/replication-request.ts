import { Option } from 'commander';
import type { Command } from 'commander';
import { SnapferryError } from '../errors.ts';
import type { InitialReplicationPolicy } from '../rpc/interfaces.ts';
import type { ReceiveChoices, SendChoices, SnapshotChoices } from './choices.ts';
import { formatLocation, formatPlace, parseLocation } from './location.ts';
import type { Location } from './location.ts';
import { checkBackendOptions, describeBackend } from './open-site.ts';
import {
  addConnectionOptions,
  addDatasetOptions,
  addFromSnapshots,
  addNoSnapshot,
  addOutputOptions,
  addSnapshotChoices,
  addSudoOptions,
  addTransferOptions,
  receiveChoices,
  sendChoices,
  snapshotChoices,
} from './options.ts';
import type { ConnectionFlags, DatasetFlags, OutputFlags, SnapshotFlags, SudoFlags, TransferFlags } from './options.ts';
import { UsageError } from './usage-error.ts';

/** The options of pull, push and plan. */
export interface ReplicationFlags
  extends OutputFlags, ConnectionFlags, SnapshotFlags, DatasetFlags, TransferFlags, SudoFlags {
  /** False with `--no-snapshot`. */
  readonly snapshot?: boolean;
  readonly fromSnapshots?: string;
  readonly initial?: InitialReplicationPolicy;
  readonly dryRun?: boolean;
}

/** One replication as the command line asks for it. */
export interface ReplicationRequest {
  readonly direction: 'pull' | 'push';
  readonly source: Location;
  readonly target: Location;
  /** With the datasets below the source. */
  readonly recursive: boolean;
  readonly takesSnapshot: boolean;
  readonly choices: SnapshotChoices;
  readonly send: SendChoices;
  readonly receive: ReceiveChoices;
  readonly policy: InitialReplicationPolicy;
  readonly connection: ConnectionFlags;
  /** Whether the backend's program is run through sudo on this machine. */
  readonly sudo: boolean;
  /** The same on the other machine. */
  readonly remoteSudo: boolean;
}

/** Adds what pull, push and plan have in common. */
export function addReplicationOptions(command: Command): Command {
  command
    .argument('<source>', 'the directory or dataset to replicate, or a copy of one')
    .argument('<target>', 'the directory or dataset that becomes, or is, the copy')
    .addOption(
      new Option('--initial <policy>', 'what the first transfer of all sends')
        .choices(['most_recent', 'all'])
        .default('most_recent'),
    );
  addDatasetOptions(command);
  addFromSnapshots(addNoSnapshot(addSnapshotChoices(command)));
  addSudoOptions(addTransferOptions(command));
  return addOutputOptions(addConnectionOptions(command));
}

/**
 * The request a command line makes.
 * @throws UsageError for locations that cannot be read, or that are on the wrong sides, and for options that do not fit
 * @throws SnapferryError `STREAM_FORMAT_MISMATCH` for a target of another backend
 */
export function replicationRequest(
  direction: 'pull' | 'push',
  sourceText: string,
  targetText: string,
  flags: ReplicationFlags,
): ReplicationRequest {
  const [source, target] = [parseLocation(sourceText), parseLocation(targetText)];
  checkSides(direction, source, target);
  checkBackends(source, target);
  const [sudo, remoteSudo] = [flags.sudo === true, flags.remoteSudo === true];
  const request = {
    recursive: flags.recursive === true,
    send: sendChoices(flags),
    receive: { ...receiveChoices(flags), fromSnapshots: flags.fromSnapshots ?? null },
  };
  checkBackendOptions(source.backend, { ...request, sudo: sudo || remoteSudo });
  if (flags.fromSnapshots !== undefined) checkNoNewName(flags);
  return {
    direction,
    source,
    target,
    ...request,
    takesSnapshot: flags.snapshot !== false && flags.fromSnapshots === undefined,
    choices: snapshotChoices(flags),
    policy: flags.initial ?? 'most_recent',
    connection: flags,
    sudo,
    remoteSudo,
  };
}

function checkSides(direction: 'pull' | 'push', source: Location, target: Location): void {
  if (source.kind === 'remote' && target.kind === 'remote') {
    throw new UsageError(
      'source and target are both on other machines; run snapferry on one of them, e.g. ' +
        `ssh ${source.host} snapferry push ${formatPlace(source)} ${formatLocation(target)}`,
    );
  }
  const [wrong, other] = direction === 'pull' ? [target, 'push'] : [source, 'pull'];
  if (wrong.kind === 'local') return;
  throw new UsageError(
    `${direction} needs a ${direction === 'pull' ? 'target' : 'source'} on this machine; run ` +
      `snapferry ${other} ${formatLocation(source)} ${formatLocation(target)}`,
  );
}

/** A stream of one backend means nothing to another. */
function checkBackends(source: Location, target: Location): void {
  if (source.backend === target.backend) return;
  const example = { directory: '/backup/web1', zfs: 'zfs:backup/web1', btrfs: 'btrfs:/backup/web1' }[source.backend];
  throw new SnapferryError(
    'STREAM_FORMAT_MISMATCH',
    `${formatLocation(source)} is ${describeBackend(source.backend)} and ${formatLocation(target)} is ` +
      `${describeBackend(target.backend)}, and snapshots of one cannot be stored in the other; give a target like ` +
      `${example}, or back up the mounted files as a directory`,
  );
}

function checkNoNewName({ snapshotName, snapshotPrefix }: SnapshotFlags): void {
  if (snapshotName === undefined && snapshotPrefix === undefined) return;
  throw new UsageError(
    '--from-snapshots takes no snapshot, so there is none to be named; leave out --snapshot-name and --snapshot-prefix',
  );
}

/** `pull web1:/srv to /backup`, for messages. */
export function describeRequest({ direction, source, target }: ReplicationRequest): string {
  return `${direction} ${formatLocation(source)} to ${formatLocation(target)}`;
}

import { formatVersion } from '../dataset.ts';
import type { FilesystemVersion } from '../dataset.ts';
import { SnapferryError } from '../errors.ts';
import { replicate } from '../replication/replicate.ts';
import type { FilesystemResult, RPCRequester } from '../rpc/interfaces.ts';
import { defaultChoices, defaultSend } from './choices.ts';
import type { ReceiveChoices } from './choices.ts';
import { exitCodeOf, exitCodes } from './exit-code.ts';
import type { ExitCode } from './exit-code.ts';
import { formatBytes, printable } from './format.ts';
import { chooseSnapshot } from './inspect.ts';
import { formatLocation, parseLocation } from './location.ts';
import type { SnapshotLocation } from './location.ts';
import { delegatingRequester } from '../jobs/delegating-requester.ts';
import { checkBackendOptions, describeBackend, openSite } from './open-site.ts';
import type { ConnectionFlags } from './options.ts';
import { closingAfter, connectSource, onlyDataset } from './peer.ts';
import { renderError } from './program-error.ts';
import { showEvent } from './pull.ts';
import { jobIdFor } from './replication-ends.ts';
import type { Run } from './run.ts';
import type { Site } from './site.ts';
import { UsageError } from './usage-error.ts';

/** A snapshot of ZFS or btrfs that is to become a dataset of its own. */
export interface DatasetRestore {
  readonly from: SnapshotLocation;
  /** A location on this machine. */
  readonly to: string;
  readonly receive: ReceiveChoices;
  readonly connection: ConnectionFlags;
  readonly sudo: boolean;
  readonly remoteSudo: boolean;
  readonly dryRun: boolean;
}

/** Makes a snapshot a dataset of its own, beside whatever there is. One that was interrupted goes on where it stopped. */
export async function restoreDataset(run: Run, request: DatasetRestore): Promise<ExitCode> {
  const { location, snapshot } = request.from;
  const target = await openTarget(run, request);
  const client = await connectSource(run, {
    location,
    connection: request.connection,
    sudo: location.kind === 'local' ? request.sudo : request.remoteSudo,
    mode: 'none',
    choices: defaultChoices,
    recursive: false,
    send: defaultSend,
  });
  return closingAfter(run, client, async () => {
    const filesystem = await onlyDataset(client, run.signal);
    const versions = await client.filesystemVersions({ filesystem }, { signal: run.signal });
    const version = chooseSnapshot(versions, snapshot, formatLocation(location));
    const what = `${printable(formatVersion(version))} to ${target.formatName(target.dataset)}`;
    if (request.dryRun) {
      const bytes = await client.transferEstimate({ filesystem, from: null, to: version }, { signal: run.signal });
      run.terminal.print(`would restore ${what}${bytes === null ? '' : `, about ${formatBytes(bytes)}`}\n`);
      run.terminal.printJSON({
        command: 'restore',
        dryRun: true,
        version,
        to: target.formatName(target.dataset),
        bytes,
      });
      return exitCodes.done;
    }
    const result = await receiveOne(run, request, { client, target, guid: version.guid });
    run.terminal.printJSON({
      command: 'restore',
      dryRun: false,
      version,
      to: target.formatName(target.dataset),
      ...result,
    });
    for (const notice of result.notices) run.terminal.note(notice);
    if (!result.ok) {
      const { message, code } = result;
      const report = { code: code ?? 'INTERNAL', message, advice: null, retryable: false };
      run.terminal.writeError(renderError(report, `restore ${formatLocation(location)}`));
      return exitCodeOf({ code });
    }
    run.terminal.print(`restored ${what}; ${nextStep(target, version)}\n`);
    return exitCodes.done;
  });
}

async function openTarget(run: Run, { from, to, sudo, remoteSudo, receive }: DatasetRestore): Promise<Site> {
  const { backend } = from.location;
  const location = parseLocation(to);
  if (location.kind === 'remote') throw new UsageError('--to must be on this machine; run snapferry restore there');
  if (location.backend !== backend) {
    throw new SnapferryError(
      'STREAM_FORMAT_MISMATCH',
      `a snapshot of ${describeBackend(backend)} becomes a dataset of ${describeBackend(backend)}, not ${to}; give ` +
        `--to ${backend}:…, or copy files out of the snapshot itself (${whereFilesAre[backend]})`,
    );
  }
  checkBackendOptions(backend, { recursive: false, sudo: sudo || remoteSudo, receive });
  const site = await openSite(location, { logger: run.logger, sudo });
  await site.checkTarget();
  return site;
}

const whereFilesAre = {
  directory: 'snapshots/NAME in the copy',
  zfs: '.zfs/snapshot/NAME below its mount point; "zfs clone" makes it a dataset without copying',
  btrfs: 'PATH@NAME; "btrfs subvolume snapshot" makes it writable without copying',
};

interface OneReceive {
  readonly client: RPCRequester;
  readonly target: Site;
  /** Of the only version that is wanted. */
  readonly guid: bigint;
}

async function receiveOne(
  run: Run,
  { receive }: DatasetRestore,
  { client, target, guid }: OneReceive,
): Promise<FilesystemResult> {
  // What is restored is to be used, unlike a copy; and the backup keeps no cursor for it.
  const options = receive.options.some((option) => option.startsWith('readonly=')) ? [] : ['readonly'];
  const exclude = target.backend === 'zfs' ? [...receive.exclude, ...options] : receive.exclude;
  const sink = target.sink({ receive: { ...receive, exclude }, takesProperties: false, jobId: null, identity: '' });
  const replication = replicate({
    client: delegatingRequester(client, {
      initialTransfer: ({ jobId: _, ...request }, call) => client.initialTransfer(request, call),
      incrementalTransfer: ({ jobId: _, ...request }, call) => client.incrementalTransfer(request, call),
      transferCompleted: () => Promise.resolve(),
    }),
    sink,
    target: () => target.dataset,
    isWanted: (version) => version.guid === guid,
    jobId: jobIdFor(target),
    formatName: target.formatName,
    signal: run.signal,
    logger: run.logger,
  });
  for await (const event of replication) showEvent(run.terminal, event, () => '');
  const [result] = (await replication.report).filesystems;
  if (result === undefined) throw new SnapferryError('DATASET_NOT_FOUND', 'the source offers no dataset');
  return result;
}

function nextStep({ backend, dataset, formatName }: Site, version: FilesystemVersion): string {
  if (backend === 'zfs') {
    const name = dataset.join('/');
    return `it is not mounted yet: zfs mount ${name} (a volume is at /dev/zvol/${name})`;
  }
  const path = formatName(dataset).slice('btrfs:'.length);
  return `make it writable with btrfs subvolume snapshot ${path}${formatVersion(version)} ${path}`;
}

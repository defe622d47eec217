import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { formatVersion } from '../../dataset.ts';
import { restore } from '../../handlers/directory/restore.ts';
import type { RestoreReport } from '../../handlers/directory/restore.ts';
import { createProgressMeter } from '../../replication/progress.ts';
import type { TransferBytes } from '../../sink.ts';
import { SnapferryError } from '../../errors.ts';
import { exitCodes } from '../exit-code.ts';
import type { ExitCode } from '../exit-code.ts';
import { formatBytes, formatCount, printable } from '../format.ts';
import { chooseSnapshot } from '../inspect.ts';
import { defaultChoices, defaultSend } from '../choices.ts';
import { restoreTarget } from '../local-dataset.ts';
import { formatLocation, parseLocation, splitSnapshot } from '../location.ts';
import type { SnapshotLocation } from '../location.ts';
import {
  addConnectionOptions,
  addExamples,
  addOutputOptions,
  addReceiveOptions,
  addSudoOptions,
  receiveChoices,
} from '../options.ts';
import type { ConnectionFlags, OutputFlags, SudoFlags, TransferFlags } from '../options.ts';
import { closingAfter, connectSource, onlyDataset } from '../peer.ts';
import { runCommand } from '../run.ts';
import type { Run } from '../run.ts';
import { checkBackendOptions } from '../open-site.ts';
import { UsageError } from '../usage-error.ts';
import { showProgress } from '../show-progress.ts';
import type { Terminal } from '../terminal.ts';

interface Flags extends OutputFlags, ConnectionFlags, SudoFlags, TransferFlags {
  readonly to: string;
  readonly overwrite?: boolean;
  readonly dryRun?: boolean;
}

/** `snapferry restore LOCATION[@SNAPSHOT] [PATH…] --to DIR`. */
export function configure(command: Command): void {
  command
    .argument('<location[@snapshot]>', 'what to restore from; the newest snapshot by default')
    .argument('[path...]', 'files or directories in it; everything by default')
    .requiredOption('--to <location>', 'the directory, or the new dataset, that then holds what was restored')
    .option('--overwrite', 'replace files that are in the way; nothing else there is touched')
    .option('-n, --dry-run', 'only check, and show what would be restored')
    .action((text: string, paths: string[]) => {
      const flags = command.opts<Flags>();
      return runCommand({
        output: flags,
        doing: `restore ${text} to ${flags.to}`,
        onInterrupted: () => 'run the same command again; a restore begins anew',
        async body(run) {
          const from = splitSnapshot(parseLocation(text), existsSync);
          if (from.location.backend !== 'directory') return restoreWhole(run, from, paths, flags);
          const report = await restoreFrom(run, from, paths, flags);
          tell(run.terminal, report, flags.dryRun === true);
          return report.missing.length > 0 ? exitCodes.incomplete : exitCodes.done;
        },
      });
    });
  addReceiveOptions(addSudoOptions(command));
  addOutputOptions(addConnectionOptions(command));
  addExamples(command, [
    ['/backup/web1 --to ./restored', 'everything, as it was at the newest snapshot'],
    ['/backup/web1@snapferry_20261121_013300_000 etc/hosts home/ann --to ./restored', 'parts of an older one'],
    ['vault:web1 --overwrite --to /srv/data', 'from another machine, over what is there'],
    ['vault:zfs:backup/web1@monday --to zfs:tank/restored', 'a ZFS dataset, as one of its own'],
  ]);
}

/** Of ZFS and btrfs, a whole snapshot. */
async function restoreWhole(
  run: Run,
  from: SnapshotLocation,
  paths: readonly string[],
  flags: Flags,
): Promise<ExitCode> {
  if (paths.length > 0 || flags.overwrite === true) {
    const what = paths.length > 0 ? 'parts of a snapshot' : '--overwrite';
    throw new UsageError(
      `restore of ZFS and btrfs makes a whole snapshot a dataset of its own, and knows no ${what}; ` +
        'copy single files out of the mounted snapshot (ZFS: .zfs/snapshot)',
    );
  }
  const { restoreDataset } = await import('../restore-dataset.ts');
  return restoreDataset(run, {
    from,
    to: flags.to,
    receive: receiveChoices(flags),
    connection: flags,
    sudo: flags.sudo === true,
    remoteSudo: flags.remoteSudo === true,
    dryRun: flags.dryRun === true,
  });
}

async function restoreFrom(
  run: Run,
  { location, snapshot }: SnapshotLocation,
  paths: readonly string[],
  flags: Flags,
): Promise<RestoreReport> {
  const receive = receiveChoices(flags);
  checkBackendOptions('directory', { recursive: false, sudo: (flags.sudo ?? flags.remoteSudo) === true, receive });
  if (/^(zfs|btrfs):/.test(flags.to)) {
    const text = `${formatLocation(location)} is a copy of a directory, and ${flags.to} is not; give --to a directory`;
    throw new SnapferryError('STREAM_FORMAT_MISMATCH', text);
  }
  const to = await restoreTarget(flags.to);
  const client = await connectSource(run, {
    location,
    connection: flags,
    sudo: false,
    mode: 'none',
    choices: defaultChoices,
    recursive: false,
    send: defaultSend,
  });
  return closingAfter(run, client, async () => {
    const filesystem = await onlyDataset(client, run.signal);
    const versions = await client.filesystemVersions({ filesystem }, { signal: run.signal });
    const version = chooseSnapshot(versions, snapshot, formatLocation(location));
    const transfer = await client.initialTransfer({ filesystem, version }, { signal: run.signal });
    run.terminal.note(`restoring ${printable(formatVersion(version))} of ${formatLocation(location)}`);
    return restore({
      bytes: counted(transfer.bytes, transfer.estimatedBytes, run.terminal),
      to,
      ...(paths.length > 0 && { paths }),
      overwrite: flags.overwrite === true,
      dryRun: flags.dryRun === true,
      signal: run.signal,
      onProgress: (progress) => showProgress(run.terminal, progress),
    });
  });
}

async function* counted(bytes: TransferBytes, estimatedBytes: number | null, { progress }: Terminal): TransferBytes {
  const meter = createProgressMeter({ estimatedBytes, now: () => performance.now() });
  for await (const piece of bytes) {
    const length = piece.byteLength;
    yield piece;
    meter.add(length);
    progress.transfer('reading', meter.read());
  }
}

function tell(terminal: Terminal, report: RestoreReport, isDryRun: boolean): void {
  for (const notice of report.notices) terminal.note(notice);
  for (const path of report.missing) terminal.warn(`${printable(path)} could not be read when the snapshot was taken`);
  const what = `${formatCount(report.files, 'file')} (${formatBytes(report.bytes)})`;
  const from = `@${printable(report.version.name)} to ${report.to}`;
  terminal.print(`${isDryRun ? 'would restore' : 'restored'} ${what} from ${from}\n`);
  terminal.printJSON({ command: 'restore', dryRun: isDryRun, ...report });
}

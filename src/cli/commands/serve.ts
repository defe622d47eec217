import { userInfo } from 'node:os';
import { Option } from 'commander';
import type { Command } from 'commander';
import { parseDatasetPath } from '../../dataset.ts';
import { snapshotModeOf } from '../choices.ts';
import { parseLocation } from '../location.ts';
import { openSite } from '../open-site.ts';
import {
  addDatasetOptions,
  addExamples,
  addFromSnapshots,
  addOutputOptions,
  addSnapshotChoices,
  addSudoOptions,
  addTransferOptions,
  receiveChoices,
  sendChoices,
  snapshotChoices,
} from '../options.ts';
import type { DatasetFlags, OutputFlags, SnapshotFlags, SudoFlags, TransferFlags } from '../options.ts';
import { sourceHandler } from '../peer.ts';
import { receivingHandler } from '../push.ts';
import { runCommand } from '../run.ts';
import type { Run } from '../run.ts';
import { serveStdio } from '../serve-session.ts';
import { UsageError } from '../usage-error.ts';

interface ServeFlags extends OutputFlags, SnapshotFlags, DatasetFlags, TransferFlags, SudoFlags {
  readonly stdio?: boolean;
  readonly snapshot?: boolean;
  readonly snapshotDryRun?: boolean;
  readonly fromSnapshots?: string;
  readonly sourceRoot?: string;
  readonly identity?: string;
}

/** `snapferry serve --stdio LOCATION`. */
export function configure(command: Command): void {
  command
    .argument('<location>', 'the directory or dataset, or the copy, to be read from or stored into')
    .option('--stdio', 'answer one connection on stdin and stdout (the only way there is as yet)')
    .option('--snapshot', 'take a snapshot before the versions are told for the first time')
    .addOption(
      new Option('--snapshot-dry-run', 'tell what such a snapshot would hold, changing nothing').conflicts('snapshot'),
    )
    .option('--source-root <dataset>', 'the dataset of the peer whose place this is, for what it pushes with all below')
    .option('--identity <name>', 'who the peer is; default: ssh: and the name of this user')
    .action((location: string) => serve(location, command.opts<ServeFlags>()));
  addDatasetOptions(command);
  addSudoOptions(addTransferOptions(addFromSnapshots(addSnapshotChoices(command))), { remote: false });
  addOutputOptions(command, { json: false });
  addExamples(command, [
    ['--stdio -- /srv/data', 'what ssh runs on the other machine for a pull or a push'],
    ['--stdio --snapshot --recursive -- zfs:tank/home', 'the same for a tree of ZFS datasets'],
  ]);
}

function serve(text: string, flags: ServeFlags): Promise<void> {
  return runCommand({
    output: flags,
    doing: `serve ${text}`,
    onInterrupted: () => 'the other side can resume what was under way',
    async body(run) {
      if (flags.stdio !== true) throw new UsageError('serve needs --stdio: it speaks over stdin and stdout only');
      const identity = flags.identity ?? `ssh:${userName()}`;
      return serveStdio(run, () => open(run, text, flags), identity);
    },
  });
}

async function open(run: Run, text: string, flags: ServeFlags) {
  const location = parseLocation(text);
  if (location.kind === 'remote') throw new UsageError('serve needs a location on this machine');
  const site = await openSite(location, { logger: run.logger, sudo: flags.sudo === true });
  const { fromSnapshots = null, sourceRoot = null } = flags;
  const base = sourceHandler(site, {
    recursive: flags.recursive === true,
    mode: snapshotModeOf(flags.snapshot === true, flags.snapshotDryRun === true),
    choices: snapshotChoices(flags),
    send: sendChoices(flags),
  });
  return receivingHandler(site, base, {
    receive: { ...receiveChoices(flags), fromSnapshots },
    takesProperties: flags.sendProperties === true,
    sourceRoot: sourceRoot === null ? null : parseDatasetPath(sourceRoot),
  });
}

/** A user that has no entry in the user database still has a number. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.() ?? 'unknown');
  }
}

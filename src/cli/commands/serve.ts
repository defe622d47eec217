import { userInfo } from 'node:os';
import { Option } from 'commander';
import type { Command } from 'commander';
import { localDataset } from '../local-dataset.ts';
import { parseLocation } from '../location.ts';
import { addExamples, addOutputOptions, addSnapshotChoices, snapshotChoices } from '../options.ts';
import type { OutputFlags, SnapshotFlags } from '../options.ts';
import { sourceHandler } from '../peer.ts';
import { receivingHandler } from '../push.ts';
import { snapshotModeOf } from '../remote-command.ts';
import { runCommand } from '../run.ts';
import { serveStdio } from '../serve-session.ts';
import { UsageError } from '../usage-error.ts';

interface ServeFlags extends OutputFlags, SnapshotFlags {
  readonly stdio?: boolean;
  readonly snapshot?: boolean;
  readonly snapshotDryRun?: boolean;
  readonly identity?: string;
}

/** `snapferry serve --stdio LOCATION`. */
export function configure(command: Command): void {
  command
    .argument('<location>', 'the directory, or the copy, to be read from or stored into')
    .option('--stdio', 'answer one connection on stdin and stdout (the only way there is as yet)')
    .option('--snapshot', 'take a snapshot before the versions are told for the first time')
    .addOption(
      new Option('--snapshot-dry-run', 'tell what such a snapshot would hold, changing nothing').conflicts('snapshot'),
    )
    .option('--identity <name>', 'who the peer is; default: ssh: and the name of this user')
    .action((location: string) => serve(location, command.opts<ServeFlags>()));
  addOutputOptions(addSnapshotChoices(command), { json: false });
  addExamples(command, [['--stdio -- /srv/data', 'what ssh runs on the other machine for a pull or a push']]);
}

function serve(text: string, flags: ServeFlags): Promise<void> {
  return runCommand({
    output: flags,
    doing: `serve ${text}`,
    onInterrupted: () => 'the other side can resume what was under way',
    async body(run) {
      if (flags.stdio !== true) throw new UsageError('serve needs --stdio: it speaks over stdin and stdout only');
      const open = async () => {
        const location = parseLocation(text);
        if (location.kind === 'remote') throw new UsageError('serve needs a directory on this machine');
        const dataset = await localDataset(location.path);
        const mode = snapshotModeOf(flags.snapshot === true, flags.snapshotDryRun === true);
        const base = sourceHandler(dataset, run, { mode, choices: snapshotChoices(flags) });
        return receivingHandler(dataset, run, { base });
      };
      const identity = flags.identity ?? `ssh:${userName()}`;
      return serveStdio(run, open, identity);
    },
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

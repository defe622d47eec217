import type { Command } from 'commander';
import type { SnapshotDocument } from '../documents.ts';
import { exitCodes } from '../exit-code.ts';
import { formatChanges, printable } from '../format.ts';
import { snapshotSite } from '../inspect.ts';
import { parseLocation } from '../location.ts';
import type { Location } from '../location.ts';
import { checkBackendOptions, openSite } from '../open-site.ts';
import {
  addConnectionOptions,
  addDatasetOptions,
  addExamples,
  addOutputOptions,
  addSnapshotChoices,
  addSudoOptions,
  snapshotChoices,
} from '../options.ts';
import type { ConnectionFlags, DatasetFlags, OutputFlags, SnapshotFlags, SudoFlags } from '../options.ts';
import { runCommand } from '../run.ts';
import type { Run } from '../run.ts';

interface Flags extends OutputFlags, ConnectionFlags, SnapshotFlags, DatasetFlags, SudoFlags {
  readonly dryRun?: boolean;
  readonly force?: boolean;
}

/** `snapferry snapshot LOCATION`. */
export function configure(command: Command): void {
  command
    .argument('<location>', 'the directory or dataset to take a snapshot of')
    .option('-n, --dry-run', 'only show what it would hold')
    .option('-f, --force', 'take one even if nothing has changed')
    .action((text: string) => {
      const flags = command.opts<Flags>();
      return runCommand({
        output: flags,
        doing: `snapshot ${text}`,
        async body(run) {
          const document = await snapshotAnywhere(run, parseLocation(text), flags);
          const missing = takenIn(document).flatMap((taken) => taken.missing);
          for (const { notices } of takenIn(document))
            for (const notice of notices) run.terminal.note(printable(notice));
          for (const path of missing) run.terminal.warn(`cannot read ${printable(path)}; it is not in the snapshot`);
          run.terminal.print(summary(document));
          run.terminal.printJSON({ ...document, location: text });
          return missing.length > 0 ? exitCodes.incomplete : exitCodes.done;
        },
      });
    });
  addSudoOptions(addDatasetOptions(addSnapshotChoices(command)));
  addOutputOptions(addConnectionOptions(command));
  addExamples(command, [
    ['/srv/data', 'take one now'],
    ["--exclude '*.tmp' --dry-run ./work", 'see what would be in it'],
    ["--recursive --exclude 'tmp<' zfs:tank", 'of a ZFS dataset and all below it but tank/tmp, at the same moment'],
    ['--snapshot-name before-upgrade web1:/srv/data', 'with a name, on another machine'],
  ]);
}

async function snapshotAnywhere(run: Run, location: Location, flags: Flags): Promise<SnapshotDocument> {
  const recursive = flags.recursive === true;
  const sudo = (location.kind === 'local' ? flags.sudo : flags.remoteSudo) === true;
  checkBackendOptions(location.backend, { recursive, sudo });
  const command = {
    command: 'snapshot',
    json: true,
    choices: snapshotChoices(flags),
    dryRun: flags.dryRun === true,
    force: flags.force === true,
    place: location,
    recursive,
    sudo,
  } as const;
  if (location.kind === 'local') {
    return snapshotSite(run, await openSite(location, { logger: run.logger, sudo }), command, { recursive });
  }
  const [{ remoteDocument }, { snapshotDocument }] = [
    await import('../remote-document.ts'),
    await import('../documents.ts'),
  ];
  return remoteDocument(run, location, command, flags, snapshotDocument);
}

type Taken = Omit<SnapshotDocument, 'command' | 'location' | 'dryRun' | 'datasets'> & { readonly dataset?: string };

function takenIn(document: SnapshotDocument): readonly Taken[] {
  return document.datasets ?? [document];
}

function summary(document: SnapshotDocument): string {
  return takenIn(document)
    .map((taken) => `${lineOf(taken)}\n`)
    .join('');
}

function lineOf({ dataset = '', snapshot, taken, ...changes }: Taken): string {
  const of = printable(dataset);
  const what = formatChanges(changes);
  if (snapshot !== null) return `${of}@${printable(snapshot.name)}: ${what}`;
  const where = of === '' ? '' : `${of}: `;
  return where + (taken ? `a snapshot would be taken: ${what}` : 'nothing has changed since the newest snapshot');
}

import type { Command } from 'commander';
import type { SnapshotDocument } from '../documents.ts';
import { exitCodes } from '../exit-code.ts';
import { formatChanges, printable } from '../format.ts';
import { snapshotLocal } from '../inspect.ts';
import { parseLocation } from '../location.ts';
import type { Location } from '../location.ts';
import {
  addConnectionOptions,
  addExamples,
  addOutputOptions,
  addSnapshotChoices,
  snapshotChoices,
} from '../options.ts';
import type { ConnectionFlags, OutputFlags, SnapshotFlags } from '../options.ts';
import { runCommand } from '../run.ts';
import type { Run } from '../run.ts';

interface Flags extends OutputFlags, ConnectionFlags, SnapshotFlags {
  readonly dryRun?: boolean;
  readonly force?: boolean;
}

/** `snapferry snapshot LOCATION`. */
export function configure(command: Command): void {
  command
    .argument('<location>', 'the directory to take a snapshot of')
    .option('-n, --dry-run', 'only show what it would hold')
    .option('-f, --force', 'take one even if nothing has changed')
    .action((text: string) => {
      const flags = command.opts<Flags>();
      return runCommand({
        output: flags,
        doing: `snapshot ${text}`,
        async body(run) {
          const document = await snapshotAnywhere(run, parseLocation(text), flags);
          for (const notice of document.notices) run.terminal.note(printable(notice));
          for (const path of document.missing) {
            run.terminal.warn(`cannot read ${printable(path)}; it is not in the snapshot`);
          }
          run.terminal.print(`${summary(document)}\n`);
          run.terminal.printJSON({ ...document, location: text });
          return document.missing.length > 0 ? exitCodes.incomplete : exitCodes.done;
        },
      });
    });
  addOutputOptions(addConnectionOptions(addSnapshotChoices(command)));
  addExamples(command, [
    ['/srv/data', 'take one now'],
    ["--exclude '*.tmp' --dry-run ./work", 'see what would be in it'],
    ['--snapshot-name before-upgrade web1:/srv/data', 'with a name, on another machine'],
  ]);
}

async function snapshotAnywhere(run: Run, location: Location, flags: Flags): Promise<SnapshotDocument> {
  const command = {
    command: 'snapshot',
    json: true,
    choices: snapshotChoices(flags),
    dryRun: flags.dryRun === true,
    force: flags.force === true,
    path: location.path,
  } as const;
  if (location.kind === 'local') return snapshotLocal(run, command);
  const [{ remoteDocument }, { snapshotDocument }] = [
    await import('../remote-document.ts'),
    await import('../documents.ts'),
  ];
  return remoteDocument(run, location, command, flags, snapshotDocument);
}

function summary(document: SnapshotDocument): string {
  const changes = formatChanges(document);
  if (document.snapshot !== null) return `@${printable(document.snapshot.name)}: ${changes}`;
  if (!document.taken) return 'nothing has changed since the newest snapshot';
  return `a snapshot would be taken: ${changes}`;
}

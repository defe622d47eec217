import type { Command } from 'commander';
import type { ListDocument } from '../documents.ts';
import { exitCodes } from '../exit-code.ts';
import { formatBytes, formatCreation, printable } from '../format.ts';
import { listSite } from '../inspect.ts';
import { parseLocation } from '../location.ts';
import type { Location } from '../location.ts';
import { checkBackendOptions, openSite } from '../open-site.ts';
import { addConnectionOptions, addDatasetOptions, addExamples, addOutputOptions, addSudoOptions } from '../options.ts';
import type { ConnectionFlags, DatasetFlags, OutputFlags, SudoFlags } from '../options.ts';
import { runCommand } from '../run.ts';
import type { Run } from '../run.ts';
import { renderTable } from '../table.ts';
import type { Column } from '../table.ts';

type ListFlags = OutputFlags & ConnectionFlags & DatasetFlags & SudoFlags;

/** `snapferry list LOCATION`. */
export function configure(command: Command): void {
  command.argument('<location>', 'a directory or dataset that has snapshots, or a copy').action((text: string) => {
    const flags = command.opts<ListFlags>();
    return runCommand({
      output: flags,
      doing: `list ${text}`,
      async body(run) {
        const document = await listAnywhere(run, parseLocation(text), flags);
        run.terminal.print(renderList(document));
        run.terminal.printJSON({ ...document, location: text });
        return exitCodes.done;
      },
    });
  });
  addSudoOptions(addDatasetOptions(command));
  addOutputOptions(addConnectionOptions(command));
  addExamples(command, [
    ['/backup/web1', 'what is in a backup?'],
    ['--recursive zfs:backup/web1', 'what is in a tree of ZFS datasets?'],
    ['--json web1:/srv/data', 'what is on another machine, for a program to read'],
  ]);
}

async function listAnywhere(run: Run, location: Location, flags: ListFlags): Promise<ListDocument> {
  const recursive = flags.recursive === true;
  const sudo = (location.kind === 'local' ? flags.sudo : flags.remoteSudo) === true;
  checkBackendOptions(location.backend, { recursive, sudo });
  if (location.kind === 'local') {
    return listSite(run, await openSite(location, { logger: run.logger, sudo }), { recursive });
  }
  const [{ remoteDocument }, { listDocument }] = [
    await import('../remote-document.ts'),
    await import('../documents.ts'),
  ];
  const command = { command: 'list', json: true, place: location, recursive, sudo } as const;
  return remoteDocument(run, location, command, flags, listDocument);
}

type Listed = ListDocument['versions'][number];

function renderList({ versions, datasets, kind }: ListDocument): string {
  const columns: Column[] = [{ title: 'NAME' }, { title: 'CREATED' }];
  if (kind !== null) columns.push({ title: 'SIZE', align: 'right' }, { title: 'ENTRIES', align: 'right' });
  columns.push({ title: 'GUID', align: 'right' }, { title: '' });
  const rowOf = (dataset: string, version: Listed): string[] => {
    const { type, name, creation, bytes, entries, missing, guid } = version;
    const isBookmark = type === 'bookmark';
    const sizes = [
      bytes === null || isBookmark ? '-' : formatBytes(bytes),
      entries === null || isBookmark ? '-' : String(entries),
    ];
    return [
      printable(`${dataset}${isBookmark ? '#' : '@'}${name}`),
      formatCreation(creation),
      ...(kind === null ? [] : sizes),
      guid,
      missing === null || missing === 0 ? '' : `${missing} could not be read`,
    ];
  };
  const rows =
    datasets === null
      ? versions.map((version) => rowOf('', version))
      : datasets.flatMap((dataset) => dataset.versions.map((version) => rowOf(dataset.dataset, version)));
  return renderTable(columns, rows);
}

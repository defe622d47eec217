import type { Command } from 'commander';
import type { ListDocument } from '../documents.ts';
import { exitCodes } from '../exit-code.ts';
import { formatBytes, formatCreation, printable } from '../format.ts';
import { listLocal } from '../inspect.ts';
import { parseLocation } from '../location.ts';
import type { Location } from '../location.ts';
import { addConnectionOptions, addExamples, addOutputOptions } from '../options.ts';
import type { ConnectionFlags, OutputFlags } from '../options.ts';
import { runCommand } from '../run.ts';
import type { Run } from '../run.ts';
import { renderTable } from '../table.ts';

type ListFlags = OutputFlags & ConnectionFlags;

/** `snapferry list LOCATION`. */
export function configure(command: Command): void {
  command.argument('<location>', 'a directory that has snapshots, or a copy').action((text: string) => {
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
  addOutputOptions(addConnectionOptions(command));
  addExamples(command, [
    ['/backup/web1', 'what is in a backup?'],
    ['--json web1:/srv/data', 'what is on another machine, for a program to read'],
  ]);
}

async function listAnywhere(run: Run, location: Location, flags: ListFlags): Promise<ListDocument> {
  if (location.kind === 'local') return listLocal(location.path);
  const [{ remoteDocument }, { listDocument }] = [
    await import('../remote-document.ts'),
    await import('../documents.ts'),
  ];
  return remoteDocument(run, location, { command: 'list', json: true, path: location.path }, flags, listDocument);
}

function renderList({ versions }: ListDocument): string {
  const rows = versions.map(({ type, name, creation, bytes, entries, missing, guid }) => [
    (type === 'bookmark' ? '#' : '@') + printable(name),
    formatCreation(creation),
    bytes === null || type === 'bookmark' ? '-' : formatBytes(bytes),
    entries === null || type === 'bookmark' ? '-' : String(entries),
    guid,
    missing === null || missing === 0 ? '' : `${missing} could not be read`,
  ]);
  return renderTable(
    [
      { title: 'NAME' },
      { title: 'CREATED' },
      { title: 'SIZE', align: 'right' },
      { title: 'ENTRIES', align: 'right' },
      { title: 'GUID', align: 'right' },
      { title: '' },
    ],
    rows,
  );
}

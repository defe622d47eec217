import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import type { VerifyDocument } from '../documents.ts';
import { exitCodes } from '../exit-code.ts';
import { formatBytes, formatCount, printable } from '../format.ts';
import { verifySite } from '../inspect.ts';
import { parseLocation, splitSnapshot } from '../location.ts';
import { openSite } from '../open-site.ts';
import { addConnectionOptions, addExamples, addOutputOptions } from '../options.ts';
import type { ConnectionFlags, OutputFlags } from '../options.ts';
import { runCommand } from '../run.ts';
import type { Run } from '../run.ts';

type VerifyFlags = OutputFlags & ConnectionFlags;

/** `snapferry verify LOCATION[@SNAPSHOT]`. */
export function configure(command: Command): void {
  command.argument('<location[@snapshot]>', 'what to verify; the newest snapshot by default').action((text: string) => {
    const flags = command.opts<VerifyFlags>();
    return runCommand({
      output: flags,
      doing: `verify ${text}`,
      async body(run) {
        const document = await verifyAnywhere(run, text, flags);
        run.terminal.print(renderVerification(document));
        run.terminal.printJSON({ ...document, location: text });
        return document.ok ? exitCodes.done : exitCodes.failed;
      },
    });
  });
  addOutputOptions(addConnectionOptions(command));
  addExamples(command, [
    ['/backup/web1', 'is the newest backup what it should be?'],
    ['vault:/backup/web1@snapferry_20261121_013300_000', 'read a certain one where it is, on another machine'],
  ]);
}

async function verifyAnywhere(run: Run, text: string, flags: VerifyFlags): Promise<VerifyDocument> {
  const location = parseLocation(text);
  if (location.kind === 'local') {
    const { location: place, snapshot } = splitSnapshot(location, existsSync);
    return verifySite(run, await openSite(place, { logger: run.logger, sudo: false }), snapshot);
  }
  const [{ remoteDocument }, { verifyDocument }] = [
    await import('../remote-document.ts'),
    await import('../documents.ts'),
  ];
  const command = { command: 'verify', json: true, place: location, recursive: false, sudo: false } as const;
  return remoteDocument(run, location, command, flags, verifyDocument);
}

function renderVerification({ snapshot, ok, files, bytes, damaged }: VerifyDocument): string {
  const lines = damaged.map(({ path, problem }) => `${printable(path)}: ${printable(problem)}\n`);
  const what = `@${printable(snapshot.name)}: ${formatCount(files, 'entry', 'entries')}, ${formatBytes(bytes)} read`;
  return `${lines.join('')}${what}; ${ok ? 'all as recorded' : `${damaged.length} damaged`}\n`;
}

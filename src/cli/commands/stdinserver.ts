import type { Command } from 'commander';
import { loadRights, stdinserverConfigurationFile } from '../../config/stdinserver-configuration.ts';
import type { IdentityRights } from '../../config/stdinserver-configuration.ts';
import { SnapferryError } from '../../errors.ts';
import { exitCodes } from '../exit-code.ts';
import type { ExitCode } from '../exit-code.ts';
import { allSourcesHandler, confinedHandler, grantFor, readOriginalCommand } from '../forced-command.ts';
import { listLocal, snapshotLocal, verifyLocal } from '../inspect.ts';
import { splitSnapshot } from '../location.ts';
import { addExamples, addOutputOptions } from '../options.ts';
import type { OutputFlags } from '../options.ts';
import type { InspectCommand, RemoteCommand, SnapshotCommand } from '../remote-command.ts';
import { runCommand } from '../run.ts';
import type { Run } from '../run.ts';
import { serveStdio } from '../serve-session.ts';

interface Flags extends OutputFlags {
  readonly config: string;
}

/** `snapferry stdinserver IDENTITY`. */
export function configure(command: Command): void {
  command
    .argument('<identity>', 'who has this key; what it may do is in the configuration')
    .option('-c, --config <file>', 'the configuration', stdinserverConfigurationFile)
    .action((identity: string) => {
      const flags = command.opts<Flags>();
      const line = process.env['SSH_ORIGINAL_COMMAND'] ?? '';
      const asked = line === '' ? null : tryRead(line);
      return runCommand({
        // What answers with a document answers with its errors in one, too.
        output: { ...flags, json: asked !== null && asked.command !== 'serve' },
        doing: `serve ${identity}`,
        onInterrupted: () => 'the other side can resume what was under way',
        async body(run) {
          const rights = loadRights(flags.config, identity);
          if (line === '') return serveStdio(run, () => allSourcesHandler(run, rights), identity);
          return answer(run, identity, rights, asked ?? readOriginalCommand(line));
        },
      });
    });
  addOutputOptions(command, { json: false });
  command.addHelpText('after', configurationHelp);
  addExamples(command, [['web1 --config /etc/snapferry/stdinserver.yml', 'what sshd runs for the key of web1']]);
}

const configurationHelp = `
In authorized_keys:
  command="snapferry stdinserver web1",restrict ssh-ed25519 AAAA…

In ${stdinserverConfigurationFile}:
  identities:
    web1:
      sources: [/srv/data]     # what it may read, with all below
      sink: /backup/web1       # where it may store, at or below
      snapshot: true           # may have snapshots taken of its sources
`;

function tryRead(line: string): RemoteCommand | null {
  try {
    return readOriginalCommand(line);
  } catch {
    return null;
  }
}

async function answer(run: Run, identity: string, rights: IdentityRights, command: RemoteCommand): Promise<ExitCode> {
  run.logger.info({ identity, command }, 'asked');
  if (command.command === 'serve') {
    return serveStdio(run, () => confinedHandler(run, identity, rights, command), identity);
  }
  return command.command === 'snapshot'
    ? takeConfined(run, identity, rights, command)
    : inspectConfined(run, identity, rights, command);
}

async function takeConfined(
  run: Run,
  identity: string,
  rights: IdentityRights,
  command: SnapshotCommand,
): Promise<ExitCode> {
  const { dataset, mayRead } = await grantFor(identity, rights, command.path);
  if (!mayRead || !(rights.snapshot || command.dryRun)) {
    throw new SnapferryError('ACCESS_DENIED', `${identity} may not take snapshots of ${command.path}`);
  }
  const document = await snapshotLocal(run, { ...command, path: dataset.directory });
  run.terminal.printJSON({ ...document, location: command.path });
  return document.missing.length > 0 ? exitCodes.incomplete : exitCodes.done;
}

async function inspectConfined(
  run: Run,
  identity: string,
  rights: IdentityRights,
  command: InspectCommand,
): Promise<ExitCode> {
  // A name with an "@" is not looked up first: that would tell whether something exists out of bounds.
  const asked = { kind: 'local', path: command.path } as const;
  const { location, snapshot } =
    command.command === 'verify' ? splitSnapshot(asked, () => false) : { location: asked, snapshot: null };
  const { dataset } = await grantFor(identity, rights, location.path);
  if (command.command === 'list') {
    run.terminal.printJSON({ ...(await listLocal(dataset.directory)), location: command.path });
    return exitCodes.done;
  }
  const document = await verifyLocal(run, { path: dataset.directory, snapshot });
  run.terminal.printJSON({ ...document, location: command.path });
  return document.ok ? exitCodes.done : exitCodes.failed;
}

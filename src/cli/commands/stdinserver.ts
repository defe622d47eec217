import { statSync } from 'node:fs';
import type { Command } from 'commander';
import { loadRights, stdinserverConfigurationFile } from '../../config/stdinserver-configuration.ts';
import type { IdentityRights } from '../../config/stdinserver-configuration.ts';
import type { DatasetPath } from '../../dataset.ts';
import { SnapferryError } from '../../errors.ts';
import { stdinserverSocket } from '../../jobs/stdinserver-socket.ts';
import { exitCodes } from '../exit-code.ts';
import type { ExitCode } from '../exit-code.ts';
import { allSourcesHandler, confinedHandler, readOriginalCommand } from '../forced-command.ts';
import { grantFor } from '../grant.ts';
import { listSite, listTraces, snapshotSite, verifySite } from '../inspect.ts';
import { formatPlace, splitSnapshot } from '../location.ts';
import { addExamples, addOutputOptions } from '../options.ts';
import type { OutputFlags } from '../options.ts';
import type { InspectCommand, RemoteCommand, SnapshotCommand } from '../remote-command.ts';
import { relayStdio } from '../relay-stdio.ts';
import { runCommand } from '../run.ts';
import type { Run } from '../run.ts';
import { serveStdio } from '../serve-session.ts';

interface Flags extends OutputFlags {
  readonly config: string;
  readonly sockdir: string;
}

/** As `global.serve.stdinserver.sockdir` has it by default. */
const sockdirDefault = '/run/snapferry/stdinserver';

/** `snapferry stdinserver IDENTITY`. */
export function configure(command: Command): void {
  command
    .argument('<identity>', 'who has this key; what it may do is in the configuration')
    .option('-c, --config <file>', 'the configuration', stdinserverConfigurationFile)
    .option('--sockdir <dir>', 'where the daemon has a socket for each identity that a job serves', sockdirDefault)
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
          // A client that asks for nothing in particular is one of a job, if the daemon has a job for it.
          const socket = line === '' ? socketOf(flags.sockdir, identity) : null;
          if (socket !== null) {
            await relayStdio(socket, run.signal);
            return exitCodes.done;
          }
          const rights = loadRights(flags.config, identity);
          if (line === '') return serveStdio(run, () => allSourcesHandler(run, identity, rights), identity);
          return answer(run, identity, rights, asked ?? readOriginalCommand(line));
        },
      });
    });
  addOutputOptions(command, { json: false });
  command.addHelpText('after', configurationHelp);
  addExamples(command, [['web1 --config /etc/snapferry/stdinserver.yml', 'what sshd runs for the key of web1']]);
}

/** The daemon's socket for an identity; null if there is none. An identity names a file, and never a path. */
function socketOf(sockdir: string, identity: string): string | null {
  if (!/^[A-Za-z0-9][A-Za-z0-9_.:-]*$/.test(identity)) return null;
  const path = stdinserverSocket(sockdir, identity);
  return statSync(path, { throwIfNoEntry: false })?.isSocket() === true ? path : null;
}

const configurationHelp = `
In authorized_keys:
  command="snapferry stdinserver web1",restrict ssh-ed25519 AAAA…

Where the daemon has a job with "serve: { type: stdinserver }" for the identity, a client that names no command speaks to that job.
Everything else is for ${stdinserverConfigurationFile} to say:
  identities:
    web1:
      sources: [/srv/data]     # what it may read, with all below
      sink: /backup/web1       # where it may store, at or below
      snapshot: true           # may have snapshots taken of its sources
    db1:
      sources:                 # of ZFS and btrfs: patterns, the most specific decides
        "zfs:tank<": true      # tank and all below it
        "zfs:tank/tmp<": false
      sink: zfs:backup         # stores at or below backup/db1 only
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
  switch (command.command) {
    case 'snapshot':
      return takeConfined(run, identity, rights, command);
    case 'release':
      // Nothing a peer asks for removes anything.
      throw new SnapferryError('ACCESS_DENIED', `${identity} may not release anything; do that on this machine`);
    default:
      return inspectConfined(run, identity, rights, command);
  }
}

async function takeConfined(
  run: Run,
  identity: string,
  rights: IdentityRights,
  command: SnapshotCommand,
): Promise<ExitCode> {
  const { place, recursive } = command;
  const location = formatPlace(place);
  const { site, mayRead } = await grantFor(run, { identity, rights, place, recursive });
  if (!(recursive || mayRead(site.dataset)) || !(rights.snapshot || command.dryRun)) {
    throw new SnapferryError('ACCESS_DENIED', `${identity} may not take snapshots of ${location}`);
  }
  const document = await snapshotSite(run, site, command, { recursive, may: mayRead });
  run.terminal.printJSON({ ...document, location });
  return document.missing.length > 0 ? exitCodes.incomplete : exitCodes.done;
}

async function inspectConfined(
  run: Run,
  identity: string,
  rights: IdentityRights,
  command: InspectCommand,
): Promise<ExitCode> {
  // A name with an "@" is not looked up first: that would tell whether something exists out of bounds.
  const asked = { kind: 'local', ...command.place } as const;
  const { location: place, snapshot } =
    command.command === 'verify' ? splitSnapshot(asked, () => false) : { location: asked, snapshot: null };
  const { recursive } = command;
  const { site, mayRead, mayStore } = await grantFor(run, { identity, rights, place, recursive });
  const location = formatPlace(command.place);
  const scope = { recursive, may: (filesystem: DatasetPath) => mayRead(filesystem) || mayStore(filesystem) };
  if (command.command === 'verify') {
    const document = await verifySite(run, site, snapshot);
    run.terminal.printJSON({ ...document, location });
    return document.ok ? exitCodes.done : exitCodes.failed;
  }
  const document =
    command.command === 'list'
      ? await listSite(run, site, scope)
      : await listTraces(run, site, { ...scope, job: null });
  run.terminal.printJSON({ ...document, location });
  return exitCodes.done;
}

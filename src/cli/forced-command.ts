import type { IdentityRights } from '../config/stdinserver-configuration.ts';
import { formatDatasetPath } from '../dataset.ts';
import type { DatasetPath } from '../dataset.ts';
import { SnapferryError } from '../errors.ts';
import type { ResumeTokenClaims } from '../handlers/admit-token.ts';
import { confinePath } from '../handlers/confine-path.ts';
import { directoryHandler } from '../handlers/directory/handler.ts';
import { decodeResumeToken } from '../handlers/directory/resume-token.ts';
import { restricted } from '../handlers/restricted.ts';
import type { RPCHandler } from '../rpc/interfaces.ts';
import { localDataset } from './local-dataset.ts';
import type { LocalDataset } from './local-dataset.ts';
import { sourceHandler } from './peer.ts';
import { receivingHandler } from './push.ts';
import { parseRemoteCommand } from './remote-command.ts';
import type { RemoteCommand, ServeCommand } from './remote-command.ts';
import type { Run } from './run.ts';
import { splitWords } from './split-words.ts';

/** What an identity may do with one location. */
export interface Grant {
  /** Where the location really leads; only this may be used from now on. */
  readonly dataset: LocalDataset;
  readonly mayRead: boolean;
  readonly mayStore: boolean;
}

/**
 * Reads what a client asked for (`SSH_ORIGINAL_COMMAND`). It is never given to a shell.
 * @throws UsageError for anything that is not a command of this program
 */
export function readOriginalCommand(line: string): RemoteCommand {
  return parseRemoteCommand(splitWords(line, 'the command'));
}

/**
 * What the rights say about a location. Symlinks cannot lead out of the directories they name, nor can `..`.
 * @throws SnapferryError `ACCESS_DENIED` when they allow nothing there
 */
export async function grantFor(identity: string, rights: IdentityRights, path: string): Promise<Grant> {
  const readable = await confinePath(path, rights.sources);
  const storable = rights.sink === null ? null : await confinePath(path, [rights.sink]);
  const directory = readable ?? storable;
  if (directory === null) {
    throw new SnapferryError('ACCESS_DENIED', `${identity} may neither read nor store ${JSON.stringify(path)}`);
  }
  const dataset = await localDataset(directory);
  return { dataset, mayRead: readable !== null, mayStore: storable !== null };
}

/** The handler for a `serve` command within the rights of an identity. */
export async function confinedHandler(
  run: Pick<Run, 'logger'>,
  identity: string,
  rights: IdentityRights,
  { path, snapshot, choices }: ServeCommand,
): Promise<RPCHandler> {
  const { dataset, mayRead, mayStore } = await grantFor(identity, rights, path);
  if (snapshot === 'take' && !(mayRead && rights.snapshot)) {
    throw new SnapferryError('ACCESS_DENIED', `${identity} may not take snapshots of ${path}; pull with --no-snapshot`);
  }
  const base = sourceHandler(dataset, run, { mode: mayRead ? snapshot : 'none', choices });
  const isIt = (filesystem: DatasetPath) => formatDatasetPath(filesystem) === formatDatasetPath(dataset.path);
  return restricted(receivingHandler(dataset, run, { base }), {
    // Whoever stores there knows the versions anyway, and a plan of a push needs them.
    mayList: isIt,
    mayRead: (filesystem) => mayRead && isIt(filesystem),
    mayPush: mayStore,
    readResumeToken,
  });
}

/** The handler for a client that asked for nothing in particular: all the sources of the identity, to be read. */
export async function allSourcesHandler(run: Pick<Run, 'logger'>, rights: IdentityRights): Promise<RPCHandler> {
  const datasets = await Promise.all(rights.sources.map((source) => localDataset(source)));
  return restricted(directoryHandler({ datasets, logger: run.logger }), {
    mayList: () => true,
    mayRead: () => true,
    mayPush: false,
    readResumeToken,
  });
}

/** A token of the directory backend names versions only: its sender never leaves the requested directory. */
function readResumeToken(token: string): ResumeTokenClaims {
  const { from, to } = decodeResumeToken(token);
  return { filesystem: null, fromGuid: from, toGuid: to };
}

import type { IdentityRights } from '../config/stdinserver-configuration.ts';
import { parseDatasetPath, sameDataset } from '../dataset.ts';
import type { DatasetPath } from '../dataset.ts';
import { SnapferryError } from '../errors.ts';
import { confinedSink, isWithin } from '../handlers/confine-dataset.ts';
import { restricted } from '../handlers/restricted.ts';
import type { AccessPolicy } from '../handlers/restricted.ts';
import type { RPCHandler } from '../rpc/interfaces.ts';
import { defaultSend } from './choices.ts';
import type { ReceiveChoices } from './choices.ts';
import { grantFor, placeToStore, readableRoots } from './grant.ts';
import type { Grant } from './grant.ts';
import { openSite } from './open-site.ts';
import { sourceHandler } from './peer.ts';
import { nothingToRead, receivingHandler } from './push.ts';
import { parseRemoteCommand } from './remote-command.ts';
import type { RemoteCommand, ServeCommand } from './remote-command.ts';
import type { Run } from './run.ts';
import { splitWords } from './split-words.ts';

/**
 * Reads what a client asked for (`SSH_ORIGINAL_COMMAND`). It is never given to a shell.
 * @throws UsageError for anything that is not a command of this program
 */
export function readOriginalCommand(line: string): RemoteCommand {
  return parseRemoteCommand(splitWords(line, 'the command'));
}

/** The handler for a `serve` command within the rights of an identity. */
export async function confinedHandler(
  run: Pick<Run, 'logger'>,
  identity: string,
  rights: IdentityRights,
  command: ServeCommand,
): Promise<RPCHandler> {
  const { place, recursive, snapshot, choices, send } = command;
  checkChoices(identity, rights, command);
  const grant = await grantFor(run, { identity, rights, place, recursive });
  const { site, mayRead, mayStore } = grant;
  const isReadable = recursive || mayRead(site.dataset);
  if (snapshot === 'take' && !(isReadable && rights.snapshot)) {
    const text = `${identity} may not take snapshots of ${place.path}; pull with --no-snapshot`;
    throw new SnapferryError('ACCESS_DENIED', text);
  }
  const mode = isReadable ? snapshot : 'none';
  // Whoever stores there knows the versions anyway, and a plan of a push needs them; a snapshot is another matter.
  const mayList = (filesystem: DatasetPath): boolean => mayRead(filesystem) || mayStore(filesystem);
  const base = sourceHandler(site, { recursive, mode, choices, send }, undefined, mode === 'none' ? mayList : mayRead);
  const isMeant = (filesystem: DatasetPath): boolean =>
    recursive ? isWithin(site.dataset, filesystem) : sameDataset(site.dataset, filesystem);
  const handler = receivingHandler(site, base, {
    receive: { ...configuredReceive(rights), fromSnapshots: command.receive.fromSnapshots },
    takesProperties: rights.receive.takeProperties,
    sourceRoot: command.sourceRoot === null ? null : parseDatasetPath(command.sourceRoot),
    confine: (sink) => confinedSink(sink, site.dataset),
  });
  return restricted(handler, {
    ...checksOf(grant),
    mayList: (filesystem) => isMeant(filesystem) && mayList(filesystem),
    mayRead: (filesystem) => isMeant(filesystem) && mayRead(filesystem),
    mayPush: mayStore(site.dataset),
  });
}

/**
 * The handler for a client that asked for nothing in particular: all the sources of the identity, to be read; and what it pushes
 * goes below its place in the sink, under its own name, unless that is a directory.
 * @throws SnapferryError `INVALID_REQUEST` for sources of several backends, whose names could be mixed up
 */
export async function allSourcesHandler(
  run: Pick<Run, 'logger'>,
  identity: string,
  rights: IdentityRights,
): Promise<RPCHandler> {
  const backends = new Set(rights.sources.map(({ backend }) => backend));
  const place = placeToStore(identity, rights.sink);
  if (place !== null) backends.add(place.backend);
  const [backend, ...others] = backends;
  if (others.length > 0) {
    const text = `${identity} has rights for ${[...backends].join(' and ')}, so a location must be named`;
    throw new SnapferryError('INVALID_REQUEST', text);
  }
  if (backend === undefined) throw new SnapferryError('ACCESS_DENIED', `${identity} must name where it wants to store`);
  const access = { logger: run.logger, sudo: rights.sudo };
  const readable = await readableRoots(backend, rights.sources);
  const site = await openSite(place ?? readable.anyPlace, access);
  const source = readable.roots.length === 0 ? nothingToRead : await site.sourceOf(readable, defaultSend);
  const handler =
    place === null
      ? source
      : receivingHandler(site, source, {
          receive: configuredReceive(rights),
          takesProperties: rights.receive.takeProperties,
          sourceRoot: [],
          confine: (sink) => confinedSink(sink, site.dataset),
        });
  return restricted(handler, {
    ...checksOf({ site }),
    mayList: readable.matches,
    mayRead: readable.matches,
    mayPush: place !== null,
  });
}

function checksOf({ site }: Pick<Grant, 'site'>): Pick<AccessPolicy, 'checkDataset' | 'readResumeToken'> {
  return { checkDataset: site.checkDataset, readResumeToken: site.readResumeToken };
}

/** What is for this machine's configuration to say, and for no client. */
function checkChoices(identity: string, rights: IdentityRights, { receive, sudo }: ServeCommand): void {
  const refuse = (what: string, key: string): never => {
    const text = `${identity} may not choose ${what}: it is for "${key}" in the configuration here to say`;
    throw new SnapferryError('ACCESS_DENIED', text);
  };
  if (sudo && !rights.sudo) refuse('to use sudo', 'sudo');
  const { options, exclude, placeholderEncryption } = receive;
  if (options.length > 0 || exclude.length > 0 || placeholderEncryption !== null) {
    refuse('how what it pushes is stored', 'receive');
  }
}

function configuredReceive({ receive }: IdentityRights): ReceiveChoices {
  const { options, exclude, placeholderEncryption } = receive;
  return {
    options: Object.entries(options).map(([name, value]) => `${name}=${value}`),
    exclude,
    placeholderEncryption,
    fromSnapshots: null,
  };
}

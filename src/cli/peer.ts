import { formatDatasetPath } from '../dataset.ts';
import type { DatasetPath } from '../dataset.ts';
import { SnapferryError } from '../errors.ts';
import { ByteStreamRPC } from '../rpc/byte-stream-rpc.ts';
import type { RPCHandler, RPCRequester } from '../rpc/interfaces.ts';
import { LocalRPC } from '../rpc/local-rpc.ts';
import type { ByteStream } from '../transport/byte-stream.ts';
import { connectSSH } from '../transport/ssh.ts';
import { defaultReceive } from './choices.ts';
import type { SendChoices, SnapshotChoices, SnapshotMode } from './choices.ts';
import { printable } from './format.ts';
import type { Location, RemoteLocation } from './location.ts';
import { openSite, selectionBelow } from './open-site.ts';
import type { ConnectionFlags } from './options.ts';
import { remoteArguments } from './remote-command.ts';
import type { RemoteCommand, ServeCommand } from './remote-command.ts';
import type { Run } from './run.ts';
import type { Site, TakenSnapshot } from './site.ts';
import { snapshotting } from './snapshotting.ts';

/** Lines of a remote program kept until it is known whether it speaks the protocol. */
const stderrLinesMax = 100;

/** How long until the other side may answer: ssh has to connect and log in, and the program there to start, on a slow machine. */
const helloMsMax = 60_000;

/** A command of snapferry running on the machine of a location. */
export interface RemoteProgram {
  readonly stream: ByteStream;
  /** Shows what it said on stderr so far, and from now on at once, with the host before it. */
  readonly showStderr: () => void;
}

/** Runs a command of snapferry on the machine of a location. The caller closes the stream. */
export async function startRemote(
  { terminal, signal }: Run,
  location: RemoteLocation,
  command: RemoteCommand,
  flags: ConnectionFlags,
): Promise<RemoteProgram> {
  const { host, user, port } = location;
  const sshPort = port ?? flags.sshPort;
  const show = (line: string): void => terminal.note(`${host}: ${printable(line)}`);
  const waiting: string[] = [];
  let onLine = (line: string): unknown => waiting.length < stderrLinesMax && waiting.push(line);
  const stream = await connectSSH({
    host,
    command: [...(flags.remoteProgram ?? ['snapferry']), ...remoteArguments(command)],
    signal,
    onStderrLine: (line) => void onLine(line),
    ...(user !== null && { user }),
    ...(sshPort !== undefined && { port: sshPort }),
    ...(flags.identityFile !== undefined && { identityFile: flags.identityFile }),
    ...(flags.sshConfig !== undefined && { configFile: flags.sshConfig }),
    ...(flags.sshOption !== undefined && { options: flags.sshOption }),
  });
  return {
    stream,
    showStderr() {
      waiting.splice(0).forEach(show);
      onLine = show;
    },
  };
}

/** A requester for what a remote program serves. The caller closes it. */
export async function connectRemote(
  run: Run,
  location: RemoteLocation,
  command: ServeCommand,
  flags: ConnectionFlags,
): Promise<RPCRequester> {
  const { stream, showStderr } = await startRemote(run, location, command, flags);
  const client = await ByteStreamRPC.connect(stream, {
    logger: run.logger,
    minimumVersion: flags.minimumVersion === '2' ? 2 : 1,
    limits: { helloMsMax },
  });
  // A connection that fails quotes these lines itself.
  showStderr();
  return client;
}

/** What is to be read of a source. */
export interface SourceChoices {
  readonly recursive: boolean;
  readonly mode: SnapshotMode;
  readonly choices: SnapshotChoices;
  readonly send: SendChoices;
}

/** What is wanted of a source. */
export interface SourceRequest extends SourceChoices {
  readonly location: Location;
  readonly connection: ConnectionFlags;
  /** Whether the backend's program is run through sudo, where the source is. */
  readonly sudo: boolean;
  /** Told about a snapshot taken on this machine. */
  readonly onSnapshot?: (taken: TakenSnapshot) => void;
}

/** A requester for a source, near or far. The caller closes it. */
export async function connectSource(run: Run, request: SourceRequest): Promise<RPCRequester> {
  const { location, mode, choices, connection, recursive, send, sudo } = request;
  if (location.kind === 'local') {
    const site = await openSite(location, { logger: run.logger, sudo });
    return LocalRPC.connect(sourceHandler(site, request, request.onSnapshot), { logger: run.logger });
  }
  const command = { command: 'serve', snapshot: mode, place: location, choices, recursive, send, sudo } as const;
  return connectRemote(run, location, { ...command, receive: defaultReceive, sourceRoot: null }, connection);
}

/**
 * The source half of a site, taking snapshots if that is asked for.
 * @param may what may be offered at all; everything by default
 */
export function sourceHandler(
  site: Site,
  { recursive, mode, choices, send }: SourceChoices,
  onSnapshot?: (taken: TakenSnapshot) => void,
  may: (filesystem: DatasetPath) => boolean = () => true,
): RPCHandler {
  const isMeant = selectionBelow(site.backend, site.dataset, choices.exclude);
  const select = (filesystem: DatasetPath): boolean => isMeant(filesystem) && may(filesystem);
  return snapshotting(site.source({ recursive, select, send }), {
    site,
    mode,
    request: { choices, recursive, select },
    ...(onSnapshot !== undefined && { onResult: onSnapshot }),
  });
}

/**
 * The one dataset a source offers; there is one location on the command line, so there can be only one.
 * @throws SnapferryError `DATASET_NOT_FOUND`, `INVALID_REQUEST` when several are offered
 */
export async function onlyDataset(client: RPCRequester, signal: AbortSignal): Promise<DatasetPath> {
  const offered = await client.filesystems({ roots: null }, { signal });
  const [only] = offered;
  if (only === undefined) throw new SnapferryError('DATASET_NOT_FOUND', 'the source offers no dataset');
  if (offered.length === 1) return only;
  const names = offered.slice(0, 5).map((path) => printable(formatDatasetPath(path)));
  throw new SnapferryError(
    'INVALID_REQUEST',
    `the source offers ${offered.length} datasets (${names.join(', ')}), not one`,
  );
}

/**
 * Runs `work` with a requester and closes it afterwards. How the other side ends is no matter of success any more: what
 * `work` returned is committed, and what it threw is the cause. An end that was not in order is only told.
 */
export async function closingAfter<T>(
  { terminal, logger }: Run,
  client: Pick<RPCRequester, 'close'>,
  work: () => Promise<T>,
): Promise<T> {
  let isDone = false;
  try {
    const result = await work();
    isDone = true;
    return result;
  } finally {
    await client.close().catch((error: unknown) => {
      logger.info({ err: error }, 'the other side did not end in order');
      if (isDone) terminal.warn(`all is done, but the other side did not end in order: ${(error as Error).message}`);
    });
  }
}

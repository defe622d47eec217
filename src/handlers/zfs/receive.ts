import { formatVersion } from '../../dataset.ts';
import type { FilesystemVersion } from '../../dataset.ts';
import { SnapferryError, toSnapferryError } from '../../errors.ts';
import type { RunningCommand } from '../run-command.ts';
import type { ZfsTool } from './commands-tool.ts';
import { zfsCause } from './output-failure.ts';
import type { ZfsCause } from './output-failure.ts';
import { receiveArguments } from './receive-commands.ts';
import type { ReceiveProperties } from './receive-properties.ts';
import type { ReceiveStream, StreamHead } from './receive-stream.ts';

/** One `zfs recv`. */
export interface ReceiveCommand {
  /** Full name under which the snapshot is received. */
  readonly snapshot: string;
  readonly properties: ReceiveProperties;
  /** See `receiveArguments`. */
  readonly isForced: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** How a `zfs recv` ended that was fed the whole stream. What it received, only a look can tell. */
export type ReceiveEnd =
  | { readonly isSuccess: true; readonly stderr: string }
  | { readonly isSuccess: false; readonly cause: ZfsCause; readonly error: SnapferryError };

/** What may follow the stream `zfs recv` has taken: the end of its package. */
const surplusBytesMax = 1024 * 1024;

/** How long a receive that gets no more may take to put away what it has, before it is killed. */
const endGraceMs = 10_000;

/**
 * Feeds a stream to `zfs recv`. If the stream fails, so does this, with the stream's error, and the receive cannot take what it
 * has for whole; what it has stays, to be resumed.
 * @throws SnapferryError whatever the stream throws, `CANCELLED`, `TIMEOUT`
 */
export async function runReceive(tool: ZfsTool, command: ReceiveCommand, stream: ReceiveStream): Promise<ReceiveEnd> {
  const { snapshot, properties, isForced, signal } = command;
  let failedStderr: string | undefined;
  const running = tool.spawn(receiveArguments(snapshot, properties, { isForced }), {
    stream: 'input',
    doing: `receiving ${snapshot}`,
    fallback: 'INTERNAL',
    onFailure: (stderr) => (failedStderr = stderr),
  });
  // Nothing is printed there; unread, it would hold the command up.
  const draining = drain(running);
  // A command that has failed must not wait for a source that has nothing to send.
  running.finished.catch((error: unknown) => stream.interrupt(toSnapferryError(error)));
  const ending = new PatientStop(running, signal);
  const streamFailure = await feed(running, stream).then(
    () => null,
    (error: unknown) => ({ error }),
  );
  // Killed, it would lose what is still on its way to the disk.
  if (streamFailure !== null) ending.begin();
  await running.endInput();
  await draining;
  try {
    const { stderr } = await running.finished;
    if (streamFailure === null) return { isSuccess: true, stderr };
  } catch (error) {
    const isOwn = streamFailure === null || streamFailure.error === error;
    if (isOwn && failedStderr !== undefined && error instanceof SnapferryError) {
      return { isSuccess: false, cause: zfsCause(failedStderr), error };
    }
    if (isOwn) throw error;
  } finally {
    ending.clear();
  }
  throw streamFailure.error;
}

/** Stops a command that has got {@link endGraceMs} to end by itself, once that is wanted. */
class PatientStop {
  readonly #running: RunningCommand;
  readonly #signal: AbortSignal | undefined;
  #timer: NodeJS.Timeout | undefined;
  readonly begin = (): void => {
    this.#timer ??= setTimeout(() => void this.#running.stop(), endGraceMs);
  };

  constructor(running: RunningCommand, signal: AbortSignal | undefined) {
    this.#running = running;
    this.#signal = signal;
    if (signal?.aborted === true) this.begin();
    signal?.addEventListener('abort', this.begin, { once: true });
  }

  clear(): void {
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener('abort', this.begin);
  }
}

async function feed(running: RunningCommand, stream: ReceiveStream): Promise<void> {
  for (;;) {
    const bytes = await stream.next();
    if (bytes === null) return;
    try {
      await running.write(bytes);
    } catch (error) {
      // Throws if that is why.
      await running.finished;
      await readSurplus(stream, error);
      return;
    }
  }
}

/** The command has what it wants and has ended well; the sender's verified end is still to be heard. */
async function readSurplus(stream: ReceiveStream, cause: unknown): Promise<void> {
  const limit = stream.bytes + surplusBytesMax;
  while ((await stream.next()) !== null) {
    if (stream.bytes <= limit) continue;
    throw new SnapferryError('PROTOCOL_VIOLATION', 'the sender goes on after the end of its stream', { cause });
  }
}

async function drain(running: RunningCommand): Promise<void> {
  const iterator = running.stdout[Symbol.asyncIterator]();
  try {
    while ((await iterator.next()).done !== true);
  } catch {
    // It was stopped.
  }
}

/** What refused receives say, for people: `zfs recv` names neither what is in the way nor what to do about it. */
export function explainRefusal(
  { cause, error }: Extract<ReceiveEnd, { isSuccess: false }>,
  about: {
    readonly dataset: string;
    readonly from: FilesystemVersion | null;
    /** What the dataset has, oldest first. */
    readonly versions: readonly FilesystemVersion[];
    readonly head: StreamHead;
  },
): SnapferryError {
  const { dataset, head } = about;
  if (cause === 'encryption_mismatch' || (cause === 'key_not_loaded' && about.from !== null && !head.isRaw)) {
    const now = head.isRaw ? 'raw (encrypted as it is at the source)' : 'in the clear';
    const text = `this stream is sent ${now}, and ${dataset} was not begun that way; send it as before, or choose another place`;
    return refusal('INVALID_REQUEST', text, error);
  }
  if (cause === 'destination_modified') return modified(error, about);
  if (cause === 'destination_exists') {
    return refusal(
      'BUSY',
      `another receive into ${dataset} seems to have begun meanwhile; run again once it has ended`,
      error,
    );
  }
  if (/does not\s+match incremental source/.test(error.message)) {
    return refusal(
      'VERSION_NOT_FOUND',
      `${dataset} no longer has what the transfer starts from; compare both sides again`,
      error,
    );
  }
  if (/kernel modules must be upgraded|must specify -F/.test(error.message)) {
    const text = `what was sent does not go on where the partial receive of ${dataset} stopped; run again (if it stays, update ZFS)`;
    return refusal('RESUME_TOKEN_INVALID', text, error);
  }
  if (cause === 'out_of_space') {
    return refusal('INTERNAL', `what has arrived of it is kept, and the next run goes on from there`, error);
  }
  return error;
}

function modified(
  error: SnapferryError,
  { dataset, from, versions }: Parameters<typeof explainRefusal>[1],
): SnapferryError {
  const snapshots = versions.filter(({ type }) => type === 'snapshot');
  const baseIndex = snapshots.findIndex(({ guid }) => guid === from?.guid);
  const base = snapshots[baseIndex];
  if (base === undefined) return error;
  const name = dataset + formatVersion(base);
  const newer = snapshots.slice(baseIndex + 1).map((version) => dataset + formatVersion(version));
  const undo =
    newer.length === 0
      ? `undo that with "zfs rollback ${name}"`
      : `save what is to be kept of ${newer.join(', ')} (for instance with "zfs clone" and "zfs send"), destroy these snapshots, ` +
        `undo the changes with "zfs rollback ${name}"`;
  return refusal(
    'INVALID_REQUEST',
    `${dataset} was changed since ${formatVersion(base)} was received, so nothing can be received on top of it. Nothing was ` +
      `lost. See what changed with "zfs diff ${name} ${dataset}", ${undo}, and run again; "zfs set readonly=on ${dataset}" ` +
      'keeps it as it is received',
    error,
  );
}

function refusal(code: SnapferryError['code'], text: string, error: SnapferryError): SnapferryError {
  return new SnapferryError(code, `${text}. ${error.message}`, { cause: error });
}

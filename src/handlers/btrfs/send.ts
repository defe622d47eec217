import { formatVersion } from '../../dataset.ts';
import { SnapferryError } from '../../errors.ts';
import type { Transfer } from '../../rpc/interfaces.ts';
import type { RunningCommand } from '../run-command.ts';
import { diskUsageArguments, sendArguments } from './commands.ts';
import { parseDiskUsage } from './output.ts';
import { decodeResumeToken, type BtrfsResumeToken } from './resume-token.ts';
import type { Command } from './stream-command.ts';
import { btrfsStreamFormat, violation } from './stream-format.ts';
import { StreamFraming } from './stream-framing.ts';
import type { BtrfsTool } from './tool.ts';
import { formatUUID, type UUID } from './uuid.ts';
import { originOf, type Snapshot } from './versions.ts';

/** Which stream is wanted. */
export interface BtrfsSendRequest {
  readonly from: Snapshot | null;
  readonly to: Snapshot;
  /** Used if the stream turns out to be the same up to there, ignored otherwise. */
  readonly resumeToken?: string | undefined;
  readonly streamVersion: 1 | 2;
  readonly signal: AbortSignal;
  /** Told before the part that the receiver has is made once more, which takes a while and gives no bytes. */
  readonly onSkip?: (bytes: number) => void;
}

const estimateMsMax = 20_000;

/**
 * Offers a stream. The tool runs from now on; it is stopped when the signal fires, or the bytes are left. Before anything is offered it
 * is known that the stream is of the very snapshots that were asked for, whatever was renamed or made anew meanwhile.
 * @throws SnapferryError `VERSION_NOT_FOUND`, `RESUME_TOKEN_INVALID`, `ACCESS_DENIED`, `CANCELLED`, `SOURCE_FAILED` with the tool's own
 * words; `bytes` throws the last two, too, and `TIMEOUT`
 */
export async function sendStream(tool: BtrfsTool, request: BtrfsSendRequest): Promise<Transfer> {
  const token = request.resumeToken === undefined ? null : decodeResumeToken(request.resumeToken);
  for (const snapshot of [request.from, request.to]) {
    if (snapshot !== null) await requireUnchanged(tool, snapshot, request.signal);
  }
  if (token !== null && isOfStep(token, request)) {
    request.onSkip?.(token.offset);
    const rest = await startAt(tool, request, token);
    if (rest !== null) return offer(rest, true);
  }
  return offer(await start(tool, request), false);
}

function offer(bytes: StartedStream, resumed: boolean): Transfer {
  return { format: btrfsStreamFormat, estimatedBytes: null, resumed, bytes };
}

function isOfStep(token: BtrfsResumeToken, { from, to }: BtrfsSendRequest): boolean {
  return token.to === to.version.guid && token.from === (from?.version.guid ?? null);
}

async function requireUnchanged(tool: BtrfsTool, { subvolume, version }: Snapshot, signal: AbortSignal): Promise<void> {
  const shown = await tool.show(subvolume.path, { signal });
  if (shown?.uuid === subvolume.uuid && shown.isReadOnly) return;
  const what = shown === null ? 'is gone' : shown.isReadOnly ? 'was made anew' : 'was made writable';
  throw new SnapferryError('VERSION_NOT_FOUND', `${formatVersion(version)} at ${subvolume.path} ${what}; run again`);
}

async function start(tool: BtrfsTool, request: BtrfsSendRequest): Promise<StartedStream> {
  const { from, to, streamVersion, signal } = request;
  const subject = { parent: from?.subvolume.path ?? null, snapshot: to.subvolume.path, streamVersion };
  const command = tool.start(sendArguments(subject), 'output', { signal });
  const stream = new StartedStream(command);
  try {
    const identities = { uuid: originOf(to.subvolume), parent: from === null ? null : originOf(from.subvolume) };
    await stream.checkOpening(identities);
    return stream;
  } catch (error) {
    await stream.return();
    throw error;
  }
}

/** The stream from where the receiver got, or null when it is not the one that the receiver has the beginning of. */
async function startAt(
  tool: BtrfsTool,
  request: BtrfsSendRequest,
  { offset, digest }: BtrfsResumeToken,
): Promise<StartedStream | null> {
  const stream = await start(tool, request);
  try {
    if (await stream.skip(offset, digest)) return stream;
  } catch (error) {
    await stream.return();
    throw error;
  }
  await stream.return();
  return null;
}

/** Payload bytes of a full stream, about; null when that takes too long to find out. */
export async function estimateFull(
  tool: BtrfsTool,
  { subvolume }: Snapshot,
  signal: AbortSignal,
): Promise<number | null> {
  try {
    const text = await tool.run(diskUsageArguments(subvolume.path), { signal, deadlineMs: estimateMsMax });
    return parseDiskUsage(text);
  } catch (error) {
    if (error instanceof SnapferryError && error.code === 'TIMEOUT') return null;
    throw error;
  }
}

/** What a running `btrfs send` gives. Not a generator: one that was left before its first piece would not stop the tool. */
class StartedStream implements AsyncIterableIterator<Uint8Array, undefined> {
  readonly #command: RunningCommand;
  readonly #output: AsyncIterator<Uint8Array>;
  /** Read ahead to look at, in order. */
  readonly #ahead: Uint8Array[] = [];

  constructor(command: RunningCommand) {
    this.#command = command;
    this.#output = command.stdout[Symbol.asyncIterator]();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    const value = this.#ahead.shift() ?? (await this.#read());
    return value === null ? { done: true, value: undefined } : { done: false, value };
  }

  /** Stops the tool, and waits until it is gone. */
  async return(): Promise<IteratorResult<Uint8Array, undefined>> {
    await this.#command.stop();
    return { done: true, value: undefined };
  }

  /** Null once the tool has exited without an error. Throws its error otherwise. */
  async #read(): Promise<Uint8Array | null> {
    try {
      const next = await this.#output.next();
      if (next.done !== true) return next.value;
    } catch (error) {
      // A killed tool breaks its output; then the reason is what it was killed for.
      await this.#command.finished;
      throw error;
    }
    await this.#command.finished;
    return null;
  }

  /**
   * Reads as far as the stream says which snapshots it is of.
   * @throws SnapferryError `VERSION_NOT_FOUND` when they are others than these
   */
  async checkOpening(expected: { readonly uuid: UUID; readonly parent: UUID | null }): Promise<void> {
    let found: { uuid: UUID; parent: UUID | null } | null = null;
    const visit = (command: Command): null => {
      if (found === null) {
        const isSnapshot = command.rule.name === 'snapshot';
        if (!isSnapshot && command.rule.name !== 'subvol') throw violation(`it begins with ${command.rule.name}`);
        found = {
          uuid: formatUUID(command.uuid('uuid')),
          parent: isSnapshot ? formatUUID(command.uuid('clone_uuid')) : null,
        };
      }
      return null;
    };
    const opening = await this.#lookAhead(visit, () => found);
    if (opening.uuid === expected.uuid && opening.parent === expected.parent) return;
    const text = `btrfs send made a stream of ${opening.uuid} from ${opening.parent ?? 'nothing'}, and not the one asked for`;
    throw new SnapferryError('VERSION_NOT_FOUND', `${text}: a snapshot was replaced just now; run again`);
  }

  async #lookAhead<T>(visit: (command: Command) => null, found: () => T | null): Promise<T> {
    const framing = new StreamFraming({ visit });
    for (;;) {
      const piece = await this.#read();
      if (piece === null) throw new SnapferryError('SOURCE_FAILED', 'btrfs send gave no stream, and no error either');
      this.#ahead.push(piece);
      framing.take(piece);
      const result = found();
      if (result !== null) return result;
    }
  }

  /** Leaves out the first `offset` bytes, if they end with a command and have this digest; whether they do. */
  async skip(offset: number, digest: string): Promise<boolean> {
    const framing = new StreamFraming({ visit: () => null });
    let skipped = 0;
    while (skipped < offset) {
      const piece = this.#ahead.shift() ?? (await this.#read());
      if (piece === null) return false;
      const part = piece.subarray(0, offset - skipped);
      framing.take(part);
      skipped += part.length;
      if (part.length < piece.length) this.#ahead.unshift(piece.subarray(part.length));
    }
    return framing.position?.offset === offset && framing.position.digest.value() === digest;
  }
}

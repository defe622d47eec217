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
 * Offers a stream. The tool is started when the first piece is asked for, and stopped when the signal fires or the bytes are left. What
 * it makes is looked at before any of it is given: it must be of the very snapshots that were asked for, whatever was renamed or made
 * anew meanwhile, and the beginning that the receiver has must be the same as when it was sent.
 * @throws SnapferryError `VERSION_NOT_FOUND`, `RESUME_TOKEN_INVALID`, `ACCESS_DENIED`, `CANCELLED`, `SOURCE_FAILED` with the tool's own
 * words; `bytes` throws these, too, and `TIMEOUT`
 */
export async function sendStream(tool: BtrfsTool, request: BtrfsSendRequest): Promise<Transfer> {
  const token = request.resumeToken === undefined ? null : decodeResumeToken(request.resumeToken);
  for (const snapshot of [request.from, request.to]) {
    if (snapshot !== null) await requireUnchanged(tool, snapshot, request.signal);
  }
  const start = token !== null && isOfStep(token, request) ? token : null;
  return {
    format: btrfsStreamFormat,
    estimatedBytes: null,
    resumed: start !== null,
    bytes: new SendBytes(tool, request, start),
  };
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

/** What `btrfs send` gives. Not a generator: one that is left before its first piece could not stop anything. */
class SendBytes implements AsyncIterableIterator<Uint8Array, undefined> {
  readonly #tool: BtrfsTool;
  readonly #request: BtrfsSendRequest;
  readonly #start: BtrfsResumeToken | null;
  #output: SendOutput | null = null;
  #isLeft = false;

  constructor(tool: BtrfsTool, request: BtrfsSendRequest, start: BtrfsResumeToken | null) {
    this.#tool = tool;
    this.#request = request;
    this.#start = start;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    if (this.#isLeft) return { done: true, value: undefined };
    this.#output ??= await this.#begin();
    const value = await this.#output.read();
    return value === null ? { done: true, value: undefined } : { done: false, value };
  }

  /** Stops the tool, and waits until it is gone. */
  async return(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.#isLeft = true;
    await this.#output?.stop();
    return { done: true, value: undefined };
  }

  async #begin(): Promise<SendOutput> {
    const { from, to, streamVersion, signal, onSkip } = this.#request;
    const subject = { parent: from?.subvolume.path ?? null, snapshot: to.subvolume.path, streamVersion };
    const output = new SendOutput(this.#tool.start(sendArguments(subject), 'output', { signal }));
    try {
      await output.checkOpening(originOf(to.subvolume), from === null ? null : originOf(from.subvolume));
      if (this.#start !== null) {
        onSkip?.(this.#start.offset);
        await output.skip(this.#start.offset, this.#start.digest);
      }
      return output;
    } catch (error) {
      this.#isLeft = true;
      await output.stop();
      throw error;
    }
  }
}

/** The output of a running `btrfs send`. */
class SendOutput {
  readonly #command: RunningCommand;
  readonly #iterator: AsyncIterator<Uint8Array>;
  /** Read already to be looked at, in order. */
  readonly #ahead: Uint8Array[] = [];

  constructor(command: RunningCommand) {
    this.#command = command;
    this.#iterator = command.stdout[Symbol.asyncIterator]();
  }

  async stop(): Promise<void> {
    await this.#command.stop();
  }

  /** Null once the tool has exited without an error. Throws its error otherwise. */
  async read(): Promise<Uint8Array | null> {
    const ahead = this.#ahead.shift();
    if (ahead !== undefined) return ahead;
    try {
      const next = await this.#iterator.next();
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
  async checkOpening(uuid: UUID, parent: UUID | null): Promise<void> {
    const opening = new Opening();
    const framing = new StreamFraming(opening);
    const looked: Uint8Array[] = [];
    while (opening.uuid === null) {
      const piece = await this.read();
      if (piece === null) throw new SnapferryError('SOURCE_FAILED', 'btrfs send gave no stream, and no error either');
      looked.push(piece);
      framing.take(piece);
    }
    this.#ahead.push(...looked);
    if (opening.uuid === uuid && opening.parent === parent) return;
    const text = `btrfs send made a stream of ${opening.uuid} from ${opening.parent ?? 'nothing'}, and not the one asked for`;
    throw new SnapferryError('VERSION_NOT_FOUND', `${text}: a snapshot was replaced just now; run again`);
  }

  /**
   * Leaves out the first bytes.
   * @throws SnapferryError `RESUME_TOKEN_INVALID` when they do not end with a command, or have another digest
   */
  async skip(offset: number, digest: string): Promise<void> {
    const framing = new StreamFraming({ visit: () => null });
    let skipped = 0;
    while (skipped < offset) {
      const piece = await this.read();
      if (piece === null) break;
      const part = piece.subarray(0, offset - skipped);
      framing.take(part);
      skipped += part.length;
      if (part.length < piece.length) this.#ahead.unshift(piece.subarray(part.length));
    }
    const { position } = framing;
    if (position?.offset === offset && position.digest.value() === digest) return;
    const text = 'the stream is no longer made as it was when its beginning was sent, so it cannot go on from there';
    throw new SnapferryError('RESUME_TOKEN_INVALID', `${text}; discard the partial receive and start the step anew`);
  }
}

/** Waits for the first command of a stream. */
class Opening {
  uuid: UUID | null = null;
  parent: UUID | null = null;

  visit(command: Command): null {
    if (this.uuid !== null) return null;
    const { name } = command.rule;
    if (name !== 'subvol' && name !== 'snapshot') throw violation(`it begins with ${name}`);
    this.uuid = formatUUID(command.uuid('uuid'));
    if (name === 'snapshot') this.parent = formatUUID(command.uuid('clone_uuid'));
    return null;
  }
}

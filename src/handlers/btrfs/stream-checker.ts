import type { Command } from './stream-command.ts';
import { encodeCommand, encodeOpening, encodeStreamHeader, isIntact, truncated, violation } from './stream-format.ts';
import { StreamFraming, type StreamPosition } from './stream-framing.ts';
import { StreamPaths } from './stream-paths.ts';
import { foldUUID, formatUUID, uuidBytes, type UUID } from './uuid.ts';

/** What a stream must be, and what is made of its first command. */
export interface StreamExpectation {
  /** guid of the snapshot that it makes. */
  readonly toGuid: bigint;
  /** The copy that it starts from; null: it must be a full stream. */
  readonly base: StreamBase | null;
  /** The name the subvolume gets, whatever the sender calls it. */
  readonly name: string;
}

/** A subvolume that a stream starts from. */
export interface StreamBase {
  /** The UUID by which the stream has to name it. */
  readonly origin: UUID;
  /** Its own: no other subvolume has it, while several may have been received from one origin. */
  readonly uuid: UUID;
  /** Absolute. */
  readonly path: string;
}

/** What is known of a snapshot from the first command of its stream. */
export interface StreamIdentity {
  /** As the copy's `received_uuid` will say. */
  readonly uuid: UUID;
  /** Generation of the original, u64 in decimal. */
  readonly ctransid: string;
}

/** An interrupted stream, to whose partial subvolume the rest is applied. */
export interface StreamContinuation {
  /** Of the partial subvolume; a snapshot of it is taken. */
  readonly uuid: UUID;
  /** Absolute. */
  readonly path: string;
  readonly identity: StreamIdentity;
  readonly position: StreamPosition;
}

const openingCommands = new Set(['write', 'encoded_write', 'truncate', 'fallocate', 'enable_verity']);
const noBytes = Buffer.alloc(0);

/**
 * Looks at every command of a send stream before `btrfs receive` gets it. Passed on are only streams that make one subvolume, the
 * expected one, from the expected base, and touch nothing outside it (docs/btrfs.md says what is checked). Two things are changed: the
 * subvolume's name, and UUIDs of bases, which become those of the very subvolumes that were looked at. The end command is held
 * back until {@link StreamChecker.finish}, so that a stream whose sender fails at the last moment never becomes whole.
 */
export class StreamChecker {
  readonly #expectation: StreamExpectation;
  readonly #framing: StreamFraming;
  /** Of the tree that is built. */
  readonly #paths: StreamPaths;
  /** Of the tree that contents may be cloned from, besides. */
  readonly #basePaths: StreamPaths | null;
  #identity: StreamIdentity | null;
  /** What goes in front of what is passed on next. */
  #preamble: Buffer = noBytes;
  #end: Buffer | null = null;

  constructor(expectation: StreamExpectation, continuation: StreamContinuation | null = null) {
    const { base } = expectation;
    this.#expectation = expectation;
    this.#paths = new StreamPaths(continuation?.path ?? base?.path ?? null);
    this.#basePaths = base === null ? null : new StreamPaths(base.path);
    this.#identity = continuation?.identity ?? null;
    this.#framing = new StreamFraming(
      { visit: (command, whole) => this.#visit(command, whole) },
      continuation?.position,
    );
    if (continuation !== null) this.#preamble = openingOf(expectation.name, continuation);
  }

  /** The snapshot that is made; null before the first command. */
  get identity(): StreamIdentity | null {
    return this.#identity;
  }

  /** Where the stream could go on later; null before the first command. */
  get position(): StreamPosition | null {
    return this.#framing.position;
  }

  /**
   * Takes the next piece, and gives what may be passed on.
   * @throws SnapferryError `PROTOCOL_VIOLATION`, `STREAM_FORMAT_MISMATCH`; then nothing more may be passed on
   */
  take(piece: Uint8Array): Uint8Array[] {
    const parts = this.#framing.take(piece);
    if (this.#preamble.length === 0) return parts;
    const preamble = this.#preamble;
    this.#preamble = noBytes;
    return [preamble, ...parts];
  }

  /**
   * To be called when the sender has declared the end: the end command, which makes the subvolume whole.
   * @throws SnapferryError `STREAM_TRUNCATED`
   */
  finish(): Uint8Array {
    if (this.#end === null) throw truncated(this.position?.offset ?? 0);
    return Buffer.concat([this.#preamble, this.#end]);
  }

  #visit(command: Command, whole: Buffer): Buffer | null {
    const { name } = command.rule;
    if (name === 'subvol' || name === 'snapshot') {
      if (this.#identity !== null) throw violation(`it makes a second subvolume (${name})`);
      return this.#visitOpening(command, whole);
    }
    if (this.#identity === null) throw violation(`it begins with ${name}, and makes no subvolume`);
    if (name === 'end') {
      this.#end = Buffer.from(whole);
      return noBytes;
    }
    if (name === 'clone') return this.#visitClone(command, whole, this.#identity);
    this.#checkPaths(command);
    return null;
  }

  #visitOpening(command: Command, whole: Buffer): Buffer {
    const { base, toGuid, name } = this.#expectation;
    const isSnapshot = command.rule.name === 'snapshot';
    if (isSnapshot && base === null) throw violation('it starts from a snapshot, and a full one was asked for');
    if (!isSnapshot && base !== null) throw violation('it is a full one, and an incremental one was asked for');
    if (!isIntact(whole)) throw violation('its first command is damaged');
    checkSenderName(command.path('path'));
    const uuid = formatUUID(command.uuid('uuid'));
    if (foldUUID(uuid) !== toGuid) throw violation(`it makes the snapshot ${uuid}, which is not the one asked for`);
    const ctransid = command.number('ctransid');
    this.#identity = { uuid, ctransid: String(ctransid.readBigUInt64LE()) };
    const made = { uuid: uuidBytes(uuid), ctransid };
    if (base === null) return encodeOpening(name, made, null);
    const origin = formatUUID(command.uuid('clone_uuid'));
    if (origin !== base.origin)
      throw violation(`it starts from the snapshot ${origin}, and ${base.origin} was asked for`);
    return encodeOpening(name, made, { uuid: uuidBytes(base.uuid), ctransid: command.number('clone_ctransid') });
  }

  #visitClone(command: Command, whole: Buffer, { uuid }: StreamIdentity): Buffer | null {
    const { base } = this.#expectation;
    this.#paths.checkOpened(command.path('path'));
    const source = formatUUID(command.uuid('clone_uuid'));
    const sourcePath = command.path('clone_path');
    if (source === uuid) {
      this.#paths.checkOpened(sourcePath);
      return null;
    }
    if (base === null || this.#basePaths === null || source !== base.origin) {
      throw violation(`it clones contents of ${source}, which is neither what it makes nor what it starts from`);
    }
    this.#basePaths.checkOpened(sourcePath);
    if (base.uuid === base.origin) return null;
    if (!isIntact(whole)) throw violation('a clone command is damaged');
    return encodeCommand(
      'clone',
      command.entries().map(([name, value]) => [name, name === 'clone_uuid' ? uuidBytes(base.uuid) : value]),
    );
  }

  #checkPaths(command: Command): void {
    const paths = this.#paths;
    const { name } = command.rule;
    const path = command.path('path');
    if (openingCommands.has(name)) paths.checkOpened(path);
    else if (name === 'mkfile') paths.makeFile(path);
    else if (name === 'mkdir') paths.makeFolder(path);
    else if (name === 'mknod' || name === 'mkfifo' || name === 'mksock') paths.makeSpecial(path);
    else if (name === 'symlink') paths.makeSymlink(path, command.path('path_link'));
    else if (name === 'rename') paths.rename(path, command.path('path_to'));
    else if (name === 'link') paths.link(command.path('path_link'), path);
    else if (name === 'unlink' || name === 'rmdir') paths.remove(path);
    else if (name === 'chmod' || name === 'fileattr') paths.checkFollowed(path);
    else paths.checkNamed(path);
  }
}

/** The sender's own name for it is not used, but one that is a path shows what the sender is up to. */
function checkSenderName(name: string): void {
  if (name === '' || name === '.' || name === '..' || name.includes('/') || name.includes('\0')) {
    throw violation(`its subvolume is called ${JSON.stringify(name.slice(0, 100))}, which is no name`);
  }
}

/** What stands in front of the rest of a stream: the same snapshot again, now starting from the partial one. */
function openingOf(name: string, { uuid, identity, position }: StreamContinuation): Buffer {
  const ctransid = Buffer.alloc(8);
  ctransid.writeBigUInt64LE(BigInt(identity.ctransid));
  const made = { uuid: uuidBytes(identity.uuid), ctransid };
  const opening = encodeOpening(name, made, { uuid: uuidBytes(uuid), ctransid: Buffer.alloc(8) });
  return Buffer.concat([encodeStreamHeader(position.version), opening]);
}

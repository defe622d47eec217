import { PrefixDigest } from './prefix-digest.ts';
import { readCommand, readCommandHead, type Command } from './stream-command.ts';
import { commandHeaderBytes, decodeStreamHeader, streamHeaderBytes, violation } from './stream-format.ts';

/** Told each command of a stream once it can be understood, contents yet to come. */
export interface CommandVisitor {
  /**
   * @param whole the command as it stands in the stream, but for contents; lent
   * @returns what takes its place in what is passed on, or null to let it be
   * @throws SnapferryError to refuse it
   */
  visit(command: Command, whole: Buffer): Buffer | null;
}

/** A place between two commands of a stream. */
export interface StreamPosition {
  readonly version: number;
  /** Bytes before it. */
  readonly offset: number;
  /** Over the commands before it. */
  readonly digest: PrefixDigest;
}

const noBytes = Buffer.alloc(0);

/**
 * Finds the commands in pieces of any size, without copying contents. After a method has thrown it is of no more use.
 */
export class StreamFraming {
  readonly #visitor: CommandVisitor;
  #version: number | null = null;
  #digest: PrefixDigest | null = null;
  /** Up to the end of the last whole command. */
  #offset = 0;
  /** What has come of the next command, when a piece ends in the middle of what is needed to understand it. */
  #begun: Buffer = noBytes;
  /** Of the command under way: its header, its length, and how much of its contents is still to come. */
  readonly #header = Buffer.alloc(commandHeaderBytes);
  #commandBytes = 0;
  #contentsLeft = 0;
  #isEnded = false;

  /** @param start where the bytes begin, when that is not the beginning */
  constructor(visitor: CommandVisitor, start: StreamPosition | null = null) {
    this.#visitor = visitor;
    if (start === null) return;
    this.#version = start.version;
    this.#offset = start.offset;
    this.#digest = start.digest;
  }

  /** The end of the last whole command; null before the first. The end command does not count: what follows it is nothing. */
  get position(): StreamPosition | null {
    if (this.#version === null || this.#digest === null) return null;
    return { version: this.#version, offset: this.#offset, digest: this.#digest };
  }

  /** Whether the end command has come. */
  get isEnded(): boolean {
    return this.#isEnded;
  }

  /**
   * Takes the next piece, and gives what may be passed on of it: parts of the piece, and a few bytes of its own.
   * @throws SnapferryError `PROTOCOL_VIOLATION`, `STREAM_FORMAT_MISMATCH`, or what the visitor throws; then nothing of this piece may be
   *   passed on
   */
  take(piece: Uint8Array): Uint8Array[] {
    const bytes = Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength);
    const out: Uint8Array[] = [];
    let passedTo = 0;
    let at = 0;
    const replace = (from: number, to: number, replacement: Uint8Array): void => {
      if (from > passedTo) out.push(bytes.subarray(passedTo, from));
      if (replacement.length > 0) out.push(replacement);
      passedTo = to;
    };
    while (at < bytes.length) {
      const from = at;
      if (this.#contentsLeft > 0) {
        at += this.#skipContents(bytes.length - at);
      } else if (this.#begun.length > 0) {
        at = this.#takeBegun(bytes, at);
        replace(from, at, this.#releaseBegun());
      } else {
        const read = this.#read(bytes, at);
        at = 'needed' in read ? bytes.length : at + read.bytes;
        if ('needed' in read) this.#begun = Buffer.from(bytes.subarray(from));
        if ('needed' in read) replace(from, at, noBytes);
        else if (read.replacement !== null) replace(from, at, read.replacement);
      }
    }
    replace(bytes.length, bytes.length, noBytes);
    return out;
  }

  /** Adds to what has begun, as much as is needed; never much, for contents are not needed. Where the piece goes on. */
  #takeBegun(bytes: Buffer, at: number): number {
    const needed = this.#neededBytes(this.#begun);
    const end = Math.min(bytes.length, at + needed - this.#begun.length);
    this.#begun = Buffer.concat([this.#begun, bytes.subarray(at, end)]);
    return end;
  }

  #releaseBegun(): Uint8Array {
    const begun = this.#begun;
    if (begun.length < this.#neededBytes(begun)) return noBytes;
    this.#begun = noBytes;
    const read = this.#read(begun, 0);
    if ('needed' in read) throw new RangeError('a command that is at hand was not read');
    return read.replacement ?? begun;
  }

  /** How many bytes it takes to understand what begins so. More may be known to be needed once these are there. */
  #neededBytes(begun: Buffer): number {
    if (this.#version === null) return streamHeaderBytes;
    if (begun.length < commandHeaderBytes) return commandHeaderBytes;
    return readCommandHead(begun, 0, this.#version).neededBytes;
  }

  #read(bytes: Buffer, at: number): { readonly bytes: number; readonly replacement: Buffer | null } | { needed: true } {
    if (this.#isEnded) throw violation('there are bytes behind its end');
    const available = bytes.length - at;
    if (this.#version === null) {
      if (available < streamHeaderBytes) return { needed: true };
      this.#version = decodeStreamHeader(bytes.subarray(at, at + streamHeaderBytes));
      this.#digest = new PrefixDigest(this.#version);
      this.#offset = streamHeaderBytes;
      return { bytes: streamHeaderBytes, replacement: null };
    }
    if (available < commandHeaderBytes) return { needed: true };
    const head = readCommandHead(bytes, at, this.#version);
    if (available < head.neededBytes) return { needed: true };
    const command = readCommand(bytes, at, head, this.#version);
    const replacement = this.#visitor.visit(command, bytes.subarray(at, at + head.neededBytes));
    if (head.rule.name === 'end') this.#isEnded = true;
    else this.#beginContents(bytes, at, head);
    return { bytes: head.neededBytes, replacement };
  }

  #beginContents(bytes: Buffer, at: number, head: { readonly totalBytes: number; readonly neededBytes: number }): void {
    bytes.copy(this.#header, 0, at, at + commandHeaderBytes);
    this.#commandBytes = head.totalBytes;
    this.#contentsLeft = head.totalBytes - head.neededBytes;
    if (this.#contentsLeft === 0) this.#endCommand();
  }

  #skipContents(available: number): number {
    const count = Math.min(this.#contentsLeft, available);
    this.#contentsLeft -= count;
    if (this.#contentsLeft === 0) this.#endCommand();
    return count;
  }

  #endCommand(): void {
    this.#digest?.add(this.#header, 0);
    this.#offset += this.#commandBytes;
  }
}

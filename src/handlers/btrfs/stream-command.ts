import {
  attributeNumbers,
  commandHeaderBytes,
  commandRules,
  violation,
  type AttributeName,
  type CommandRule,
} from './stream-format.ts';

/** A path is at most this long in Linux, with the zero behind it. */
export const pathBytesMax = 4096;

/** Longest command in version 1: what its sender's buffer holds. Later versions have larger contents. */
const commandBytesMax = { 1: 64 * 1024, later: 256 * 1024 } as const;

/** How much of a command with contents is in front of them, at most: a path and a few numbers. */
const dataHeadBytesMax = pathBytesMax + 256;

const attributeNames = new Map(
  Object.entries(attributeNumbers).map(([name, number]) => [number as number, name as AttributeName]),
);

/** The header of a command, understood. */
export interface CommandHead {
  readonly rule: CommandRule;
  /** With the header. */
  readonly totalBytes: number;
  /** How much must be at hand to read its attributes: all of it, or what is in front of contents. */
  readonly neededBytes: number;
}

/**
 * Reads a header.
 * @param at where it begins in `bytes`, which has all of it
 * @throws SnapferryError `PROTOCOL_VIOLATION` for an unknown command, one of a later version, or one too long
 */
export function readCommandHead(bytes: Buffer, at: number, version: number): CommandHead {
  const bodyBytes = bytes.readUInt32LE(at);
  const number = bytes.readUInt16LE(at + 4);
  const rule = commandRules.get(number);
  if (rule === undefined || rule.since > version) {
    throw violation(`command ${number} has no place in a stream of version ${version}`);
  }
  const bodyBytesMax = version === 1 || !rule.hasData ? commandBytesMax[1] : commandBytesMax.later;
  if (bodyBytes > bodyBytesMax) throw violation(`a ${rule.name} command of ${bodyBytes} bytes is too long`);
  const totalBytes = commandHeaderBytes + bodyBytes;
  const neededBytes = rule.hasData ? Math.min(totalBytes, commandHeaderBytes + dataHeadBytesMax) : totalBytes;
  return { rule, totalBytes, neededBytes };
}

/** What a command says. Values are only lent: parts of the buffer it was read from. */
export class Command {
  readonly rule: CommandRule;
  readonly #attributes: ReadonlyMap<AttributeName, Buffer>;

  constructor(rule: CommandRule, attributes: ReadonlyMap<AttributeName, Buffer>) {
    this.rule = rule;
    this.#attributes = attributes;
  }

  /** A required attribute. */
  bytes(name: AttributeName): Buffer {
    const value = this.#attributes.get(name);
    if (value === undefined) throw new RangeError(`${this.rule.name} has no ${name}`);
    return value;
  }

  /** All attributes, in the order in which they came. */
  entries(): [AttributeName, Buffer][] {
    return [...this.#attributes];
  }

  /** A path as one character a byte, so that names in no encoding stay what they are. */
  path(name: 'path' | 'path_to' | 'path_link' | 'clone_path'): string {
    return this.bytes(name).toString('latin1');
  }

  /** Eight bytes. @throws SnapferryError `PROTOCOL_VIOLATION` when it is not as many */
  number(name: 'ctransid' | 'clone_ctransid'): Buffer {
    const value = this.bytes(name);
    if (value.length !== 8) throw violation(`the ${name} in ${this.rule.name} has ${value.length} bytes`);
    return value;
  }

  /** @throws SnapferryError `PROTOCOL_VIOLATION` when it is not 16 bytes */
  uuid(name: 'uuid' | 'clone_uuid'): Buffer {
    const value = this.bytes(name);
    if (value.length !== 16) throw violation(`the ${name} in ${this.rule.name} has ${value.length} bytes`);
    return value;
  }
}

/**
 * Reads the attributes of a command, except for contents.
 * @param at where its header begins in `bytes`, which has `head.neededBytes` from there on
 * @throws SnapferryError `PROTOCOL_VIOLATION` for attributes that are unknown, missing, there twice, cut off, or behind contents
 */
export function readCommand(bytes: Buffer, at: number, head: CommandHead, version: number): Command {
  const { rule, totalBytes, neededBytes } = head;
  const { name } = rule;
  const attributes = new Map<AttributeName, Buffer>();
  const end = at + totalBytes;
  let position = at + commandHeaderBytes;
  while (position < end) {
    const left = at + neededBytes - position;
    if (left < 2) throw violation(`${name} is cut off, or its contents come too late`);
    const attribute = attributeNames.get(bytes.readUInt16LE(position));
    if (attribute === undefined || !(rule.required.includes(attribute) || rule.optional.includes(attribute))) {
      throw violation(`${name} has the attribute ${bytes.readUInt16LE(position)}, which it cannot have`);
    }
    if (attributes.has(attribute)) throw violation(`${name} has its ${attribute} twice`);
    if (attribute === 'data') {
      // From version 2 on contents have no length of their own: they are the rest.
      const dataAt = position + (version === 1 ? 4 : 2);
      const isRest = version !== 1 || (left >= 4 && dataAt + bytes.readUInt16LE(position + 2) === end);
      if (!isRest) throw violation(`${name} has something behind its contents`);
      attributes.set('data', Buffer.alloc(0));
      position = end;
      break;
    }
    if (left < 4) throw violation(`${name} is cut off, or its contents come too late`);
    const length = bytes.readUInt16LE(position + 2);
    if (left < 4 + length) throw violation(`the ${attribute} in ${name} is longer than what is there`);
    attributes.set(attribute, bytes.subarray(position + 4, position + 4 + length));
    position += 4 + length;
  }
  const missing = rule.required.find((attribute) => !attributes.has(attribute));
  if (missing !== undefined) throw violation(`${name} has no ${missing}`);
  return new Command(rule, attributes);
}

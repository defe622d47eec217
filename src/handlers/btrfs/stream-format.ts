import { SnapferryError } from '../../errors.ts';

/** What `StreamFormat` says of btrfs send streams. */
export const btrfsStreamFormat = 'btrfs';

/** What every stream begins with, followed by a u32 with its version. */
export const streamMagic = Buffer.from('btrfs-stream\0');
/** Magic and version. */
export const streamHeaderBytes = 17;
/** Versions of the format that are understood. */
export const streamVersionMax = 3;

/** Length of what follows as u32, number of the command as u16, CRC-32C of both and of the checksum taken as 0. */
export const commandHeaderBytes = 10;

/** Commands by their numbers in the stream. */
export const commandNumbers = {
  subvol: 1,
  snapshot: 2,
  mkfile: 3,
  mkdir: 4,
  mknod: 5,
  mkfifo: 6,
  mksock: 7,
  symlink: 8,
  rename: 9,
  link: 10,
  unlink: 11,
  rmdir: 12,
  set_xattr: 13,
  remove_xattr: 14,
  write: 15,
  clone: 16,
  truncate: 17,
  chmod: 18,
  chown: 19,
  utimes: 20,
  end: 21,
  update_extent: 22,
  fallocate: 23,
  fileattr: 24,
  encoded_write: 25,
  enable_verity: 26,
} as const;

export type CommandName = keyof typeof commandNumbers;

/** Attributes of commands by their numbers in the stream. */
export const attributeNumbers = {
  uuid: 1,
  ctransid: 2,
  ino: 3,
  size: 4,
  mode: 5,
  uid: 6,
  gid: 7,
  rdev: 8,
  ctime: 9,
  mtime: 10,
  atime: 11,
  otime: 12,
  xattr_name: 13,
  xattr_data: 14,
  path: 15,
  path_to: 16,
  path_link: 17,
  file_offset: 18,
  data: 19,
  clone_uuid: 20,
  clone_ctransid: 21,
  clone_path: 22,
  clone_offset: 23,
  clone_len: 24,
  fallocate_mode: 25,
  fileattr: 26,
  unencoded_file_len: 27,
  unencoded_len: 28,
  unencoded_offset: 29,
  compression: 30,
  encryption: 31,
  verity_algorithm: 32,
  verity_block_size: 33,
  verity_salt_data: 34,
  verity_sig_data: 35,
} as const;

export type AttributeName = keyof typeof attributeNumbers;

/** What a command may say. */
export interface CommandRule {
  readonly name: CommandName;
  /** Version of the format that introduced it. */
  readonly since: 1 | 2 | 3;
  readonly required: readonly AttributeName[];
  readonly optional: readonly AttributeName[];
  /** Whether it ends with file contents, which are passed on without being looked at. */
  readonly hasData: boolean;
}

function rule(
  name: CommandName,
  required: readonly AttributeName[],
  more: Partial<Omit<CommandRule, 'name' | 'required'>> = {},
): readonly [number, CommandRule] {
  return [commandNumbers[name], { name, since: 1, required, optional: [], hasData: false, ...more }];
}

/** The rules of all commands by number; what is not here is refused, as `update_extent`, which stands for contents left out. */
export const commandRules: ReadonlyMap<number, CommandRule> = new Map([
  rule('subvol', ['path', 'uuid', 'ctransid']),
  rule('snapshot', ['path', 'uuid', 'ctransid', 'clone_uuid', 'clone_ctransid']),
  rule('mkfile', ['path'], { optional: ['ino'] }),
  rule('mkdir', ['path'], { optional: ['ino'] }),
  rule('mknod', ['path', 'mode', 'rdev'], { optional: ['ino'] }),
  rule('mkfifo', ['path'], { optional: ['ino', 'mode', 'rdev'] }),
  rule('mksock', ['path'], { optional: ['ino', 'mode', 'rdev'] }),
  rule('symlink', ['path', 'path_link'], { optional: ['ino'] }),
  rule('rename', ['path', 'path_to']),
  rule('link', ['path', 'path_link']),
  rule('unlink', ['path']),
  rule('rmdir', ['path']),
  rule('set_xattr', ['path', 'xattr_name', 'xattr_data']),
  rule('remove_xattr', ['path', 'xattr_name']),
  rule('write', ['path', 'file_offset', 'data'], { hasData: true }),
  rule('clone', ['path', 'file_offset', 'clone_len', 'clone_uuid', 'clone_ctransid', 'clone_path', 'clone_offset']),
  rule('truncate', ['path', 'size']),
  rule('chmod', ['path', 'mode']),
  rule('chown', ['path', 'uid', 'gid']),
  rule('utimes', ['path', 'atime', 'mtime', 'ctime'], { optional: ['otime'] }),
  rule('end', []),
  rule('fallocate', ['path', 'fallocate_mode', 'file_offset', 'size'], { since: 2 }),
  rule('fileattr', ['path', 'fileattr'], { since: 2 }),
  rule('encoded_write', ['path', 'file_offset', 'unencoded_file_len', 'unencoded_len', 'unencoded_offset', 'data'], {
    since: 2,
    optional: ['compression', 'encryption'],
    hasData: true,
  }),
  rule('enable_verity', ['path', 'verity_algorithm', 'verity_block_size'], {
    since: 3,
    optional: ['verity_salt_data', 'verity_sig_data'],
  }),
]);

const crcTable = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value;
});

/** CRC-32C as send streams have it: begun with 0, and not inverted. Slow: for commands without contents. */
export function streamCRC(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) crc = (crcTable[(crc ^ byte) & 0xff] ?? 0) ^ (crc >>> 8);
  return crc >>> 0;
}

/** One command, with its checksum. Attributes in the order given. */
export function encodeCommand(
  name: CommandName,
  attributes: readonly (readonly [AttributeName, Uint8Array])[],
): Buffer {
  const parts = attributes.flatMap(([attribute, value]) => {
    const head = Buffer.alloc(4);
    head.writeUInt16LE(attributeNumbers[attribute], 0);
    head.writeUInt16LE(value.length, 2);
    return [head, value];
  });
  const command = Buffer.concat([Buffer.alloc(commandHeaderBytes), ...parts]);
  command.writeUInt32LE(command.length - commandHeaderBytes, 0);
  command.writeUInt16LE(commandNumbers[name], 4);
  command.writeUInt32LE(streamCRC(command), 6);
  return command;
}

/** Whether a whole command has the checksum that it says. */
export function isIntact(command: Uint8Array): boolean {
  const bytes = Buffer.from(command);
  const stated = bytes.readUInt32LE(6);
  bytes.writeUInt32LE(0, 6);
  return streamCRC(bytes) === stated;
}

/** Magic and version. */
export function encodeStreamHeader(version: number): Buffer {
  const header = Buffer.alloc(streamHeaderBytes);
  streamMagic.copy(header);
  header.writeUInt32LE(version, streamMagic.length);
  return header;
}

/**
 * The version a stream says it has.
 * @param header {@link streamHeaderBytes} bytes, or more
 * @throws SnapferryError `STREAM_FORMAT_MISMATCH`
 */
export function decodeStreamHeader(header: Uint8Array): number {
  const bytes = Buffer.from(header.buffer, header.byteOffset, header.byteLength);
  if (!bytes.subarray(0, streamMagic.length).equals(streamMagic)) {
    throw new SnapferryError('STREAM_FORMAT_MISMATCH', 'the bytes are no btrfs send stream: they begin otherwise');
  }
  const version = bytes.readUInt32LE(streamMagic.length);
  if (version >= 1 && version <= streamVersionMax) return version;
  throw new SnapferryError(
    'STREAM_FORMAT_MISMATCH',
    `the btrfs send stream has version ${version}, and 1 to ${streamVersionMax} are known here; upgrade this side`,
  );
}

/** The first command: a subvolume from nothing, or from another. */
export function encodeOpening(
  name: string,
  { uuid, ctransid }: { readonly uuid: Uint8Array; readonly ctransid: Uint8Array },
  base: { readonly uuid: Uint8Array; readonly ctransid: Uint8Array } | null,
): Buffer {
  const made = [
    ['path', Buffer.from(name)],
    ['uuid', uuid],
    ['ctransid', ctransid],
  ] as const;
  if (base === null) return encodeCommand('subvol', made);
  return encodeCommand('snapshot', [...made, ['clone_uuid', base.uuid], ['clone_ctransid', base.ctransid]]);
}

/** The error for a stream that no honest sender makes, or a damaged one. */
export function violation(what: string): SnapferryError {
  return new SnapferryError('PROTOCOL_VIOLATION', `the btrfs stream is refused: ${what}`);
}

/** The error for a stream that ends before it is whole. */
export function truncated(bytes: number): SnapferryError {
  return new SnapferryError('STREAM_TRUNCATED', `the btrfs stream ends after ${bytes} bytes without its end command`);
}

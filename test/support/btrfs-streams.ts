import {
  encodeCommand,
  encodeOpening,
  encodeStreamHeader,
  type AttributeName,
  type CommandName,
} from '../../src/handlers/btrfs/stream-format.ts';
import { foldUUID, uuidBytes } from '../../src/handlers/btrfs/uuid.ts';

/** UUIDs of crafted streams. */
export const crafted = {
  to: '11111111-2222-4333-8444-555555555555',
  from: 'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee',
  /** Of the copy of `from`. */
  copy: '99999999-8888-4777-8666-555555555555',
  elsewhere: '77777777-7777-4777-8777-777777777777',
} as const;

export const craftedGuid = foldUUID(crafted.to);

type Attributes = Partial<Record<AttributeName, string | Uint8Array | bigint>>;

/** One command; texts are bytes one to one, numbers are u64. */
export function command(name: CommandName, attributes: Attributes = {}): Buffer {
  return encodeCommand(
    name,
    Object.entries(attributes).map(([attribute, value]) => [attribute as AttributeName, bytesOf(value)]),
  );
}

function bytesOf(value: string | Uint8Array | bigint): Uint8Array {
  if (typeof value === 'string') return Buffer.from(value, 'latin1');
  if (typeof value !== 'bigint') return value;
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}

/** The first command, as a sender writes it. */
export function opening(name = 'home@one', from: string | null = null): Buffer {
  const base = from === null ? null : { uuid: uuidBytes(from), ctransid: Buffer.alloc(8) };
  return encodeOpening(name, { uuid: uuidBytes(crafted.to), ctransid: Buffer.alloc(8, 7) }, base);
}

/** A whole stream with these commands. */
export function stream(commands: readonly Buffer[], { version = 1, from = null as string | null } = {}): Buffer {
  return Buffer.concat([encodeStreamHeader(version), opening('home@one', from), ...commands, command('end')]);
}

export const write = (path: string, data = 'data'): Buffer => command('write', { path, file_offset: 0n, data });
export const clone = (path: string, clone_path: string, uuid: string): Buffer =>
  command('clone', {
    file_offset: 0n,
    clone_len: 4096n,
    path,
    clone_uuid: uuidBytes(uuid),
    clone_ctransid: 0n,
    clone_path,
    clone_offset: 0n,
  });
export const symlink = (path: string, target = '/etc'): Buffer =>
  command('symlink', { path, ino: 7n, path_link: target });
export const rename = (path: string, path_to: string): Buffer => command('rename', { path, path_to });
export const link = (path: string, path_link: string): Buffer => command('link', { path, path_link });
export const make = (name: 'mkfile' | 'mkdir' | 'mkfifo', path: string): Buffer => command(name, { path, ino: 7n });
export const remove = (name: 'unlink' | 'rmdir', path: string): Buffer => command(name, { path });

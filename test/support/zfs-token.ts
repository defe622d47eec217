import { deflateSync } from 'node:zlib';

/** One entry of a packed nvlist. */
function pair(name: string, type: number, elements: number, value: Buffer): Buffer {
  const nameBytes = Buffer.byteLength(name) + 1;
  const valueAt = 16 + Math.ceil(nameBytes / 8) * 8;
  const bytes = Buffer.alloc(valueAt + Math.ceil(value.length / 8) * 8);
  bytes.writeInt32LE(bytes.length, 0);
  bytes.writeInt16LE(nameBytes, 4);
  bytes.writeInt32LE(elements, 8);
  bytes.writeInt32LE(type, 12);
  bytes.write(name, 16);
  value.copy(bytes, valueAt);
  return bytes;
}

/** A number in a token. */
export function u64(name: string, value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return pair(name, 8, 1, bytes);
}

/** A string in a token. */
export function text(name: string, value: string): Buffer {
  return pair(name, 9, 1, Buffer.from(`${value}\0`));
}

/** A flag in a token. */
export function flag(name: string): Buffer {
  return pair(name, 1, 0, Buffer.alloc(0));
}

/** An nvlist as a token has it. */
export function pack(pairs: readonly Buffer[]): Buffer {
  const header = Buffer.from([0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
  return Buffer.concat([header, ...pairs, Buffer.alloc(4)]);
}

/** A token with this content under a right checksum. */
export function packedToken(packed: Buffer, compressed: Buffer = deflateSync(packed)): string {
  let sum = 0;
  for (let position = 0; position + 4 <= compressed.length; position += 4) sum += compressed.readUInt32LE(position);
  return `1-${sum.toString(16)}-${packed.length.toString(16)}-${compressed.toString('hex')}`;
}

/** A token as ZFS would make it. */
export function tokenOf(content: {
  readonly toName: string;
  readonly toGuid: bigint;
  readonly fromGuid?: bigint;
  readonly object?: bigint;
  readonly offset?: bigint;
  readonly bytes?: bigint;
  readonly flags?: readonly ('rawok' | 'compressok' | 'largeblockok' | 'embedok')[];
}): string {
  const { toName, toGuid, fromGuid, object = 2n, offset = 0n, bytes = 0n, flags = [] } = content;
  return packedToken(
    pack([
      ...(fromGuid === undefined ? [] : [u64('fromguid', fromGuid)]),
      u64('object', object),
      u64('offset', offset),
      u64('bytes', bytes),
      u64('toguid', toGuid),
      text('toname', toName),
      ...flags.map(flag),
    ]),
  );
}

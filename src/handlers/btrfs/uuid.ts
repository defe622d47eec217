/** A UUID as btrfs prints it: lower case, with hyphens. */
export type UUID = string;

const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Whether a text is a {@link UUID}. */
export function isUUID(text: string): text is UUID {
  return uuidPattern.test(text);
}

/** Sixteen bytes as a {@link UUID}. */
export function formatUUID(bytes: Uint8Array): UUID {
  const hex = Buffer.from(bytes).toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join('-');
}

/** The sixteen bytes of a {@link UUID}. */
export function uuidBytes(uuid: UUID): Buffer {
  return Buffer.from(uuid.replaceAll('-', ''), 'hex');
}

/**
 * The guid of a snapshot with this UUID (docs/btrfs.md): its first eight bytes xor its last eight, both as big-endian numbers.
 * Never 0, which identifies nothing on the wire.
 */
export function foldUUID(uuid: UUID): bigint {
  const bytes = uuidBytes(uuid);
  const folded = bytes.readBigUInt64BE(0) ^ bytes.readBigUInt64BE(8);
  return folded === 0n ? 1n : folded;
}

/** What a name in a token stands for; null for a type that no token needs. */
export type PairValue = bigint | string | true | null;

const nativeEncoding = 0;
const littleEndian = 1;
const headerBytes = 4 + 8;
const pairHeaderBytes = 16;
const pairsMax = 64;
const typeBoolean = 1;
const typeUint64 = 8;
const typeString = 9;

/**
 * Reads a packed nvlist in the encoding that resume tokens have: native, little-endian. That is what ZFS itself takes on every
 * machine Node runs on but s390x. Pure; bounded by the length given and by 64 pairs.
 * @returns null for anything damaged, nested, doubled or of another encoding
 */
export function decodePairs(packed: Buffer): Map<string, PairValue> | null {
  if (packed.length < headerBytes || packed[0] !== nativeEncoding || packed[1] !== littleEndian) return null;
  const pairs = new Map<string, PairValue>();
  let position = headerBytes;
  for (;;) {
    if (position + 4 > packed.length) return null;
    const size = packed.readInt32LE(position);
    if (size === 0) return position + 4 === packed.length ? pairs : null;
    if (size < pairHeaderBytes || size % 8 !== 0 || position + size > packed.length || pairs.size === pairsMax)
      return null;
    const pair = decodePair(packed.subarray(position, position + size));
    if (pair === null || pairs.has(pair.name)) return null;
    pairs.set(pair.name, pair.value);
    position += size;
  }
}

function decodePair(pair: Buffer): { name: string; value: PairValue } | null {
  const nameBytes = pair.readInt16LE(4);
  const elements = pair.readInt32LE(8);
  const type = pair.readInt32LE(12);
  const valueAt = pairHeaderBytes + Math.ceil(nameBytes / 8) * 8;
  if (nameBytes < 2 || valueAt > pair.length) return null;
  const name = terminated(pair.subarray(pairHeaderBytes, pairHeaderBytes + nameBytes));
  if (name?.length !== nameBytes - 1) return null;
  if (type === typeBoolean) return valueAt === pair.length && elements === 0 ? { name, value: true } : null;
  if (type === typeUint64) {
    const isSound = elements === 1 && pair.length === valueAt + 8;
    return isSound ? { name, value: pair.readBigUInt64LE(valueAt) } : null;
  }
  if (type === typeString) {
    const value = elements === 1 ? terminated(pair.subarray(valueAt)) : null;
    return value === null ? null : { name, value };
  }
  return { name, value: null };
}

/** ASCII up to the first zero byte; null without one, or with anything else than zeros behind it. */
function terminated(bytes: Buffer): string | null {
  const end = bytes.indexOf(0);
  if (end === -1 || bytes.subarray(end).some((byte) => byte !== 0)) return null;
  const text = bytes.subarray(0, end);
  return text.some((byte) => byte > 0x7e) ? null : text.toString('latin1');
}

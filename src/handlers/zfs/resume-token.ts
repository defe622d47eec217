import { inflateSync } from 'node:zlib';
import { SnapferryError } from '../../errors.ts';
import { checkDatasetName, splitVersionName, versionName } from './names.ts';
import { decodePairs } from './resume-token-pairs.ts';

/** What a receive that was interrupted wants to go on with, as `zfs send -t` would read it. */
export interface ZfsResumeToken {
  /** Dataset of the snapshot, by the name it had at the source when the stream was made. */
  readonly dataset: string;
  /** Name of the snapshot after the `@`, at that time. */
  readonly snapshot: string;
  readonly toGuid: bigint;
  /** Null for a full stream. */
  readonly fromGuid: bigint | null;
  /** Payload bytes that have arrived. */
  readonly bytes: bigint;
  readonly isRaw: boolean;
  readonly isCompressed: boolean;
  readonly hasLargeBlocks: boolean;
  readonly hasEmbedded: boolean;
}

const tokenCharactersMax = 16 * 1024;
const packedBytesMax = 64 * 1024;
const tokenPattern = /^1-([0-9a-f]{1,16})-([0-9a-f]{1,8})-((?:[0-9a-f]{2})+)$/;

/**
 * Reads a token of `zfs receive -s`. It comes from a peer: its checksum is verified, nothing is inflated beyond a bound, and what
 * it names must be a valid name.
 * @throws SnapferryError `RESUME_TOKEN_INVALID`
 */
export function decodeResumeToken(token: string): ZfsResumeToken {
  const match = token.length <= tokenCharactersMax ? tokenPattern.exec(token) : null;
  if (match === null) throw invalid('it has not the form of one');
  const [, checksum = '', packedBytes = '', hexadecimal = ''] = match;
  const compressed = Buffer.from(hexadecimal, 'hex');
  if (sumOfWords(compressed) !== BigInt(`0x${checksum}`)) throw invalid('its checksum is wrong');
  const packed = inflate(compressed);
  if (packed.length !== Number.parseInt(packedBytes, 16)) throw invalid('its length is wrong');
  const pairs = decodePairs(packed);
  if (pairs === null) throw invalid('its list of names and values is damaged');
  return fromPairs(pairs);
}

function fromPairs(pairs: ReadonlyMap<string, bigint | string | true | null>): ZfsResumeToken {
  const u64 = (name: string): bigint | null => {
    const value = pairs.get(name);
    if (value === undefined) return null;
    if (typeof value !== 'bigint') throw invalid(`its "${name}" is no number`);
    return value;
  };
  const toName = pairs.get('toname');
  const target = typeof toName === 'string' ? splitVersionName(toName) : null;
  if (target?.type !== 'snapshot') throw invalid('it names no snapshot');
  try {
    checkDatasetName(target.dataset);
    versionName(target.dataset, target);
  } catch (error) {
    throw invalid('what it names cannot be a snapshot', error);
  }
  const toGuid = u64('toguid');
  if (toGuid === null) throw invalid('it has no guid');
  const fromGuid = u64('fromguid');
  return {
    dataset: target.dataset,
    snapshot: target.name,
    toGuid,
    fromGuid: fromGuid === 0n ? null : fromGuid,
    bytes: u64('bytes') ?? 0n,
    isRaw: pairs.has('rawok'),
    isCompressed: pairs.has('compressok'),
    hasLargeBlocks: pairs.has('largeblockok'),
    hasEmbedded: pairs.has('embedok'),
  };
}

/** The first word of fletcher-4, which is all that a token has of it: 32-bit words added up. A last, partial word does not count. */
function sumOfWords(bytes: Buffer): bigint {
  let sum = 0;
  for (let position = 0; position + 4 <= bytes.length; position += 4) sum += bytes.readUInt32LE(position);
  return BigInt(sum);
}

function inflate(compressed: Buffer): Buffer {
  try {
    return inflateSync(compressed, { maxOutputLength: packedBytesMax });
  } catch (error) {
    throw invalid('it cannot be inflated', error);
  }
}

function invalid(why: string, cause?: unknown): SnapferryError {
  return new SnapferryError(
    'RESUME_TOKEN_INVALID',
    `the resume token is not one of "zfs receive": ${why}; discard the partial receive ("zfs receive -A") and start the step anew`,
    { cause },
  );
}

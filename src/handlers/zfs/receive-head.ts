import { SnapferryError } from '../../errors.ts';

/** Bytes of one record of a send stream, without its payload. */
export const recordBytes = 312;

/** The beginning of a send stream, as it says itself. `zfs recv` believes it, so it is compared with what was asked for. */
export interface BeginRecord {
  /** Whether other streams follow inside, as `zfs send -p`, `-I` and `-R` make it. Then the other fields say nothing. */
  readonly isPackage: boolean;
  /** Bytes that belong to it, after it. */
  readonly payloadBytes: number;
  readonly kind: 'filesystem' | 'volume' | 'other';
  readonly isRaw: boolean;
  /** Whether it goes on where an interrupted receive ended. */
  readonly isResuming: boolean;
  readonly toGuid: bigint;
  /** Null for a full stream. */
  readonly fromGuid: bigint | null;
}

const beginType = 0;
const endType = 5;
const magic = 0x2f5bacbacn;
const magicSwapped = 0xaccbbaf502000000n;

const packageHeaderType = 2n;
const featuresShift = 2n;
const featureResuming = 1n << 20n;
const featureRaw = 1n << 24n;

const objsetKinds: Readonly<Record<number, BeginRecord['kind']>> = { 2: 'filesystem', 3: 'volume' };

/**
 * Reads the record a stream, or one of the streams in a package, begins with. A sender of the other byte order is understood.
 * @param record {@link recordBytes} bytes
 * @throws SnapferryError `STREAM_FORMAT_MISMATCH` if it is no such record
 */
export function parseBeginRecord(record: Uint8Array): BeginRecord {
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  const found = view.getBigUint64(8, true);
  if (found !== magic && found !== magicSwapped) throw noStream(record);
  const isLittle = found === magic;
  if (view.getUint32(0, isLittle) !== beginType) throw noStream(record);
  const version = view.getBigUint64(16, isLittle);
  const features = version >> featuresShift;
  const fromGuid = view.getBigUint64(48, isLittle);
  return {
    isPackage: (version & 3n) === packageHeaderType,
    payloadBytes: view.getUint32(4, isLittle),
    kind: objsetKinds[view.getUint32(32, isLittle)] ?? 'other',
    isRaw: (features & featureRaw) !== 0n,
    isResuming: (features & featureResuming) !== 0n,
    toGuid: view.getBigUint64(40, isLittle),
    fromGuid: fromGuid === 0n ? null : fromGuid,
  };
}

/** Whether this is the record a stream ends with, in either byte order. */
export function isEndRecord(record: Uint8Array): boolean {
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  return view.getUint32(0, true) === endType || view.getUint32(0, false) === endType;
}

/** What came instead is often a text that says why: a banner, or the message of a program. */
function noStream(record: Uint8Array): SnapferryError {
  const text = Buffer.from(record)
    .toString('latin1')
    .replace(/[^\u0020-\u007e]+/g, ' ')
    .trim();
  return new SnapferryError(
    'STREAM_FORMAT_MISMATCH',
    `the sender's bytes are no ZFS stream: they begin with ${JSON.stringify(text.slice(0, 100))}`,
  );
}

import { SnapferryError } from '../../errors.ts';

/** What a receiver has of an interrupted stream. */
export interface BtrfsResumeToken {
  /** guid of the version the stream leads to. */
  readonly to: bigint;
  /** guid of the version it starts from; null for a full stream. */
  readonly from: bigint | null;
  /** So many bytes of the stream, up to the end of a command, have been carried out. */
  readonly offset: number;
  /** `PrefixDigest` over these commands, in hex. */
  readonly digest: string;
}

const tokenCharactersMax = 1024;

/** A token as it travels. */
export function encodeResumeToken({ to, from, offset, digest }: BtrfsResumeToken): string {
  const fields = { btrfs: 1, to: String(to), from: from === null ? null : String(from), offset, digest };
  return Buffer.from(JSON.stringify(fields)).toString('base64url');
}

/**
 * The inverse of {@link encodeResumeToken}.
 * @throws SnapferryError `RESUME_TOKEN_INVALID` for anything else
 */
export function decodeResumeToken(text: string): BtrfsResumeToken {
  const token = text.length <= tokenCharactersMax && /^[\w-]+$/.test(text) ? decoded(text) : null;
  if (token !== null) return token;
  throw new SnapferryError(
    'RESUME_TOKEN_INVALID',
    'the resume token is not one of a btrfs stream; discard the partial receive and start the step anew',
  );
}

function decoded(text: string): BtrfsResumeToken | null {
  let fields: unknown;
  try {
    fields = JSON.parse(Buffer.from(text, 'base64url').toString());
  } catch {
    return null;
  }
  if (typeof fields !== 'object' || fields === null) return null;
  const { btrfs, offset, digest, ...rest } = fields as Record<string, unknown>;
  const to = toGuid(rest['to']);
  const from = rest['from'] === null ? null : toGuid(rest['from']);
  const isSound =
    btrfs === 1 &&
    typeof offset === 'number' &&
    Number.isSafeInteger(offset) &&
    offset > 0 &&
    typeof digest === 'string' &&
    /^[0-9a-f]{64}$/.test(digest);
  return isSound && to !== undefined && from !== undefined ? { to, from, offset, digest } : null;
}

function toGuid(text: unknown): bigint | undefined {
  if (typeof text !== 'string' || !/^\d{1,20}$/.test(text)) return undefined;
  const guid = BigInt(text);
  return guid < 1n << 64n ? guid : undefined;
}

/**
 * What a token says of the transfer it belongs to, for an access check. It names no dataset: the sender sends only the versions that are
 * asked for, and takes a token merely as the place from which on.
 * @throws SnapferryError `RESUME_TOKEN_INVALID`
 */
export function readBtrfsResumeToken(text: string): {
  readonly filesystem: null;
  readonly fromGuid: bigint | null;
  readonly toGuid: bigint;
} {
  const { from, to } = decodeResumeToken(text);
  return { filesystem: null, fromGuid: from, toGuid: to };
}

import { hash } from 'node:crypto';
import { SnapferryError } from '../../errors.ts';
import { checkHoldTag } from './names.ts';

/** User property, set locally to `on`, of a dataset that was only made so that another one has a parent. */
export const placeholderProperty = 'snapferry:placeholder';

/** For whom a hold or a cursor is kept. Two clients may use one job id without getting in each other's way. */
export interface JobOwner {
  /** Who asks, see `RequestContext.clientIdentity`; on a sink, whose data it is. Empty when unknown. */
  readonly identity: string;
  readonly jobId: string;
}

/**
 * Why a snapshot is held: `STEP` on a source, an end of a transfer that was begun and is not known to have arrived; `LAST` on a
 * sink, the newest version received.
 */
export type HoldKind = 'STEP' | 'LAST';

/** A hold tag of ours, read back. */
export interface OurTag {
  readonly kind: HoldKind;
  /** As {@link ownerText} wrote it: comparable, and readable unless the identity is odd. */
  readonly owner: string;
}

/** A bookmark of ours, read back. */
export interface OurBookmark {
  /** `CURSOR`: known to be at the other side. `TENTATIVE`: sent, or about to be, and perhaps there. */
  readonly kind: 'CURSOR' | 'TENTATIVE';
  /** Whether the version was sent raw from an encrypted dataset. */
  readonly isRaw: boolean;
  /** Of the version it marks. */
  readonly guid: bigint;
  /** As {@link ownerText} wrote it. */
  readonly owner: string;
}

const prefix = 'snapferry_';
const jobIdPattern = /^[A-Za-z0-9][A-Za-z0-9_.:-]*$/;
const jobIdBytesMax = 100;
const identityBytesMax = 60;
const tagPattern = /^snapferry_(STEP|LAST)_(I_[A-Za-z0-9.:-]*_J_[A-Za-z0-9_.:-]+)$/;
const bookmarkPattern = /^snapferry_(CURSOR|TENTATIVE)(_RAW)?_G_([0-9a-f]{16})_(I_[A-Za-z0-9.:-]*_J_[A-Za-z0-9_.:-]+)$/;

/**
 * An owner as part of a tag or a bookmark's name. Characters of the identity that ZFS does not allow there become `:` and their
 * bytes in hexadecimal; a long identity becomes `::` and the beginning of its SHA-256.
 * @throws SnapferryError `INVALID_REQUEST` for a job id that cannot be part of a name
 */
export function ownerText({ identity, jobId }: JobOwner): string {
  if (!jobIdPattern.test(jobId) || jobId.length > jobIdBytesMax) {
    throw new SnapferryError(
      'INVALID_REQUEST',
      `the job id ${JSON.stringify(jobId.slice(0, 2 * jobIdBytesMax))} cannot be part of a name: letters, digits, "_", ".", ` +
        `":" and "-", beginning with a letter or digit, at most ${jobIdBytesMax} characters`,
    );
  }
  const escaped = identity.replace(/[^A-Za-z0-9.-]/gu, (character) =>
    [...Buffer.from(character)].map((byte) => `:${byte.toString(16).padStart(2, '0')}`).join(''),
  );
  const bounded = escaped.length <= identityBytesMax ? escaped : `::${hash('sha256', identity, 'hex').slice(0, 32)}`;
  return `I_${bounded}_J_${jobId}`;
}

/** The tag of a hold of ours. @throws SnapferryError `INVALID_REQUEST` as {@link ownerText} does */
export function holdTag(kind: HoldKind, owner: JobOwner): string {
  const tag = `${prefix}${kind}_${ownerText(owner)}`;
  checkHoldTag(tag);
  return tag;
}

/** The inverse of {@link holdTag}; null for a tag that is not ours. */
export function parseHoldTag(tag: string): OurTag | null {
  const match = tagPattern.exec(tag);
  return match === null ? null : { kind: match[1] as HoldKind, owner: match[2] ?? '' };
}

/** The name of a bookmark of ours, without the dataset's. */
export function bookmarkName({ kind, isRaw, guid, owner }: OurBookmark): string {
  return `${prefix}${kind}${isRaw ? '_RAW' : ''}_G_${guid.toString(16).padStart(16, '0')}_${owner}`;
}

/** The inverse of {@link bookmarkName}; null for a bookmark that is not ours. */
export function parseBookmarkName(name: string): OurBookmark | null {
  const match = bookmarkPattern.exec(name);
  if (match === null) return null;
  const [, kind, raw, guid, owner] = match;
  return {
    kind: kind === 'CURSOR' ? 'CURSOR' : 'TENTATIVE',
    isRaw: raw !== undefined,
    guid: BigInt(`0x${guid ?? ''}`),
    owner: owner ?? '',
  };
}

import { SnapferryError } from '../../errors.ts';
import { parseGuid } from './delta-stream.ts';

/** What a receiver has of an interrupted step. The contents of a delta are in an order both sides know. */
export interface ResumeToken {
  /** guid of the version the step leads to. */
  readonly to: bigint;
  /** guid of the version it starts from; null for a full stream. */
  readonly from: bigint | null;
  /** SHA-256 in hex over the lines of the delta. */
  readonly delta: string;
  /** So many files of the delta, the first ones, are here whole and verified. */
  readonly next: number;
}

const tokenCharactersMax = 1024;

/** A token as it travels. */
export function encodeResumeToken({ to, from, delta, next }: ResumeToken): string {
  const fields = { v: 1, to: String(to), from: from === null ? null : String(from), delta, next };
  return Buffer.from(JSON.stringify(fields)).toString('base64url');
}

/**
 * The inverse of {@link encodeResumeToken}.
 * @throws SnapferryError `RESUME_TOKEN_INVALID` for anything else
 */
export function decodeResumeToken(text: string): ResumeToken {
  if (text.length <= tokenCharactersMax && /^[\w-]+$/.test(text)) {
    try {
      const { v, to, from, delta, next } = JSON.parse(Buffer.from(text, 'base64url').toString()) as Record<
        string,
        unknown
      >;
      const isSound =
        v === 1 &&
        typeof delta === 'string' &&
        /^[0-9a-f]{64}$/.test(delta) &&
        typeof next === 'number' &&
        Number.isSafeInteger(next) &&
        next >= 0;
      if (isSound) return { to: parseGuid(to), from: from === null ? null : parseGuid(from), delta, next };
    } catch {
      // Falls through: whatever is wrong with it, it is not ours.
    }
  }
  throw new SnapferryError(
    'RESUME_TOKEN_INVALID',
    'the resume token is not one of a directory stream; discard the partial receive and start the step anew',
  );
}

/** Whether a token belongs to the step with these ends and this delta. */
export function isSameStep(token: ResumeToken, step: Pick<ResumeToken, 'to' | 'from' | 'delta'>): boolean {
  return token.to === step.to && token.from === step.from && token.delta === step.delta;
}

import { formatDatasetPath, formatVersion, sameDataset } from '../dataset.ts';
import type { DatasetPath, FilesystemVersion } from '../dataset.ts';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import type { RequestContext } from '../rpc/interfaces.ts';

/** What a resume token says of the transfer it belongs to. */
export interface ResumeTokenClaims {
  /** The dataset it was made for; null for a format that names none, whose sender looks only at the requested one. */
  readonly filesystem: DatasetPath | null;
  /** guid of the version the transfer starts from; null for an initial one. */
  readonly fromGuid: bigint | null;
  /** guid of the version it leads to. */
  readonly toGuid: bigint;
}

/** Reads a token of one backend. Whatever it throws means that the token is none. */
export type ReadResumeToken = (token: string) => ResumeTokenClaims;

/** The transfer a peer asks for. */
export interface RequestedStep {
  readonly filesystem: DatasetPath;
  readonly from: FilesystemVersion | null;
  readonly to: FilesystemVersion;
}

/**
 * The token to go on with: a token decides by itself what a tool sends, so one that names anything but the requested step
 * would give its owner what he may not have. Without a reader nobody knows what it names, and it is left out.
 * @throws SnapferryError `RESUME_TOKEN_INVALID`
 */
export function admitToken(
  token: string | undefined,
  { filesystem, from, to }: RequestedStep,
  { readResumeToken }: { readonly readResumeToken?: ReadResumeToken },
  { clientIdentity, logger }: RequestContext,
): string | undefined {
  if (token === undefined || readResumeToken === undefined) return undefined;
  const claims = claimsOf(token, readResumeToken);
  const refuse = (what: string): never => {
    logger.warn({ identity: clientIdentity, what, dataset: formatDatasetPath(filesystem) }, 'resume token refused');
    throw new SnapferryError(
      'RESUME_TOKEN_INVALID',
      `the resume token is not of ${formatDatasetPath(filesystem)}${formatVersion(to)}: it names ${what}; ` +
        'discard the partial receive and start the step anew',
    );
  };
  if (claims.filesystem !== null && !sameDataset(claims.filesystem, filesystem)) refuse('another dataset');
  if (claims.toGuid !== to.guid) refuse('another snapshot');
  if (claims.fromGuid !== (from?.guid ?? null)) refuse('another base');
  return token;
}

function claimsOf(token: string, read: ReadResumeToken): ResumeTokenClaims {
  try {
    return read(token);
  } catch (error) {
    if (error instanceof SnapferryError && error.code === 'RESUME_TOKEN_INVALID') throw error;
    const { message } = toSnapferryError(error);
    throw new SnapferryError('RESUME_TOKEN_INVALID', `the resume token cannot be read: ${message}`, { cause: error });
  }
}

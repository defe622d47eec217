import { formatVersion } from '../../dataset.ts';
import type { FilesystemVersion } from '../../dataset.ts';
import { SnapferryError } from '../../errors.ts';
import type { Logger } from '../../rpc/interfaces.ts';
import type { ZfsTool } from './commands-tool.ts';
import type { SendFlags, SendSubject } from './commands.ts';
import { estimateSend } from './estimate.ts';
import { splitVersionName, versionName } from './names.ts';
import type { SendEstimate, VersionDetails } from './output.ts';
import { decodeResumeToken } from './resume-token.ts';
import { sendFlagsFor } from './send-options.ts';
import type { ZfsSendOptions } from './send-options.ts';
import { findVersions } from './versions.ts';

/** Which transfer is wanted. Versions are found by guid. */
export interface SendRequest {
  readonly dataset: string;
  /** A snapshot or bookmark; null for a full stream. */
  readonly from: FilesystemVersion | null;
  /** A snapshot. */
  readonly to: FilesystemVersion;
  readonly resumeToken?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A transfer worked out but not begun. */
export interface PreparedSend {
  readonly dataset: string;
  readonly from: VersionDetails | null;
  readonly to: VersionDetails;
  readonly subject: SendSubject;
  /** Whether the stream has encrypted data as it is on the disk. */
  readonly isRaw: boolean;
  readonly resumed: boolean;
  readonly estimatedBytes: number | null;
}

/**
 * Works out a transfer, down to a dry run, and changes nothing.
 *
 * A resume token must be of this very step. One that is, but that ZFS cannot go on with, or that would send another way than
 * the options say, is left aside: the transfer then begins at the beginning.
 * @throws SnapferryError `VERSION_NOT_FOUND` with what exists, `DATASET_NOT_FOUND`, `RESUME_TOKEN_INVALID`, `INVALID_REQUEST`,
 *   `BUSY`, `SOURCE_FAILED`, `CANCELLED`
 */
export async function prepareSend(
  tool: ZfsTool,
  request: SendRequest,
  { options, logger }: { readonly options: ZfsSendOptions; readonly logger: Logger | undefined },
): Promise<PreparedSend> {
  const { dataset, signal } = request;
  const { from, to } = await endsOf(tool, request);
  const flags = sendFlagsFor(options, dataset, to.isEncrypted);
  const isRaw = flags.raw && to.isEncrypted;
  const doing = `sending ${nameOf(to)}`;
  const ends = { dataset, from, to, isRaw };
  if (request.resumeToken !== undefined) {
    const rest = await restOf(tool, { ...ends, resumeToken: request.resumeToken, doing, signal, logger });
    if (rest !== null) {
      const subject = { resumeToken: request.resumeToken };
      return { ...ends, subject, resumed: true, estimatedBytes: rest.bytes };
    }
  }
  const subject = wholeSubject(from, to, flags);
  const { bytes } = await estimateSend(tool, subject, { doing, signal });
  return { ...ends, subject, resumed: false, estimatedBytes: bytes };
}

async function endsOf(
  tool: ZfsTool,
  { dataset, from, to, signal }: SendRequest,
): Promise<{ from: VersionDetails | null; to: VersionDetails }> {
  if (to.type !== 'snapshot') {
    const text = `${formatVersion(to)} of ${dataset} is a ${to.type}; only snapshots can be sent`;
    throw new SnapferryError('VERSION_NOT_FOUND', text);
  }
  const [target, base = null] = await findVersions(tool, dataset, from === null ? [to] : [to, from], signal);
  if (target?.version.type !== 'snapshot') {
    const text = `${dataset} has ${formatVersion(to)} only as a bookmark: its data is gone and cannot be sent`;
    throw new SnapferryError('VERSION_NOT_FOUND', text);
  }
  return { from: base, to: target };
}

function nameOf({ dataset, version }: VersionDetails): string {
  return versionName(dataset, version);
}

function wholeSubject(from: VersionDetails | null, to: VersionDetails, flags: SendFlags): SendSubject {
  return { from: from === null ? null : nameOf(from), to: nameOf(to), flags };
}

interface RestRequest extends Omit<PreparedSend, 'subject' | 'resumed' | 'estimatedBytes'> {
  readonly resumeToken: string;
  readonly doing: string;
  readonly signal: AbortSignal | undefined;
  readonly logger: Logger | undefined;
}

/** What a token would make ZFS send, if that may be sent; null to begin at the beginning. */
async function restOf(tool: ZfsTool, request: RestRequest): Promise<SendEstimate | null> {
  const { dataset, from, to, isRaw, resumeToken, doing, signal, logger } = request;
  const token = decodeResumeToken(resumeToken);
  if (token.toGuid !== to.version.guid || token.fromGuid !== (from?.version.guid ?? null)) {
    throw new SnapferryError(
      'RESUME_TOKEN_INVALID',
      `the resume token is not one for this step to ${nameOf(to)}, but for one to ${token.dataset}@${token.snapshot}; ` +
        'discard the partial receive ("zfs receive -A") and start the step anew',
    );
  }
  const aside = (why: string): null => {
    logger?.warn({ dataset, to: to.version.name, why }, 'resume token not used, the transfer begins at the beginning');
    return null;
  };
  // A token carries its own flags, and one without "rawok" would have encrypted data sent in the clear.
  if (to.isEncrypted && token.isRaw !== isRaw) return aside(`it is ${token.isRaw ? '' : 'not '}for a raw stream`);
  try {
    const rest = await estimateSend(tool, { resumeToken }, { doing, signal });
    // ZFS looks for the guid wherever the token's name leads, which may be a copy in another dataset.
    if (rest.to === null || splitVersionName(rest.to)?.dataset !== dataset)
      return aside(`ZFS would send ${rest.to ?? 'nothing'}`);
    return rest;
  } catch (error) {
    if (error instanceof SnapferryError && error.code === 'RESUME_TOKEN_INVALID') return aside(error.message);
    throw error;
  }
}

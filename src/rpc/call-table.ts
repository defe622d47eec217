import type { JSONInput } from '../chunker/json-message.ts';
import { formatDatasetPath, formatVersion, type DatasetPath, type FilesystemVersion } from '../dataset.ts';
import { SnapferryError } from '../errors.ts';
import type { Fields } from './fields.ts';
import type * as requests from './interfaces.ts';
import { decodeVersion, encodeVersion } from './messages.ts';
import { requestType } from './protocol.ts';

/** How one request travels: its number and its body both ways. Requester and responder are both derived from this. */
export interface Call<Request> {
  readonly type: number;
  encode(request: Request): JSONInput;
  /** @param version of the protocol it came by */
  decode(body: Fields, version: 1 | 2): Request;
  /** What it is about, for a line of the log; the words are the peer's. */
  short(request: Request): string;
}

function call<Request>(
  type: number,
  encode: (request: Request) => JSONInput,
  decode: (body: Fields, version: 1 | 2) => Request,
  short: (request: Request) => string,
): Call<Request> {
  return { type, encode, decode, short };
}

function named(filesystem: DatasetPath, version: FilesystemVersion): string {
  return formatDatasetPath(filesystem) + formatVersion(version);
}

function step(filesystem: DatasetPath, from: FilesystemVersion, to: FilesystemVersion): string {
  return `${named(filesystem, from)} to ${formatVersion(to)}`;
}

function optionalText(body: Fields, name: string): string | undefined {
  return body.has(name) ? body.text(name) : undefined;
}

const transferOptions = (body: Fields, version: 1 | 2): requests.TransferRequestOptions => ({
  // An answer of version 1 could not say that the token was used, and the rest would be taken for the whole.
  resumeToken: version === 1 ? undefined : optionalText(body, 'ResumeToken'),
  jobId: optionalText(body, 'JobId'),
});

function policyOf(text: string): requests.InitialReplicationPolicy {
  if (text === '' || text === 'most_recent') return 'most_recent';
  if (text === 'all') return 'all';
  throw new SnapferryError('INVALID_REQUEST', `InitialReplPolicy ${JSON.stringify(text)} is not known`);
}

/** Every request a handler can be asked, in the order of its number. Field order is that of the Go implementation. */
export const calls = {
  filesystems: call<requests.FilesystemsRequest>(
    requestType.filesystems,
    (request) => ({ Roots: request.roots }),
    (body) => ({ roots: body.has('Roots') ? body.texts('Roots') : null }),
    ({ roots }) => (roots === null ? '' : roots.join(' ')),
  ),
  filesystemVersions: call<requests.FilesystemVersionsRequest>(
    requestType.filesystemVersions,
    (request) => ({ Filesystem: request.filesystem }),
    (body) => ({ filesystem: body.texts('Filesystem') }),
    ({ filesystem }) => formatDatasetPath(filesystem),
  ),
  initialTransfer: call<requests.InitialTransferRequest>(
    requestType.initialTransfer,
    (request) => ({
      Filesystem: request.filesystem,
      FilesystemVersion: encodeVersion(request.version),
      ResumeToken: request.resumeToken,
      JobId: request.jobId,
    }),
    (body, version) => ({
      filesystem: body.texts('Filesystem'),
      version: decodeVersion(body.raw('FilesystemVersion')),
      ...transferOptions(body, version),
    }),
    ({ filesystem, version }) => named(filesystem, version),
  ),
  incrementalTransfer: call<requests.IncrementalTransferRequest>(
    requestType.incrementalTransfer,
    (request) => ({
      Filesystem: request.filesystem,
      From: encodeVersion(request.from),
      To: encodeVersion(request.to),
      ResumeToken: request.resumeToken,
      JobId: request.jobId,
    }),
    (body, version) => ({
      filesystem: body.texts('Filesystem'),
      from: decodeVersion(body.raw('From')),
      to: decodeVersion(body.raw('To')),
      ...transferOptions(body, version),
    }),
    ({ filesystem, from, to }) => step(filesystem, from, to),
  ),
  transferEstimate: call<requests.TransferEstimateRequest>(
    requestType.transferEstimate,
    (request) => ({
      Filesystem: request.filesystem,
      From: request.from === null ? null : encodeVersion(request.from),
      To: encodeVersion(request.to),
      ResumeToken: request.resumeToken,
    }),
    (body) => ({
      filesystem: body.texts('Filesystem'),
      from: body.has('From') ? decodeVersion(body.raw('From')) : null,
      to: decodeVersion(body.raw('To')),
      resumeToken: optionalText(body, 'ResumeToken'),
    }),
    ({ filesystem, from, to }) => (from === null ? named(filesystem, to) : step(filesystem, from, to)),
  ),
  transferCompleted: call<requests.TransferCompletedRequest>(
    requestType.transferCompleted,
    (request) => ({
      Filesystem: request.filesystem,
      Version: encodeVersion(request.version),
      JobId: request.jobId,
    }),
    (body) => ({
      filesystem: body.texts('Filesystem'),
      version: decodeVersion(body.raw('Version')),
      jobId: body.text('JobId'),
    }),
    ({ filesystem, version, jobId }) => `${named(filesystem, version)} ${jobId}`,
  ),
  pullMe: call<requests.PullMeRequest>(
    requestType.pullMe,
    (request) => ({ Finished: false, InitialReplPolicy: request.initialReplicationPolicy }),
    (body) => ({ initialReplicationPolicy: policyOf(body.text('InitialReplPolicy')) }),
    ({ initialReplicationPolicy }) => initialReplicationPolicy,
  ),
} as const;

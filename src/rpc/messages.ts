import { parseJSON, textOf, type JSONInput, type JSONValue } from '../chunker/json-message.ts';
import type { DatasetPath, FilesystemVersion } from '../dataset.ts';
import { isErrorCode, SnapferryError, toSnapferryError, type ErrorCode } from '../errors.ts';
import { Fields, listOf, textsOf, u64Max } from './fields.ts';
import type { FilesystemResult, Progress, PullReport } from './interfaces.ts';
import { errorId } from './protocol.ts';

/**
 * The least bytes a value has on average: a list of versions has 20, so one that fits into its message never has too many,
 * and one made of `{}` alone cannot take gigabytes.
 */
const valueBytesMin = 16;

/** Enough for every header, however small its limit was set. */
const valuesAllowed = 1024;

/** What bounds the decoding of one message. */
export interface DecodeBounds {
  /** The limit of this kind of message; what it may hold grows with it. */
  readonly bytesMax: number;
  readonly jsonDepthMax: number;
}

/** Decodes one message: JSON first, then its shape; errors name the message and wrap the cause. */
export function decode<T>(bytes: Uint8Array, what: string, bounds: DecodeBounds, shape: (value: JSONValue) => T): T {
  const valuesMax = Math.max(bounds.bytesMax / valueBytesMin, valuesAllowed);
  try {
    return shape(parseJSON(textOf(bytes), bounds.jsonDepthMax, valuesMax));
  } catch (cause) {
    const error = toSnapferryError(cause, 'PROTOCOL_VIOLATION');
    throw new SnapferryError(error.code, `cannot decode ${what}: ${error.message}`, { cause });
  }
}

/** Escaped, even the worst of it fits into a header. */
const errorCharactersMax = 4096;

const unknownTime = /^0001-01-01T00:00:00(\.0+)?(Z|[+-]\d\d:\d\d)$/;

/** @throws SnapferryError `INTERNAL` for a number that is not an unsigned 64-bit integer */
export function encodeVersion(version: FilesystemVersion): JSONInput {
  for (const value of [version.guid, version.createTXG]) {
    if (value < 0n || value > u64Max) {
      throw new SnapferryError('INTERNAL', `version ${version.name}: ${value} is not an unsigned 64-bit integer`);
    }
  }
  return {
    Type: version.type,
    Name: version.name,
    Guid: version.guid,
    CreateTXG: version.createTXG,
    Creation: version.creation ?? undefined,
  };
}

export function decodeVersion(value: JSONValue): FilesystemVersion {
  const fields = new Fields(value, 'FilesystemVersion');
  const creation = fields.text('Creation');
  return {
    type: fields.text('Type'),
    name: fields.text('Name'),
    guid: fields.u64('Guid'),
    createTXG: fields.u64('CreateTXG'),
    creation: creation === '' || unknownTime.test(creation) ? null : creation,
  };
}

export function decodeVersions(value: JSONValue): FilesystemVersion[] {
  return listOf(value, 'list of versions').map(decodeVersion);
}

export function decodePaths(value: JSONValue): DatasetPath[] {
  return listOf(value, 'list of filesystems').map((path) => textsOf(path, 'filesystem'));
}

/** A request header. */
export interface RequestHeader {
  readonly type: number;
  readonly id: Uint8Array;
  /** A stream follows the body; version 2 only. */
  readonly upload?: boolean;
}

export function encodeRequestHeader(header: RequestHeader): JSONInput {
  return { Type: header.type, Id: [...header.id], Upload: header.upload === true ? true : undefined };
}

export function decodeRequestHeader(value: JSONValue): RequestHeader {
  const fields = new Fields(value, 'RequestHeader');
  return { type: fields.integer('Type', 255), id: fields.id('Id'), upload: fields.flag('Upload') };
}

/** A failure as it travels: in a response header, a trailer or a Finished. */
export interface WireError {
  readonly errorId: number;
  readonly message: string;
  readonly code: ErrorCode | null;
  readonly retryable: boolean | null;
}

export function encodeError(error: SnapferryError): WireError {
  const id =
    error.code === 'CANCELLED' ? errorId.cancelled : error.code === 'GOODBYE' ? errorId.goodbye : errorId.handler;
  return { errorId: id, message: shortened(error.message), code: error.code, retryable: error.retryable };
}

/** The beginning says what was being done, the end what a tool printed last; a header has room for both. */
function shortened(message: string): string {
  if (message.length <= errorCharactersMax) return message;
  return `${message.slice(0, errorCharactersMax / 4)} […] ${message.slice(-errorCharactersMax / 2)}`;
}

/**
 * What a peer may be told of an error. The text of one that is not ours may hold anything, a path or a secret
 * included: the peer learns that there was one, and the local log has the rest.
 */
export function tellable(error: unknown, code: ErrorCode, doing: string): SnapferryError {
  const own = toSnapferryError(error, code);
  if (own === error || own.code === 'CANCELLED') return own;
  return new SnapferryError(code, `${doing} failed; the log of the side that was asked says why`, { cause: error });
}

function decodeError(fields: Fields): WireError {
  const code = fields.text('Code');
  return {
    errorId: fields.integer('ErrorId', 255),
    message: fields.text('Message'),
    code: isErrorCode(code) ? code : null,
    retryable: fields.has('Retryable') ? fields.flag('Retryable') : null,
  };
}

const codeOfErrorId = new Map<number, ErrorCode>([
  [errorId.decodeHeader, 'PROTOCOL_VIOLATION'],
  [errorId.unknownRequestType, 'UNKNOWN_REQUEST'],
  [errorId.decodeRequestBody, 'INVALID_REQUEST'],
  [errorId.protocolVersionMismatch, 'PROTOCOL_VERSION'],
  [errorId.goodbye, 'GOODBYE'],
  [errorId.cancelled, 'CANCELLED'],
]);

/** The peer's error as ours. Without a code (version 1), the error id gives the nearest. */
export function errorFromWire(wire: WireError, doing: string): SnapferryError {
  const code = wire.code ?? codeOfErrorId.get(wire.errorId) ?? 'INTERNAL';
  const message = wire.message === '' ? 'the peer gave no reason' : wire.message;
  return new SnapferryError(code, `${doing}: ${message}`, {
    fromPeer: true,
    ...(wire.retryable === null ? {} : { retryable: wire.retryable }),
  });
}

/** A response header; the last four fields are for transfers in version 2. */
export interface ResponseHeader extends WireError {
  readonly requestId: Uint8Array;
  readonly responseType: number;
  readonly streamFormat?: string | null;
  readonly estimatedBytes?: number | null;
  readonly resumed?: boolean;
}

/** @param version fields of version 2 are written only towards a version-2 peer */
export function encodeResponseHeader(header: ResponseHeader, version: 1 | 2): JSONInput {
  const isError = header.errorId !== errorId.none;
  const isTransfer = header.streamFormat !== undefined;
  return {
    RequestId: [...header.requestId],
    ErrorId: header.errorId,
    Message: header.message,
    ResponseType: header.responseType,
    Code: version === 2 && isError ? (header.code ?? undefined) : undefined,
    Retryable: version === 2 && isError ? (header.retryable ?? undefined) : undefined,
    StreamFormat: version === 2 && isTransfer ? header.streamFormat : undefined,
    EstimatedBytes: version === 2 && isTransfer ? (header.estimatedBytes ?? null) : undefined,
    Resumed: version === 2 && isTransfer ? (header.resumed ?? false) : undefined,
  };
}

export function decodeResponseHeader(value: JSONValue): ResponseHeader {
  const fields = new Fields(value, 'ResponseHeader');
  const format = fields.text('StreamFormat');
  const { errorId: id, message, code, retryable } = decodeError(fields);
  // Spelt out: each answer is decoded here, and a spread costs more than all the rest of it.
  return {
    errorId: id,
    message,
    code,
    retryable,
    requestId: fields.id('RequestId'),
    responseType: fields.integer('ResponseType', 255),
    streamFormat: format === '' ? null : format,
    estimatedBytes: fields.integerOrNull('EstimatedBytes'),
    resumed: fields.flag('Resumed'),
  };
}

/** What follows a stream in version 2. */
export interface Trailer extends WireError {
  readonly bytes: number;
  readonly digest: { readonly algorithm: string; readonly value: string } | null;
}

export function encodeTrailer(trailer: Trailer): JSONInput {
  return {
    ErrorId: trailer.errorId,
    Message: trailer.message,
    Code: trailer.code ?? undefined,
    Retryable: trailer.retryable ?? undefined,
    Bytes: trailer.bytes,
    Digest: trailer.digest === null ? null : { Algorithm: trailer.digest.algorithm, Value: trailer.digest.value },
  };
}

export function decodeTrailer(value: JSONValue): Trailer {
  const fields = new Fields(value, 'Trailer');
  const digest = new Fields(fields.raw('Digest'), 'Trailer.Digest');
  const algorithm = digest.text('Algorithm');
  return {
    ...decodeError(fields),
    bytes: fields.integer('Bytes', Number.MAX_SAFE_INTEGER),
    digest: algorithm === '' ? null : { algorithm, value: digest.text('Value') },
  };
}

function encodeResult(result: FilesystemResult): JSONInput {
  return {
    Filesystem: result.filesystem,
    Ok: result.ok,
    Code: result.code,
    Message: result.message,
    Notices: result.notices,
    Missing: result.missing,
    Bytes: result.bytes,
    Steps: result.steps,
  };
}

function decodeResult(value: JSONValue): FilesystemResult {
  const fields = new Fields(value, 'Report');
  const code = fields.text('Code');
  return {
    filesystem: fields.texts('Filesystem'),
    ok: fields.flag('Ok'),
    code: code === '' ? null : code,
    message: fields.text('Message'),
    notices: fields.texts('Notices'),
    missing: fields.texts('Missing'),
    bytes: fields.integer('Bytes', Number.MAX_SAFE_INTEGER),
    steps: fields.integer('Steps', Number.MAX_SAFE_INTEGER),
  };
}

export function encodeReport(report: PullReport): JSONInput {
  return { Filesystems: report.filesystems.map(encodeResult) };
}

export function decodeReport(value: JSONValue): PullReport {
  return { filesystems: new Fields(value, 'Report').list('Filesystems').map(decodeResult) };
}

/** The failure inside a Finished. */
export function encodeFinishedError(error: SnapferryError): JSONInput {
  const wire = encodeError(error);
  return { ErrorId: wire.errorId, Message: wire.message, Code: wire.code, Retryable: wire.retryable };
}

export function decodeFinishedError(value: JSONValue): WireError {
  return decodeError(new Fields(value, 'Error'));
}

/** A control chunk's payload. Exactly one field is set; all null: a kind we do not know, to be ignored. */
export interface Control {
  readonly progress: Progress | null;
  readonly cancel: Uint8Array | null;
}

export function encodeProgress(progress: Progress): JSONInput {
  // A handler's news must never fail its request: what is no count is unknown.
  const count = (value: number | null): number | null =>
    Number.isSafeInteger(value) && value !== null && value >= 0 ? value : null;
  return { Progress: { Message: progress.message, Done: count(progress.done), Total: count(progress.total) } };
}

export function encodeCancel(id: Uint8Array): JSONInput {
  return { Cancel: [...id] };
}

export function decodeControl(value: JSONValue): Control {
  const fields = new Fields(value, 'control chunk');
  if (fields.has('Cancel')) return { progress: null, cancel: fields.id('Cancel') };
  if (!fields.has('Progress')) return { progress: null, cancel: null };
  const progress = new Fields(fields.raw('Progress'), 'Progress');
  return {
    progress: {
      message: progress.text('Message'),
      done: progress.integerOrNull('Done'),
      total: progress.integerOrNull('Total'),
    },
    cancel: null,
  };
}

/**
 * Every bound of the wire in one place (docs/PROTOCOL.md section 5). Each is on by default and can be changed per
 * connection through `limits` in the options of `ByteStreamRPC.connect` and `.listen`.
 */
export interface Limits {
  /** A request or response header, or a trailer. */
  readonly headerBytesMax: number;
  /** The JSON body of a request. */
  readonly requestBodyBytesMax: number;
  /** The JSON body of a response; lists of versions grow long. */
  readonly responseBodyBytesMax: number;
  /** The payload of a control chunk. */
  readonly controlBytesMax: number;
  /** Nesting of arrays and objects in any JSON. */
  readonly jsonDepthMax: number;
  /** Requests read ahead of the one being handled; with bodies of `requestBodyBytesMax` together none is read any more. */
  readonly pipelinedRequestsMax: number;
  /** How long the first answer may take. */
  readonly helloMsMax: number;
  /** How long a responder waits for the next request. */
  readonly requestWaitMsMax: number;
  /** How long a request may take to arrive once its first byte has. */
  readonly requestReadMsMax: number;
  /** How long the peer may take none of what is written to it, while nothing is heard from it either. */
  readonly writeMsMax: number;
}

/** The defaults of {@link Limits}. */
export const defaultLimits: Limits = {
  headerBytesMax: 64 * 1024,
  requestBodyBytesMax: 1024 * 1024,
  responseBodyBytesMax: 64 * 1024 * 1024,
  controlBytesMax: 4096,
  jsonDepthMax: 32,
  pipelinedRequestsMax: 64,
  helloMsMax: 10_000,
  requestWaitMsMax: 30 * 60_000,
  requestReadMsMax: 30_000,
  writeMsMax: 30_000,
};

/** How often an idle side says it is alive, unless told otherwise; three missed ones mean a dead peer. */
export const heartbeatMsDefault = 5000;
/** Heartbeats a waiting side tolerates to be missing before `PEER_SILENT`. */
export const heartbeatsMissedMax = 3;
/** Payload bytes in one chunk towards a version-1 peer: 32 KiB on the wire, as the Go implementation writes. */
export const version1ChunkBytes = 32 * 1024 - 4;
/** Payload bytes at most in one chunk towards a version-2 peer; a larger piece is split. */
export const version2ChunkBytes = 1024 * 1024;

/** The defaults with some of them replaced; refuses limits that contradict each other. */
export function withLimits(overrides: Partial<Limits> = {}): Limits {
  const limits = { ...defaultLimits, ...overrides };
  for (const [name, value] of Object.entries(limits)) {
    if (!Number.isSafeInteger(value) || value < 1) throw new RangeError(`limit ${name} must be a positive integer`);
  }
  if (limits.headerBytesMax > limits.requestBodyBytesMax || limits.requestBodyBytesMax > limits.responseBodyBytesMax) {
    throw new RangeError('limits must grow: headerBytesMax <= requestBodyBytesMax <= responseBodyBytesMax');
  }
  if (limits.controlBytesMax > limits.headerBytesMax) throw new RangeError('controlBytesMax exceeds headerBytesMax');
  return limits;
}

withLimits();

/**
 * Every code an error of this library can carry, with what it means for the connection and for a retry.
 * The codes are those of docs/PROTOCOL.md section 4 and never change their meaning.
 */
const codes = {
  CONNECT_FAILED: { retryable: true, connectionDead: true },
  CONNECTION_LOST: { retryable: true, connectionDead: true },
  STREAM_TRUNCATED: { retryable: true, connectionDead: true },
  PEER_SILENT: { retryable: true, connectionDead: true },
  TIMEOUT: { retryable: true, connectionDead: true },
  PROTOCOL_VERSION: { retryable: false, connectionDead: true },
  PROTOCOL_VIOLATION: { retryable: false, connectionDead: true },
  LIMIT_EXCEEDED: { retryable: false, connectionDead: true },
  DIGEST_MISMATCH: { retryable: false, connectionDead: true },
  UNKNOWN_REQUEST: { retryable: false, connectionDead: false },
  INVALID_REQUEST: { retryable: false, connectionDead: false },
  ACCESS_DENIED: { retryable: false, connectionDead: false },
  DATASET_NOT_FOUND: { retryable: false, connectionDead: false },
  VERSION_NOT_FOUND: { retryable: false, connectionDead: false },
  RESUME_TOKEN_INVALID: { retryable: false, connectionDead: false },
  STREAM_FORMAT_MISMATCH: { retryable: false, connectionDead: false },
  BUSY: { retryable: true, connectionDead: false },
  CANCELLED: { retryable: false, connectionDead: false },
  GOODBYE: { retryable: true, connectionDead: false },
  SOURCE_FAILED: { retryable: false, connectionDead: false },
  INTERNAL: { retryable: false, connectionDead: false },
} as const;

/** A stable name for what went wrong; branch on this, never on a message. */
export type ErrorCode = keyof typeof codes;

/** All codes, for documentation and tests. */
export const errorCodes = Object.keys(codes) as ErrorCode[];

/** Whether `text` is one of {@link errorCodes}; a newer peer may send one we do not know. */
export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(codes, text);
}

/** What may be given beside code and message. */
export interface SnapferryErrorOptions {
  /** What caused it. Kept for local logs; never sent to a peer. */
  readonly cause?: unknown;
  /** Overrides the code's own answer to "may the same thing work a little later?". */
  readonly retryable?: boolean;
  /** True for an error the peer reported, rather than one noticed on this side. */
  readonly fromPeer?: boolean;
  /** False where the code usually means a dead connection, but this one lives on: a call that took too long. */
  readonly connectionDead?: boolean;
}

/** The one error class of this library. The message is for people; {@link SnapferryError.code} is for programs. */
export class SnapferryError extends Error {
  override readonly name = 'SnapferryError';
  readonly code: ErrorCode;
  /** Whether the same call may succeed a little later without anybody changing anything. */
  readonly retryable: boolean;
  /** Whether the peer reported it. */
  readonly fromPeer: boolean;
  /** Whether the connection the error arose on is of no more use. An error reported by the peer arrived in step. */
  readonly connectionDead: boolean;

  constructor(code: ErrorCode, message: string, options: SnapferryErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable ?? codes[code].retryable;
    this.fromPeer = options.fromPeer ?? false;
    this.connectionDead = options.connectionDead ?? (codes[code].connectionDead && !this.fromPeer);
  }
}

/**
 * The error as a {@link SnapferryError}: itself if it is one, `CANCELLED` for an abort, otherwise wrapped under `code`.
 * @param doing what was being done, put in front of the message of a foreign error
 */
export function toSnapferryError(error: unknown, code: ErrorCode = 'INTERNAL', doing?: string): SnapferryError {
  if (error instanceof SnapferryError) return error;
  const text = error instanceof Error ? error.message : String(error);
  const isAbort = error instanceof Error && error.name === 'AbortError';
  return new SnapferryError(isAbort ? 'CANCELLED' : code, doing === undefined ? text : `${doing}: ${text}`, {
    cause: error,
  });
}

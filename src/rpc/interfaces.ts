import type { BaseLogger } from 'pino';
import type { JSONInput, JSONValue } from '../chunker/json-message.ts';
import type { DatasetPath, FilesystemVersion } from '../dataset.ts';
import type { TransferBytes } from '../sink.ts';
import type { ByteStream } from '../transport/byte-stream.ts';

/** Where the library writes its log lines; a pino logger fits. Silent unless one is given. */
export type Logger = BaseLogger;

/** News of a request being handled. */
export interface Progress {
  readonly message: string;
  /** Units done so far, in whatever the message speaks of; null when unknown. */
  readonly done: number | null;
  /** Units in all; null when unknown. */
  readonly total: number | null;
}

export interface FilesystemsRequest {
  /** Only datasets at or below these; null for all that this peer may see. */
  readonly roots: readonly string[] | null;
}
export interface FilesystemVersionsRequest {
  readonly filesystem: DatasetPath;
}
/** What both transfer requests may carry beside the versions. Ignored by a version-1 peer. */
export interface TransferRequestOptions {
  /** Continue an interrupted receive; a sender that cannot use it starts from the beginning. */
  readonly resumeToken?: string | undefined;
  /** Names the job, so that the sender can keep one replication cursor per job. */
  readonly jobId?: string | undefined;
}
export interface InitialTransferRequest extends TransferRequestOptions {
  readonly filesystem: DatasetPath;
  readonly version: FilesystemVersion;
}
export interface IncrementalTransferRequest extends TransferRequestOptions {
  readonly filesystem: DatasetPath;
  readonly from: FilesystemVersion;
  readonly to: FilesystemVersion;
}
export interface TransferEstimateRequest {
  readonly filesystem: DatasetPath;
  /** Null for an initial transfer. */
  readonly from: FilesystemVersion | null;
  readonly to: FilesystemVersion;
  readonly resumeToken?: string | undefined;
}
export interface TransferCompletedRequest {
  readonly filesystem: DatasetPath;
  /** The version that is now safe on the other side. */
  readonly version: FilesystemVersion;
  readonly jobId: string;
}
/** Which versions the first transfer of a dataset sends: the newest alone, or all of them, oldest first. */
export type InitialReplicationPolicy = 'most_recent' | 'all';
export interface PullMeRequest {
  readonly initialReplicationPolicy: InitialReplicationPolicy;
}

/** A transfer on offer. Whoever receives it iterates `bytes` to the end or breaks out of it. */
export interface Transfer {
  /** `zfs`, `btrfs`, `directory`, or an embedding program's own; null when a version-1 peer did not say. */
  readonly format: string | null;
  /** Payload bytes to be expected; null when unknown. */
  readonly estimatedBytes: number | null;
  /** True only if the resume token was used. */
  readonly resumed: boolean;
  /**
   * The bytes. On the asking side they are a whole, verified stream or a throw: the iteration ends normally only after the
   * sender declared the end and count and digest agreed; each piece is lent until the next is asked for. A handler gives its
   * pieces away: what was yielded may wait in a queue long after the next piece was asked for, so it never writes into them
   * again, and copies those it was only lent, as by another transfer. What a handler holds for a transfer it also releases
   * when the request's signal fires: a generator that was never started runs no `finally`.
   */
  readonly bytes: TransferBytes;
}

/** What became of one dataset in a pull. */
export interface FilesystemResult {
  readonly filesystem: DatasetPath;
  readonly ok: boolean;
  /** Code of the failure, null when ok. */
  readonly code: string | null;
  /** For people; empty when there is nothing to say. */
  readonly message: string;
  /** Facts about committed transfers, see `ReceiveResult.notices`. */
  readonly notices: readonly string[];
  /** What committed versions lack although the source had it, see `ReceiveResult.missing`; `ok` is false then. */
  readonly missing: readonly string[];
  /** Payload bytes received for it. */
  readonly bytes: number;
  /** Transfers committed for it. */
  readonly steps: number;
}

/** The result of a whole pull, one entry per dataset. */
export interface PullReport {
  readonly filesystems: readonly FilesystemResult[];
}

/** What a handler is told about the request besides the request itself. */
export interface RequestContext {
  /** Who asks, as established by the transport's owner; empty when unknown, `local` within one process. */
  readonly clientIdentity: string;
  /** Aborted when the requester cancels or vanishes, or the server shuts down. */
  readonly signal: AbortSignal;
  readonly logger: Logger;
  /** What the program has attached to the session, see `Session.attached`; undefined if nothing. */
  readonly attached?: unknown;
  /** Tells the requester how it is going. Dropped when the peer speaks version 1. */
  progress(progress: Progress): void;
}

/** The pull that a confirmed PullMe runs; the requester asks the peer that said "pull me". */
export type Pull = (client: RPCRequester) => Promise<PullReport>;

/** Turns a JSON value into what it stands for, or throws: a function, or anything with a `parse`, as a zod schema has. */
export type Shape<T> = ((value: unknown) => T) | { readonly parse: (value: unknown) => T };

/** What answers a custom request: nothing but `ok`, a stream, or JSON of a certain shape. */
export type AnswerShape = 'ok' | 'stream' | Shape<JSONInput>;

/** The value such an answer has. */
export type AnswerOf<A extends AnswerShape> = A extends 'ok'
  ? // eslint-disable-next-line @typescript-eslint/no-invalid-void-type -- what an async function without a result gives
    void
  : A extends 'stream'
    ? Transfer
    : A extends (value: unknown) => infer T
      ? T
      : A extends { parse: (value: unknown) => infer T }
        ? T
        : never;

/** A request type of the embedding program, as both ends know it. Made by `customCall`. */
export interface CustomCall<Request extends JSONInput = JSONInput, A extends AnswerShape = AnswerShape> {
  /** Its number on the wire, 0x80 to 0xef. */
  readonly type: number;
  /** For logs and errors. */
  readonly name: string;
  /** The body; what it refuses is answered with `INVALID_REQUEST`. */
  readonly request: Shape<Request>;
  readonly answer: A;
  /** Whether a stream follows the body. */
  readonly upload: boolean;
  /** What a line of the log says about a request, beside the name. Default: nothing, since a body may hold secrets. */
  readonly describe?: (request: Request) => string;
}

/** What a custom request is answered with. */
export type CustomAnswer =
  | { readonly kind: 'ok' }
  | { readonly kind: 'json'; readonly body: JSONInput }
  | { readonly kind: 'stream'; readonly transfer: Transfer };

/** One custom request, decoded. */
export interface PreparedCustomRequest {
  /** For a line of the log, beside the name; may be empty. */
  short(): string;
  /** @param upload what follows the body, whole or a throw; empty for a request without */
  handle(context: RequestContext, upload: TransferBytes): Promise<CustomAnswer>;
}

/** A custom request that a handler answers. Made by `answerCustom`. */
export interface CustomRequest {
  readonly type: number;
  readonly name: string;
  /** Whether a stream follows the body. */
  readonly upload: boolean;
  /** Decodes the body. What it throws is answered with `INVALID_REQUEST`. */
  prepare(body: JSONValue): PreparedCustomRequest;
}

/** A protocol for which a peer may take the connection over, by an Upgrade. */
export interface UpgradeProtocol {
  /** Its name on the wire. */
  readonly name: string;
  /**
   * Rejecting refuses before anything is confirmed. What it resolves with gets the stream, with every byte the peer has
   * sent since, and owns it: it ends or aborts it. If it rejects, the stream is aborted. `context.signal` fires when the
   * server shuts down.
   */
  open(context: RequestContext): Promise<(stream: ByteStream) => Promise<void>>;
}

/**
 * What a side can be asked: the source half of a storage backend. Errors thrown as SnapferryError reach the requester
 * with their code; anything else reaches it as `INTERNAL` and is logged here in full.
 */
export interface RPCHandler {
  filesystems(request: FilesystemsRequest, context: RequestContext): Promise<DatasetPath[]>;
  /** Oldest first. */
  filesystemVersions(request: FilesystemVersionsRequest, context: RequestContext): Promise<FilesystemVersion[]>;
  initialTransfer(request: InitialTransferRequest, context: RequestContext): Promise<Transfer>;
  incrementalTransfer(request: IncrementalTransferRequest, context: RequestContext): Promise<Transfer>;
  /** Payload bytes such a transfer would send, or null when that cannot be known cheaply. */
  transferEstimate?(request: TransferEstimateRequest, context: RequestContext): Promise<number | null>;
  /** The other side has it for good. Idempotent. */
  transferCompleted?(request: TransferCompletedRequest, context: RequestContext): Promise<void>;
  /**
   * The peer asks to be pulled from. Rejecting refuses before anything is confirmed; the returned pull runs once the
   * roles are inverted. Absent: PullMe is refused with `ACCESS_DENIED`.
   */
  pullMe?(request: PullMeRequest, context: RequestContext): Promise<Pull>;
  /** Requests of the embedding program's own. Version 2 only. */
  readonly custom?: readonly CustomRequest[];
  /** Protocols the connection can be handed over to. Version 2 only, and not inside a PullMe. */
  readonly protocols?: readonly UpgradeProtocol[];
}

/** What every call of a requester takes. */
export interface CallOptions {
  /** Cancels the call; it rejects with `CANCELLED`, and the connection stays usable where the protocol allows. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Rejects with `TIMEOUT` and cancels when no answer has begun by then, in ms from the call on. The connection lives on,
   * as after any cancelled call.
   */
  readonly timeoutMs?: number | undefined;
  /** Receives the handler's progress. Version 2 only. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** What a custom request takes besides. */
export interface CustomCallOptions extends CallOptions {
  /**
   * What follows the body of a call with an upload; empty if absent. It is closed whatever happens, also when the answer
   * comes before its end: whoever has answered needs no more of it.
   */
  readonly upload?: TransferBytes | undefined;
}

/**
 * The asking side of a connection, near or far. Calls reject with a SnapferryError; once the connection is dead, every
 * pending and later call rejects with what killed it. Calls may be made ahead: answers come in order. A call made while a
 * transfer is open waits until that transfer has been read to its end or left.
 */
export interface RPCRequester extends AsyncDisposable {
  /** Version agreed with the peer: 1 or 2. */
  readonly protocolVersion: 1 | 2;
  filesystems(request: FilesystemsRequest, options?: CallOptions): Promise<DatasetPath[]>;
  filesystemVersions(request: FilesystemVersionsRequest, options?: CallOptions): Promise<FilesystemVersion[]>;
  initialTransfer(request: InitialTransferRequest, options?: CallOptions): Promise<Transfer>;
  incrementalTransfer(request: IncrementalTransferRequest, options?: CallOptions): Promise<Transfer>;
  /** Null when the peer cannot tell, a version-1 peer never can. */
  transferEstimate(request: TransferEstimateRequest, options?: CallOptions): Promise<number | null>;
  /** No-op towards a version-1 peer. */
  transferCompleted(request: TransferCompletedRequest, options?: CallOptions): Promise<void>;
  /**
   * Lets the peer pull from `handler` over this connection, and resolves with its report once it has finished; null
   * from a version-1 peer. Rejects if the peer refused, or its pull failed or was cut off.
   */
  pullMe(request: PullMeRequest, handler: RPCHandler, options?: CallOptions): Promise<PullReport | null>;
  /**
   * A request of the embedding program's own. An upload and the answer flow at the same time.
   * @throws SnapferryError `UNKNOWN_REQUEST` if the other side does not know it, a version-1 peer never does; otherwise as
   *   every call
   */
  request<Request extends JSONInput, A extends AnswerShape>(
    call: CustomCall<Request, A>,
    request: Request,
    options?: CustomCallOptions,
  ): Promise<AnswerOf<A>>;
  /**
   * Hands the connection over to another protocol, once calls under way are over and the peer has agreed. The stream has
   * every byte the peer sent since, and is the caller's: this requester is of no more use, and writes and reads nothing.
   * @throws SnapferryError `UNKNOWN_REQUEST` for a protocol the peer does not know; otherwise as every call
   */
  upgrade(protocol: string, options?: CallOptions): Promise<ByteStream>;
  /**
   * Takes the connection away without asking the peer: the stream, with what was already received. Both sides must have
   * agreed on it by other means; a version-2 peer that was not told has sent heartbeats.
   * @throws SnapferryError `BUSY` while a call is under way, `INVALID_REQUEST` where there is no stream (in this process,
   *   or inside a PullMe), or what killed the connection
   */
  detach(): ByteStream;
  /**
   * Says goodbye and closes in order, waiting at most ten seconds for calls under way and the answer. A transfer that is
   * open is stopped: its reader gets `CANCELLED`. No-op on the client of a pull: the connection is the peer's to close.
   * Idempotent.
   */
  close(goodbye?: string): Promise<void>;
  /** Drops the connection now. */
  forceClose(): void;
}

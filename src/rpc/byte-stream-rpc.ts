import { pino } from 'pino';
import { toSnapferryError, type SnapferryError } from '../errors.ts';
import { heartbeatMsDefault, withLimits, type Limits } from '../limits.ts';
import type { ByteStream } from '../transport/byte-stream.ts';
import { Connection } from './connection.ts';
import type { DigestAlgorithm } from './digest.ts';
import { checkHelloOptions, helloDefaults, sayHello, type HelloOptions } from './hello.ts';
import type { Logger, RPCHandler, RPCRequester } from './interfaces.ts';
import { Requester } from './requester.ts';
import { Responder } from './responder.ts';

/** What both sides of a connection can be told. */
export interface ByteStreamRPCOptions {
  /** Silent by default. */
  readonly logger?: Logger | undefined;
  /** Replaces some of the bounds, see {@link Limits}. */
  readonly limits?: Partial<Limits> | undefined;
  /** How often this side says that it is alive, in ms; the larger of both sides' counts. Default 5000. */
  readonly heartbeatMs?: number | undefined;
  /** 2 refuses a peer that speaks only version 1. Default 1. */
  readonly minimumVersion?: 1 | 2 | undefined;
  /** 1 behaves as the Go implementation of 2017. Default 2. */
  readonly maximumVersion?: 1 | 2 | undefined;
  /** Digests offered or accepted for streams, the preferred first; empty for none. Default xxh64, then sha256. */
  readonly digests?: readonly DigestAlgorithm[] | undefined;
  /** Name and version told to the peer. */
  readonly agent?: string | undefined;
}

/** What the answering side needs besides. */
export interface ListenOptions extends ByteStreamRPCOptions {
  /** Who is at the other end, as the owner of the transport knows it. Empty: unknown, and PullMe is refused. */
  readonly clientIdentity: string;
  readonly handler: RPCHandler;
}

const silent: Logger = pino({ level: 'silent' });

function connectionFor(stream: ByteStream, options: ByteStreamRPCOptions): Connection {
  return new Connection(stream, { limits: withLimits(options.limits), logger: options.logger ?? silent });
}

function helloFor(options: ByteStreamRPCOptions): HelloOptions {
  const hello: HelloOptions = {
    maximumVersion: options.maximumVersion ?? helloDefaults.maximumVersion,
    minimumVersion: options.minimumVersion ?? helloDefaults.minimumVersion,
    agent: options.agent ?? helloDefaults.agent,
    heartbeatMs: options.heartbeatMs ?? heartbeatMsDefault,
    digests: options.digests ?? helloDefaults.digests,
  };
  checkHelloOptions(hello);
  return hello;
}

/** The replication RPC over any {@link ByteStream}. */
export const ByteStreamRPC = {
  /**
   * Says hello over a stream and returns the asking side. The requester owns the stream from now on.
   * @throws SnapferryError `CONNECT_FAILED` (also for a peer that prints text), `PROTOCOL_VERSION`, `TIMEOUT`, or what
   *   broke the stream; the stream is released then
   */
  async connect(stream: ByteStream, options: ByteStreamRPCOptions = {}): Promise<RPCRequester> {
    const hello = helloFor(options);
    const connection = connectionFor(stream, options);
    try {
      await sayHello(connection, hello);
    } catch (error) {
      throw await released(connection, error);
    }
    const serveInverted = (handler: RPCHandler) =>
      new Responder(connection, { handler, clientIdentity: '', hello: null }).serveInverted();
    return new Requester(connection, serveInverted);
  },

  /**
   * Answers requests on a stream until the peer closes it, and owns the stream. Resolves once everything is released.
   * A handler's error is answered and never rejects this.
   * @throws SnapferryError when the connection broke or broke the protocol, and when a transfer towards a version-1 peer
   *   failed in mid-stream, which can only be told by breaking the connection
   */
  async listen(stream: ByteStream, options: ListenOptions): Promise<void> {
    const hello = helloFor(options);
    const connection = connectionFor(stream, options);
    const { handler, clientIdentity } = options;
    try {
      await new Responder(connection, { handler, clientIdentity, hello }).serve();
    } catch (error) {
      throw await released(connection, error);
    }
  },
} as const;

/** Drops the connection for an error and waits until all that belongs to it is gone. */
async function released(connection: Connection, cause: unknown): Promise<SnapferryError> {
  const error = toSnapferryError(cause);
  connection.fail(error);
  await connection.close().catch(() => undefined);
  return error;
}

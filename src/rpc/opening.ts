import { pino } from 'pino';
import { toSnapferryError, type SnapferryError } from '../errors.ts';
import { heartbeatMsDefault, withLimits, type Limits } from '../limits.ts';
import type { ByteStream } from '../transport/byte-stream.ts';
import { Connection } from './connection.ts';
import type { DigestAlgorithm } from './digest.ts';
import { checkHelloOptions, helloDefaults, type HelloOptions } from './hello.ts';
import type { Logger } from './interfaces.ts';

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

/** What logs nothing. */
export const silent: Logger = pino({ level: 'silent' });

/**
 * The framing over a stream, which it owns from now on.
 * @throws RangeError for limits that contradict each other
 */
export function openConnection(stream: ByteStream, options: ByteStreamRPCOptions): Connection {
  return new Connection(stream, { limits: withLimits(options.limits), logger: options.logger ?? silent });
}

/**
 * What this side brings to the negotiation.
 * @throws RangeError for options that cannot be meant
 */
export function helloFor(options: ByteStreamRPCOptions): HelloOptions {
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

/** Drops the connection for an error and waits until all that belongs to it is gone. */
export async function released(connection: Connection, cause: unknown): Promise<SnapferryError> {
  const error = toSnapferryError(cause);
  connection.fail(error);
  await connection.close().catch(() => undefined);
  return error;
}

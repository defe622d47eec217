import type { JSONInput, JSONValue } from '../chunker/json-message.ts';
import { SnapferryError } from '../errors.ts';
import type { Connection } from './connection.ts';
import { digestAlgorithms, isDigestAlgorithm, type DigestAlgorithm } from './digest.ts';
import { Fields } from './fields.ts';
import { checkAnswerId } from './answer-id.ts';
import {
  decodeResponseHeader,
  encodeRequestHeader,
  encodeResponseHeader,
  errorFromWire,
  type ResponseHeader,
} from './messages.ts';
import { errorId, protocolVersions, requestType, responseType } from './protocol.ts';
import { newRequestId } from './request-id.ts';

/** What one side brings to the negotiation. */
export interface HelloOptions {
  /** Highest version offered or accepted. */
  readonly maximumVersion: 1 | 2;
  /** Refuse to go on below this. */
  readonly minimumVersion: 1 | 2;
  /** Shown to the peer. */
  readonly agent: string;
  readonly heartbeatMs: number;
  /** Accepted digests, the preferred first; empty for none. */
  readonly digests: readonly DigestAlgorithm[];
}

/** The defaults of {@link HelloOptions} but the heartbeat. */
export const helloDefaults = {
  maximumVersion: protocolVersions.current,
  minimumVersion: protocolVersions.compatible,
  agent: 'snapferry',
  digests: digestAlgorithms,
} as const;

/** @throws RangeError for options that cannot be meant */
export function checkHelloOptions(options: HelloOptions): void {
  if (options.minimumVersion > options.maximumVersion) throw new RangeError('minimumVersion exceeds maximumVersion');
  const { heartbeatMs } = options;
  if (!Number.isSafeInteger(heartbeatMs) || heartbeatMs < 1 || heartbeatMs > heartbeatMsMax) {
    throw new RangeError(`heartbeatMs must be an integer from 1 to ${heartbeatMsMax}`);
  }
}

/** An hour without a sign of life is no liveness; a peer that proposes it means harm or nonsense. */
const heartbeatMsMax = 3_600_000;

interface Hello {
  readonly clientVersion: number;
  readonly maximumVersion: number;
  readonly heartbeatMs: number;
  readonly digests: readonly string[];
}

interface HelloAnswer {
  readonly header: ResponseHeader;
  readonly version: number;
  readonly agent: string;
  readonly heartbeatMs: number;
  readonly digest: string;
}

/** Reads the body of a ProtocolVersion request. */
export function decodeHello(body: Fields): Hello {
  return {
    clientVersion: body.integer('ClientVersion', 255),
    maximumVersion: body.integer('MaxVersion', 255),
    heartbeatMs: body.integer('HeartbeatMs', heartbeatMsMax),
    digests: body.texts('Digests'),
  };
}

function decodeHelloAnswer(value: JSONValue): HelloAnswer {
  const fields = new Fields(value, 'ResponseHeader');
  return {
    header: decodeResponseHeader(value),
    version: fields.integer('Version', 255),
    agent: fields.text('Agent'),
    heartbeatMs: fields.integer('HeartbeatMs', heartbeatMsMax),
    digest: fields.text('Digest'),
  };
}

/**
 * The requester's side: says hello in version 1, offers version 2 inside it, and switches the connection to what the peer
 * agreed to. Nothing else may have been sent before.
 * @throws SnapferryError `PROTOCOL_VERSION`, `TIMEOUT`, or what broke the connection
 */
export async function sayHello(connection: Connection, options: HelloOptions): Promise<void> {
  const { limits } = connection;
  const timedOut = (): void =>
    connection.fail(
      new SnapferryError('TIMEOUT', `${connection.description}: no hello within ${limits.helloMsMax} ms`),
    );
  const timer = setTimeout(timedOut, limits.helloMsMax);
  try {
    await hello(connection, options);
  } catch (error) {
    throw connection.failure ?? error;
  } finally {
    clearTimeout(timer);
  }
}

async function hello(connection: Connection, options: HelloOptions): Promise<void> {
  const offer: JSONInput =
    options.maximumVersion === 1
      ? { ClientVersion: protocolVersions.compatible }
      : {
          ClientVersion: protocolVersions.compatible,
          MaxVersion: options.maximumVersion,
          Agent: options.agent,
          HeartbeatMs: options.heartbeatMs,
          Digests: options.digests,
        };
  const id = newRequestId();
  const header = encodeRequestHeader({ type: requestType.protocolVersion, id });
  // If the write fails the peer may have said why; the read below tells, or fails too.
  connection.send(connection.encode(header, offer)).catch(() => undefined);
  const what = 'answer to the hello';
  const answer = await connection.readMessage({
    what,
    bytesMax: connection.limits.headerBytesMax,
    shape: decodeHelloAnswer,
  });
  if (answer === null) {
    throw new SnapferryError('CONNECTION_LOST', `${connection.description} ended without answering the hello`);
  }
  checkAnswerId(answer.header, { id, doing: 'hello' }, 1);
  if (answer.header.errorId !== errorId.none) throw errorFromWire(answer.header, 'hello');
  if (answer.header.responseType !== responseType.ok) {
    throw new SnapferryError('PROTOCOL_VIOLATION', 'the hello was answered with something that is not OK');
  }
  if (answer.version > options.maximumVersion) {
    const why = `the peer chose protocol version ${answer.version}, which was not offered`;
    throw new SnapferryError('PROTOCOL_VIOLATION', why);
  }
  const isVersion2 = answer.version === 2;
  if (!isVersion2 && (answer.digest !== '' || answer.heartbeatMs !== 0)) {
    // Going on in version 1 would be going on without digests, towards a peer that speaks version 2.
    const why = 'the answer to the hello has what only version 2 has, but not its number: it was changed on the way';
    throw new SnapferryError('PROTOCOL_VIOLATION', why);
  }
  if (!isVersion2 && options.minimumVersion === 2) {
    const why = `${connection.description} speaks protocol version 1 only, and at least 2 is required here`;
    throw new SnapferryError('PROTOCOL_VERSION', why);
  }
  if (isVersion2) connection.useVersion2(agreedHeartbeat(answer, options), agreedDigest(answer.digest, options));
  connection.logger.debug({ version: connection.version, agent: answer.agent }, 'connected');
}

function agreedHeartbeat(answer: HelloAnswer, options: HelloOptions): number {
  return Math.max(options.heartbeatMs, answer.heartbeatMs);
}

function agreedDigest(name: string, options: HelloOptions): DigestAlgorithm | null {
  if (name === '') return null;
  if (isDigestAlgorithm(name) && options.digests.includes(name)) return name;
  throw new SnapferryError(
    'PROTOCOL_VIOLATION',
    `the peer chose the digest ${JSON.stringify(name)}, which was not offered`,
  );
}

/** The responder's side of the negotiation: an answer, or why there is none. */
export type HelloDecision = AcceptedHello | { readonly refusal: string };

/** The negotiation as the responder accepts it. */
export interface AcceptedHello {
  readonly version: 1 | 2;
  /** The answer, to be sent before anything else. */
  readonly answer: JSONInput;
  /** Switches the connection; call it when the answer has been handed to the stream. */
  apply(connection: Connection): void;
}

/** Decides on a peer's hello. */
export function decideHello(hello: Hello, requestId: Uint8Array, options: HelloOptions): HelloDecision {
  if (hello.clientVersion !== protocolVersions.compatible) {
    return {
      refusal: `protocol version ${hello.clientVersion} is not spoken here; 1 is, with 2 offered in MaxVersion`,
    };
  }
  const isVersion2 = options.maximumVersion === 2 && hello.maximumVersion >= 2;
  if (!isVersion2 && options.minimumVersion === 2) {
    return { refusal: 'at least protocol version 2 is required here' };
  }
  const ok: ResponseHeader = {
    requestId,
    errorId: errorId.none,
    message: '',
    code: null,
    retryable: null,
    responseType: responseType.ok,
  };
  const header = encodeResponseHeader(ok, 1);
  if (!isVersion2) return { version: 1, answer: header, apply: () => undefined };
  const digest = options.digests.find((algorithm) => hello.digests.includes(algorithm)) ?? null;
  const heartbeatMs = Math.max(options.heartbeatMs, hello.heartbeatMs);
  return {
    version: protocolVersions.current,
    answer: {
      ...(header as Record<string, JSONInput>),
      Version: protocolVersions.current,
      Agent: options.agent,
      HeartbeatMs: options.heartbeatMs,
      Digest: digest ?? undefined,
    },
    apply: (connection) => connection.useVersion2(heartbeatMs, digest),
  };
}

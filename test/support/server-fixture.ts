import { ByteStreamRPC, type ByteStreamRPCOptions } from '../../src/rpc/byte-stream-rpc.ts';
import type { RPCHandler, RPCRequester, Transfer } from '../../src/rpc/interfaces.ts';
import { ReplicationServer, type ReplicationServerOptions } from '../../src/rpc/server.ts';
import type { Session } from '../../src/rpc/session.ts';
import type { ByteStream } from '../../src/transport/byte-stream.ts';
import { memoryPair } from '../../src/transport/memory.ts';

/** A handler that has no dataset and answers at once, but for what is overridden. */
export function answering(overrides: Partial<RPCHandler> = {}): RPCHandler {
  return {
    filesystems: () => Promise.resolve([['tank']]),
    filesystemVersions: () => Promise.resolve([]),
    initialTransfer: () => Promise.resolve(transferOf([])),
    incrementalTransfer: () => Promise.resolve(transferOf([])),
    ...overrides,
  };
}

/** A transfer of these pieces. */
export function transferOf(pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Transfer {
  async function* bytes(): AsyncGenerator<Uint8Array> {
    yield* pieces;
  }
  return { format: 'test', estimatedBytes: null, resumed: false, bytes: bytes() };
}

/** Everything in a stream of bytes, as one. */
export async function collected(bytes: AsyncIterable<Uint8Array | { subarray: () => Uint8Array }>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const piece of bytes) parts.push(Buffer.from(piece.subarray()));
  return Buffer.concat(parts);
}

/** Something that happens once, and can be waited for. */
export interface Moment<T = void> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
}

/** A promise, and who fulfils it. */
export function moment<T = void>(): Moment<T> {
  let resolve: (value: T) => void = () => undefined;
  const promise = new Promise<T>((fulfil) => (resolve = fulfil));
  return { promise, resolve };
}

/** One connection to a server in this process. */
export interface Connected {
  readonly client: RPCRequester;
  readonly session: Session;
  /** Resolves when the server is done with it. */
  readonly served: Promise<void>;
  /** The near and the far end. */
  readonly streams: readonly [ByteStream, ByteStream];
}

/** Connects a client to a server through a memory pair. */
export async function connectTo(
  server: ReplicationServer,
  { identity = 'web1', ...options }: ByteStreamRPCOptions & { readonly identity?: string } = {},
): Promise<Connected> {
  const streams = memoryPair();
  const served = server.serve(streams[1], { identity, address: `address of ${identity}` }, 'the test listener');
  const session = server.sessions().at(-1);
  const client = await ByteStreamRPC.connect(streams[0], options);
  if (session === undefined) throw new Error('the server has no session');
  return { client, session, served, streams };
}

/** A server whose sessions wait no longer than they must for the goodbye. */
export function testServer(options: Partial<ReplicationServerOptions> = {}): ReplicationServer {
  return new ReplicationServer({ handler: answering(), goodbyeMs: 100, ...options });
}

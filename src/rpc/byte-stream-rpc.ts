import type { ByteStream } from '../transport/byte-stream.ts';
import { sayHello } from './hello.ts';
import type { RPCHandler, RPCRequester } from './interfaces.ts';
import { helloFor, openConnection, released, type ByteStreamRPCOptions } from './opening.ts';
import { Requester } from './requester.ts';
import { Responder } from './responder.ts';

export type { ByteStreamRPCOptions } from './opening.ts';

/** What the answering side needs besides. */
export interface ListenOptions extends ByteStreamRPCOptions {
  /** Who is at the other end, as the owner of the transport knows it. Empty: unknown, and PullMe is refused. */
  readonly clientIdentity: string;
  readonly handler: RPCHandler;
  /** What handlers find as `context.attached`. */
  readonly attached?: unknown;
}

/** The replication RPC over any {@link ByteStream}. */
export const ByteStreamRPC = {
  /**
   * Says hello over a stream and returns the asking side. The requester owns the stream from now on.
   * @throws SnapferryError `CONNECT_FAILED` (also for a peer that prints text), `PROTOCOL_VERSION`, `TIMEOUT`, what the peer
   *   refuses with (`BUSY`, `GOODBYE`, `ACCESS_DENIED`), or what broke the stream; the stream is released then
   */
  async connect(stream: ByteStream, options: ByteStreamRPCOptions = {}): Promise<RPCRequester> {
    const hello = helloFor(options);
    const connection = openConnection(stream, options);
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
   * Answers requests on a stream until the peer closes it, and owns the stream. Resolves once everything is released, or
   * when a protocol that was handed the stream by an Upgrade is done. A handler's error is answered and never rejects this.
   * @throws SnapferryError when the connection broke or broke the protocol, and when a transfer towards a version-1 peer
   *   failed in mid-stream, which can only be told by breaking the connection
   * @throws RangeError for options, or custom requests of the handler, that cannot be meant
   */
  async listen(stream: ByteStream, options: ListenOptions): Promise<void> {
    const hello = helloFor(options);
    const connection = openConnection(stream, options);
    const { handler, clientIdentity, attached } = options;
    try {
      await new Responder(connection, { handler, clientIdentity, hello, attached: () => attached }).serve();
    } catch (error) {
      throw await released(connection, error);
    }
  },
} as const;

import { ByteStreamRPC } from '../../src/rpc/byte-stream-rpc.ts';
import type { ListenOptions } from '../../src/rpc/byte-stream-rpc.ts';
import type { RPCHandler, RPCRequester } from '../../src/rpc/interfaces.ts';
import { LocalRPC } from '../../src/rpc/local-rpc.ts';
import { memoryPair } from '../../src/transport/memory.ts';

/** A requester with a handler at its other end. */
export interface TestConnection {
  readonly client: RPCRequester;
  /** Breaks the connection as a cable that is pulled out does. */
  cut(): void;
  close(): Promise<void>;
}

/** In this process, without any protocol. */
export function connectLocally(handler: RPCHandler): Promise<TestConnection> {
  const client = LocalRPC.connect(handler);
  return Promise.resolve({ client, cut: () => client.forceClose(), close: () => client.close() });
}

/** Through the protocol, over a memory pair. */
export async function connectByWire(
  handler: RPCHandler,
  options: Partial<Omit<ListenOptions, 'handler'>> = {},
): Promise<TestConnection> {
  const [near, far] = memoryPair();
  // What breaks the connection shows at the requester; here it would only be an unhandled rejection.
  const served = ByteStreamRPC.listen(far, { clientIdentity: 'tester', handler, ...options }).catch(() => {});
  const client = await ByteStreamRPC.connect(near);
  return {
    client,
    cut: () => far.abort(new Error('the cable was pulled out')),
    async close() {
      await client.close();
      await served;
    },
  };
}

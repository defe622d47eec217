import { ByteStreamRPC } from '../../src/rpc/byte-stream-rpc.ts';
import { LocalRPC } from '../../src/rpc/local-rpc.ts';
import { memoryPair } from '../../src/transport/memory.ts';
import { describeRequester, type ConnectRequester } from '../conformance/rpc.ts';

function overWire(near: 1 | 2, far: 1 | 2): ConnectRequester {
  return async (handler) => {
    // Lent pieces are overwritten: whoever keeps one gives himself away.
    const [nearEnd, farEnd] = memoryPair({ poison: true });
    const listening = ByteStreamRPC.listen(farEnd, { clientIdentity: 'tester', handler, maximumVersion: far });
    const released = listening.catch(() => undefined);
    const client = await ByteStreamRPC.connect(nearEnd, { maximumVersion: near });
    return { client, released };
  };
}

describeRequester(
  'LocalRPC',
  (handler) => Promise.resolve({ client: LocalRPC.connect(handler), released: Promise.resolve() }),
  { version: 2 },
);
describeRequester('ByteStreamRPC 2 to 2', overWire(2, 2), { version: 2 });
describeRequester('ByteStreamRPC 1 to 1', overWire(1, 1), { version: 1 });
describeRequester('ByteStreamRPC 2 to 1', overWire(2, 1), { version: 1 });
describeRequester('ByteStreamRPC 1 to 2', overWire(1, 2), { version: 1 });

import { afterEach, beforeEach, expect, it } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import type { RPCRequester, Transfer } from '../../src/rpc/interfaces.ts';
import type { ReplicationSink } from '../../src/sink.ts';
import { replicationFixture } from '../support/replication-fixture.ts';
import type { ReplicationFixture } from '../support/replication-fixture.ts';

let fixture: ReplicationFixture;
beforeEach(() => void (fixture = replicationFixture()));
afterEach(() => fixture.close());

/** The transfer of a source that fails, too, when it is told to stop. */
function failingWhenStopped({ bytes, ...transfer }: Transfer): Transfer {
  const iterator = bytes[Symbol.asyncIterator]();
  const failing = {
    next: () => iterator.next(),
    async return() {
      await iterator.return?.();
      throw new SnapferryError('SOURCE_FAILED', 'the sending tool dumped core');
    },
  };
  return { ...transfer, bytes: { [Symbol.asyncIterator]: () => failing } };
}

it('the target fails first, and the source while it is told to stop: one cause, and the other beside it', async () => {
  const { source, target, run, connected } = fixture;
  source.snapshot('a', 's1', 'x'.repeat(500_000));
  source.snapshot('b', 's1', 'b');
  const { client } = await connected();
  const stopped = new Proxy<RPCRequester>(client, {
    get(of, name) {
      if (name === 'initialTransfer') {
        return async (...call: Parameters<RPCRequester['initialTransfer']>) => {
          const transfer = await of.initialTransfer(...call);
          return call[0].filesystem[0] === 'a' ? failingWhenStopped(transfer) : transfer;
        };
      }
      const member: unknown = Reflect.get(of, name, of);
      return typeof member === 'function' ? (member.bind(of) as unknown) : member;
    },
  });
  const sink: ReplicationSink = {
    ...target.sink,
    async receive(request, bytes, signal) {
      if (request.filesystem[0] === 'b') return target.sink.receive(request, bytes, signal);
      await bytes[Symbol.asyncIterator]().next();
      throw new SnapferryError('INTERNAL', 'out of space');
    },
  };
  const [result, other] = await run({ client: stopped, sink });
  expect(result?.code).toBe('INTERNAL');
  expect(result?.message).toMatch(/^out of space.*the source failed too.*dumped core/s);
  expect(other).toMatchObject({ ok: true, steps: 1 });
});

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import type { ReplicationSink } from '../../src/sink.ts';
import type { MemoryBackend } from '../support/memory-backend.ts';
import { replicationFixture } from '../support/replication-fixture.ts';
import type { ReplicationFixture } from '../support/replication-fixture.ts';

let fixture: ReplicationFixture;
let source: MemoryBackend;
let target: MemoryBackend;
let run: ReplicationFixture['run'];

beforeEach(() => {
  fixture = replicationFixture();
  ({ source, target, run } = fixture);
});
afterEach(() => fixture.close());

const text = (letter: string, bytes = 3500) => letter.repeat(bytes);

describe('one step', () => {
  it('both sides fail: the first is the error, the other is told too (scenario 17)', async () => {
    source.snapshot('a', 's1', text('1'));
    source.faults.sourceBytes = (offset) => {
      if (offset >= 2000) throw new SnapferryError('SOURCE_FAILED', 'read error');
    };
    const sink: ReplicationSink = {
      ...target.sink,
      async receive(_request, bytes) {
        try {
          for await (const piece of bytes) piece.byteLength satisfies number;
        } catch {
          throw new Error('receiver: unexpected end of input');
        }
        throw new Error('unreachable');
      },
    };
    const [result] = await run({ sink });
    expect(result?.code).toBe('SOURCE_FAILED');
    expect(result?.message).toMatch(/read error.*the target failed too.*unexpected end of input/s);
  });

  it('a sink that fails while the source stalls is not held up by it', async () => {
    source.snapshot('a', 's1', text('1'));
    let stalled = (): void => {};
    const hasStalled = new Promise<void>((resolve) => (stalled = resolve));
    source.faults.sourceBytes = (offset) => {
      if (offset < 2000) return;
      stalled();
      return new Promise(() => {});
    };
    const sink: ReplicationSink = {
      ...target.sink,
      receive(_request, bytes) {
        const reading = (async () => {
          for await (const piece of bytes) piece.byteLength satisfies number;
        })();
        return new Promise((_resolve, reject) => {
          reading.catch(() => {});
          void hasStalled.then(() => reject(new Error('the child process died')));
        });
      },
    };
    const [result] = await run({ sink });
    expect(`${result?.code} ${result?.message}`).toMatch(/^INTERNAL .*child process died$/);
  });

  it('a sink that never looks at the bytes lets the sender go, and the connection goes on', async () => {
    source.snapshot('a', 's1', text('1', 500_000));
    source.snapshot('b', 's1', text('b'));
    const sink: ReplicationSink = {
      ...target.sink,
      receive: (request, bytes, signal) =>
        request.filesystem[0] === 'a'
          ? Promise.reject(new SnapferryError('STREAM_FORMAT_MISMATCH', 'not my format'))
          : target.sink.receive(request, bytes, signal),
    };
    const results = await run({ sink });
    expect(results.map(({ ok, code }) => (ok ? 'ok' : code))).toEqual(['STREAM_FORMAT_MISMATCH', 'ok']);
  });

  it.each([
    ['leaves the rest of the stream', false],
    ['swallows the source’s failure', true],
  ])('a sink that %s has not committed a verified transfer', async (_what, sourceFails) => {
    source.snapshot('a', 's1', text('1', 500_000));
    if (sourceFails) {
      source.faults.sourceBytes = (offset) => {
        if (offset > 3000) throw new SnapferryError('SOURCE_FAILED', 'read error');
      };
    }
    const sink: ReplicationSink = {
      ...target.sink,
      async receive(_request, bytes) {
        const read = async () => {
          for await (const piece of bytes) if (piece.byteLength > 0 && !sourceFails) return;
        };
        await read().catch(() => {});
        return { notices: [], missing: [] };
      },
    };
    const [result] = await run({ sink });
    expect(result).toMatchObject({ ok: false, code: sourceFails ? 'SOURCE_FAILED' : 'INTERNAL', steps: 0 });
  });
});

import { pino } from 'pino';
import { afterEach, describe, expect, test } from 'vitest';
import { exitCodeOfResults, exitCodes } from '../../src/cli/exit-code.ts';
import { SnapferryError } from '../../src/errors.ts';
import type { RPCHandler } from '../../src/rpc/interfaces.ts';
import type { RequestResult } from '../../src/rpc/request-in-progress.ts';
import { collect, outcomes, replicationFixture, type ReplicationFixture } from '../support/replication-fixture.ts';
import { answering, connectTo, moment, testServer } from '../support/server-fixture.ts';
import { initial, read } from '../support/transfers.ts';

const payload = Buffer.alloc(300, 'x');
const reason = 'tank/home: read error at sector 7';

async function* failingAfter(good: number): AsyncGenerator<Uint8Array> {
  await Promise.resolve();
  if (good > 0) yield payload.subarray(0, good);
  throw new SnapferryError('SOURCE_FAILED', reason);
}

describe('a sender that fails (scenario 15)', () => {
  test.each([
    ['before its first byte', 0],
    ['in the middle', 150],
    ['after its last byte, before the end', payload.byteLength],
  ])('%s: both sides have its own words', async (_, good) => {
    const told = moment<RequestResult>();
    const transfer = { format: 'test', estimatedBytes: null, resumed: false, bytes: failingAfter(good) };
    const handler: RPCHandler = answering({ initialTransfer: () => Promise.resolve(transfer) });
    const lines: string[] = [];
    const logger = pino({ level: 'warn' }, { write: (line: string) => lines.push(line) });
    const { client, served } = await connectTo(
      testServer({
        handler,
        logger,
        hooks: { onRequestEnd: (_, { name }, result) => name === 'InitialTransfer' && told.resolve(result) },
      }),
    );
    const { parts, error } = await read(await client.initialTransfer(initial));
    expect(parts).toEqual(payload.subarray(0, good));
    expect(error).toMatchObject({ code: 'SOURCE_FAILED', fromPeer: true, connectionDead: false });
    expect((error as SnapferryError).message).toBe(`InitialTransfer: ${reason}`);
    expect(await told.promise).toMatchObject({ code: 'SOURCE_FAILED' });
    expect(lines.filter((line) => line.includes(reason) && line.includes('InitialTransfer'))).not.toEqual([]);
    expect(await client.filesystems({ roots: null })).toEqual([['tank']]);
    await client.close();
    await served;
  });
});

describe('ten datasets, one of which fails (scenario 20)', () => {
  let fixture: ReplicationFixture;
  afterEach(() => fixture.close());

  async function runWith(code: 'BUSY' | 'INTERNAL') {
    fixture = replicationFixture();
    const { source, target } = fixture;
    for (let index = 0; index < 10; index++) source.snapshot(`d${index}`, 's1', `content ${index}`);
    let failures = 0;
    source.faults.call = (call, filesystem) => {
      if (call !== 'initialTransfer' || filesystem?.[0] !== 'd4') return;
      failures++;
      throw new SnapferryError(code, 'd4 is being scrubbed');
    };
    const replication = await fixture.start();
    const events = await collect(replication);
    const { filesystems } = await replication.report;
    return { filesystems, failures, events, target };
  }

  test('nine are done, the one is named with its reason, and the exit code says that not all is well', async () => {
    const { filesystems, failures, target } = await runWith('INTERNAL');
    const expected = Array.from({ length: 10 }, (_, index) => (index === 4 ? 'd4 INTERNAL 0' : `d${index} ok 1`));
    expect(outcomes(filesystems)).toEqual(expected);
    expect(filesystems[4]?.message).toContain('d4 is being scrubbed');
    expect(exitCodeOfResults(filesystems)).toBe(exitCodes.incomplete);
    expect(failures).toBe(1);
    for (let index = 0; index < 10; index++) expect(target.list(`d${index}`)).toBe(index === 4 ? '' : '@s1');
  });

  test('it is tried again if it was only busy, each time told, and no more often than allowed', async () => {
    const { filesystems, failures, events } = await runWith('BUSY');
    expect(outcomes(filesystems).filter((outcome) => outcome.includes(' ok '))).toHaveLength(9);
    expect(filesystems[4]).toMatchObject({ ok: false, code: 'BUSY' });
    expect(failures).toBe(3);
    expect(events.filter((event) => event.kind === 'retrying').length).toBe(2);
    expect(exitCodeOfResults(filesystems)).toBe(exitCodes.incomplete);
  });
});

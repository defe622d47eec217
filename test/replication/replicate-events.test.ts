import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import type { MemoryBackend } from '../support/memory-backend.ts';
import { collect, replicationFixture } from '../support/replication-fixture.ts';
import type { ReplicationFixture } from '../support/replication-fixture.ts';

let fixture: ReplicationFixture;
let source: MemoryBackend;
let connected: ReplicationFixture['connected'];
let start: ReplicationFixture['start'];

beforeEach(() => {
  fixture = replicationFixture();
  ({ source, connected, start } = fixture);
});
afterEach(() => fixture.close());

const text = (letter: string, bytes = 3500) => letter.repeat(bytes);

describe('the events of a run', () => {
  it('rejects, and throws the same while iterating, when the datasets cannot be listed', async () => {
    source.faults.call = () => {
      throw new SnapferryError('ACCESS_DENIED', 'not for you');
    };
    const replication = await start();
    await expect(collect(replication)).rejects.toMatchObject({ code: 'ACCESS_DENIED' });
    await expect(replication.report).rejects.toMatchObject({ code: 'ACCESS_DENIED' });
  });

  it('rejects as cancelled when cancelled before the datasets were listed', async () => {
    source.snapshot('a', 's1', '1');
    const replication = await start({ signal: AbortSignal.abort() });
    await expect(replication.report).rejects.toMatchObject({ code: 'CANCELLED' });
  });

  it('gives events in order, with estimates that end at one', async () => {
    source.snapshot('a', 's1', text('1'));
    source.snapshot('a', 's2', text('2'));
    source.snapshot('b', 's1', text('b'));
    let clockMs = 0;
    const replication = await start({ policy: 'all', now: () => (clockMs += 100) });
    const events = await collect(replication);
    const kinds = events.map(({ kind }) => kind).filter((kind) => kind !== 'bytes');
    expect(kinds).toEqual([
      'planned',
      ...['filesystemStarted', 'stepStarted', 'stepDone', 'stepStarted', 'stepDone', 'filesystemDone'],
      ...['filesystemStarted', 'stepStarted', 'stepDone', 'filesystemDone'],
    ]);
    const fractions = events.flatMap((event) => (event.kind === 'bytes' ? [event.total.fraction!] : []));
    expect(fractions.length).toBeGreaterThan(3);
    expect(fractions).toEqual(fractions.toSorted((a, b) => a - b));
    expect(fractions.every((fraction) => fraction > 0 && fraction <= 1)).toBe(true);
    expect(replication.progress()).toMatchObject({ fraction: 1, remainingMs: 0 });
  });

  it('goes on when its reader leaves, and when nobody ever looks', async () => {
    source.snapshot('a', 's1', text('1'));
    const replication = await start();
    for await (const event of replication) if (event.kind === 'planned') break;
    expect((await replication.report).filesystems[0]?.ok).toBe(true);
  });

  it('an unknown size stays unknown', async () => {
    source.snapshot('a', 's1', text('1'));
    const handler = { ...source.handler };
    delete handler.transferEstimate;
    const events = await collect(await start({ client: (await connected(handler)).client }));
    const [bytes] = events.flatMap((event) => (event.kind === 'bytes' ? [event] : []));
    expect(bytes?.step).toMatchObject({ estimatedBytes: null, fraction: null, remainingMs: null });
    expect(bytes?.total).toMatchObject({ estimatedBytes: null, fraction: null, remainingMs: null });
  });
});

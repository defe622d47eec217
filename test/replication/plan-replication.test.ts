import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { MemoryBackend } from '../support/memory-backend.ts';
import { replicationFixture } from '../support/replication-fixture.ts';
import type { ReplicationFixture } from '../support/replication-fixture.ts';

let fixture: ReplicationFixture;
let source: MemoryBackend;
let connected: ReplicationFixture['connected'];
let run: ReplicationFixture['run'];

beforeEach(() => {
  fixture = replicationFixture();
  ({ source, connected, run } = fixture);
});
afterEach(() => fixture.close());

describe('planReplication', () => {
  it('asks for all versions before the first answer has come', async () => {
    for (const name of ['a', 'b', 'c']) source.snapshot(name, 's1', name);
    const { client } = await connected();
    const log: string[] = [];
    const listening = new Proxy(client, {
      get(target_, property) {
        const value: unknown = Reflect.get(target_, property, target_);
        if (typeof value !== 'function') return value;
        return (...given: unknown[]): unknown => {
          log.push(`> ${String(property)}`);
          const result: unknown = Reflect.apply(value, target_, given);
          if (result instanceof Promise) void result.then(() => log.push(`< ${String(property)}`));
          return result;
        };
      },
    });
    await run({ client: listening });
    const versions = log.filter((line) => line.endsWith('filesystemVersions'));
    expect(versions.slice(0, 3)).toEqual(Array(3).fill('> filesystemVersions'));
    const estimates = log.filter((line) => line.endsWith('transferEstimate'));
    expect(estimates.slice(0, 3)).toEqual(Array(3).fill('> transferEstimate'));
  });
});

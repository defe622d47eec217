import { replicate } from '../../src/replication/replicate.ts';
import type { ReplicateOptions, Replication, ReplicationEvent } from '../../src/replication/replication.ts';
import type { FilesystemResult, RPCHandler } from '../../src/rpc/interfaces.ts';
import { connectByWire } from './connect.ts';
import type { TestConnection } from './connect.ts';
import { memoryBackend } from './memory-backend.ts';
import type { MemoryBackend } from './memory-backend.ts';

/** A source, a target and what lies between, for one test. */
export interface ReplicationFixture {
  readonly source: MemoryBackend;
  readonly target: MemoryBackend;
  /** A connection to the source, or to another handler; closed by `close`. */
  readonly connected: (handler?: RPCHandler) => Promise<TestConnection>;
  /** What a run from source to target takes, over a connection of its own unless one is given. */
  readonly options: (more?: Partial<ReplicateOptions>) => Promise<ReplicateOptions>;
  readonly start: (more?: Partial<ReplicateOptions>) => Promise<Replication>;
  /** A whole run. */
  readonly run: (more?: Partial<ReplicateOptions>) => Promise<readonly FilesystemResult[]>;
  readonly close: () => Promise<void>;
}

/** @param connect how the source is reached */
export function replicationFixture(
  connect: (handler: RPCHandler) => Promise<TestConnection> = connectByWire,
): ReplicationFixture {
  let guid = 0n;
  const source = memoryBackend(() => ++guid);
  const target = memoryBackend(() => ++guid);
  const open: TestConnection[] = [];
  const connected = async (handler = source.handler) => {
    const connection = await connect(handler);
    open.push(connection);
    return connection;
  };
  const options = async (more: Partial<ReplicateOptions> = {}): Promise<ReplicateOptions> => {
    const client = more.client ?? (await connected()).client;
    const retry = { attemptsMax: 3, waitMsMin: 0, waitMsMax: 0 };
    return { sink: target.sink, jobId: 'job', retry, ...more, client };
  };
  const start = async (more: Partial<ReplicateOptions> = {}) => replicate(await options(more));
  return {
    source,
    target,
    connected,
    options,
    start,
    run: async (more = {}) => (await (await start(more)).report).filesystems,
    async close() {
      for (const connection of open) await connection.close();
    },
  };
}

/** `tank/home ok 2`: dataset, outcome and committed steps of each. */
export function outcomes(results: readonly FilesystemResult[]): string[] {
  return results.map(
    ({ filesystem, ok, code, steps }) => `${filesystem.join('/')} ${ok ? 'ok' : String(code)} ${steps}`,
  );
}

/** Everything a run had to tell. */
export async function collect(replication: AsyncIterable<ReplicationEvent>): Promise<ReplicationEvent[]> {
  const events: ReplicationEvent[] = [];
  for await (const event of replication) events.push(event);
  return events;
}

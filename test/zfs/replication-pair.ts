import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'vitest';
import type { DatasetPath } from '../../src/dataset.ts';
import type { ZfsTool } from '../../src/handlers/zfs/commands-tool.ts';
import { zfsHandler } from '../../src/handlers/zfs/handler.ts';
import type { ZfsHandlerOptions } from '../../src/handlers/zfs/handler.ts';
import { zfsSink } from '../../src/handlers/zfs/sink.ts';
import type { ZfsSinkOptions } from '../../src/handlers/zfs/sink.ts';
import { replicate } from '../../src/replication/replicate.ts';
import type { ReplicateOptions, ReplicationEvent } from '../../src/replication/replication.ts';
import type { FilesystemResult, RPCHandler, Transfer } from '../../src/rpc/interfaces.ts';
import type { ReplicationSink } from '../../src/sink.ts';
import { connectByWire } from '../support/connect.ts';
import { run, snapshotsOf } from './pools.ts';
import type { TestPool } from './pools.ts';
import { snapshotContent } from './snapshot-content.ts';

/** Under which name the source's root is on offer. */
export const offeredAs: DatasetPath = ['data'];

/** What a test may choose about both sides. */
export interface PairOptions {
  readonly send?: ZfsHandlerOptions['send'];
  readonly protection?: ZfsHandlerOptions['protection'];
  readonly includes?: ZfsHandlerOptions['includes'];
  readonly properties?: ZfsSinkOptions['properties'];
  readonly placeholder?: ZfsSinkOptions['placeholder'];
  readonly sourceTool?: ZfsTool;
  readonly sinkTool?: ZfsTool;
  /** Name of the target's root in its pool. Default: the source's. */
  readonly copies?: string;
}

/** What became of a run. */
export interface RunOutcome {
  readonly results: readonly FilesystemResult[];
  readonly events: readonly ReplicationEvent[];
  /** Payload bytes received. */
  readonly bytes: number;
}

let pairsMade = 0;

/** A dataset at the source, and a place for its copy, for one test; what is in them goes with their pools. */
export class ReplicationPair {
  /** The dataset that is on offer with everything below it. */
  readonly root: string;
  /** The place of its copy. */
  readonly copy: string;
  handler: RPCHandler;
  readonly sink: ReplicationSink;
  private readonly source: TestPool;

  constructor(source: TestPool, target: TestPool, options: PairOptions = {}) {
    const name = `p${++pairsMade}`;
    this.source = source;
    this.root = `${source.name}/${name}`;
    const copies = `${target.name}/${options.copies ?? name}`;
    this.copy = `${copies}/${offeredAs.join('/')}`;
    run('zfs', 'create', this.root);
    if (options.copies === undefined) run('zfs', 'create', '-o', 'canmount=off', '-o', 'mountpoint=none', copies);
    const { send, protection, includes, properties, placeholder, sourceTool, sinkTool } = options;
    this.handler = zfsHandler({
      roots: [{ dataset: this.root, path: offeredAs }],
      send,
      protection,
      includes,
      tool: sourceTool,
    });
    this.sink = zfsSink({
      locate: (filesystem) => [copies, ...filesystem].join('/'),
      jobId: 'job',
      identity: 'tester',
      properties,
      placeholder,
      tool: sinkTool,
    });
  }

  /** The same pair, with a source that sends in another way. */
  sendingAs(send: PairOptions['send']): ReplicationPair {
    const other = Object.create(this) as ReplicationPair;
    other.handler = zfsHandler({ roots: [{ dataset: this.root, path: offeredAs }], send });
    return other;
  }

  /** Full name of a dataset at or below the root. */
  at(below = ''): string {
    return below === '' ? this.root : `${this.root}/${below}`;
  }

  /** Full name of its copy. */
  copyOf(below = ''): string {
    return below === '' ? this.copy : `${this.copy}/${below}`;
  }

  /** Puts a file of content that does not compress into a dataset. */
  write(file: string, bytes: number, below = ''): void {
    const path = join(this.source.pathOf(this.at(below)), file);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, randomBytes(bytes));
  }

  snapshot(name: string, below = ''): void {
    run('zfs', 'snapshot', `${this.at(below)}@${name}`);
  }

  /**
   * One run over a connection of its own.
   * @param cutAfterBytes pulls the cable out after so many payload bytes
   */
  async run(more: Partial<ReplicateOptions> = {}, cutAfterBytes = Infinity): Promise<RunOutcome> {
    const cable = { cut: (): void => undefined };
    const connection = await connectByWire(cuttable(this.handler, cutAfterBytes, () => cable.cut()));
    cable.cut = () => connection.cut();
    const options = { sink: this.sink, jobId: 'job', client: connection.client, ...more };
    const replication = replicate(options);
    const events: ReplicationEvent[] = [];
    for await (const event of replication) events.push(event);
    const { filesystems: results } = await replication.report;
    if (cutAfterBytes === Infinity) await connection.close();
    return { results, events, bytes: results.reduce((sum, { bytes }) => sum + bytes, 0) };
  }

  /** A run in which everything goes well, and nothing has to be said. */
  async succeed(more: Partial<ReplicateOptions> = {}): Promise<RunOutcome> {
    const outcome = await this.run(more);
    for (const result of outcome.results) expect(result).toMatchObject({ ok: true, message: '', notices: [] });
    return outcome;
  }

  /** Every snapshot of the copy is at the source, too, with the same content, and these are their names. */
  expectCopied(names: readonly string[], below = ''): void {
    const copy = this.copyOf(below);
    expect(snapshotsOf(copy)).toEqual(names.map((name) => `${copy}@${name}`));
    for (const name of names) {
      if (!snapshotsOf(this.at(below)).includes(`${this.at(below)}@${name}`)) continue;
      expect(snapshotContent(`${copy}@${name}`)).toEqual(snapshotContent(`${this.at(below)}@${name}`));
    }
  }
}

/** The handler, with a cable that is pulled out after so many bytes of its transfers. */
function cuttable(handler: RPCHandler, bytesMax: number, cut: () => void): RPCHandler {
  let bytes = 0;
  const counted = (transfer: Transfer): Transfer => ({
    ...transfer,
    bytes: (async function* () {
      for await (const piece of transfer.bytes) {
        bytes += piece.byteLength;
        if (bytes > bytesMax) cut();
        yield piece;
      }
    })(),
  });
  return changed(handler, {
    initialTransfer: async (...args) => counted(await handler.initialTransfer(...args)),
    incrementalTransfer: async (...args) => counted(await handler.incrementalTransfer(...args)),
  });
}

/** An object, with other methods in place of some of its own. */
export function changed<T extends object>(object: T, methods: Partial<T>): T {
  return new Proxy(object, {
    get(target, name) {
      const value: unknown = Reflect.get({ ...methods }, name) ?? Reflect.get(target, name);
      return typeof value === 'function' && !Object.hasOwn(methods, name) ? (value.bind(target) as unknown) : value;
    },
  });
}

import { pino } from 'pino';
import { Uint8ArrayList } from 'uint8arraylist';
import { afterEach, beforeEach, expect } from 'vitest';
import type { FilesystemVersion } from '../../src/dataset.ts';
import { ByteStreamRPC } from '../../src/rpc/byte-stream-rpc.ts';
import type { CallOptions, RequestContext, RPCHandler, RPCRequester, Transfer } from '../../src/rpc/interfaces.ts';
import { LocalRPC } from '../../src/rpc/local-rpc.ts';
import type { ReceiveResult, TransferBytes } from '../../src/sink.ts';
import { memoryPair } from '../../src/transport/memory.ts';
import type { TestBackend } from './backend.ts';

/** What a source can be asked, near or far. */
export type SourceClient = Pick<
  RPCRequester,
  | 'filesystems'
  | 'filesystemVersions'
  | 'initialTransfer'
  | 'incrementalTransfer'
  | 'transferEstimate'
  | 'transferCompleted'
>;

/** A source as somebody sees it. */
export interface ConnectedSource {
  readonly client: SourceClient;
  /** Ends the connection, and waits until the answering side has let go. */
  close(): Promise<void>;
}

/** A way to a source. */
export interface SourceWay {
  readonly name: string;
  /** In version 1 there are no codes, no format, no estimate, no token; and leaving a transfer ends the connection. */
  readonly version: 1 | 2;
  readonly isWire: boolean;
  connect(handler: RPCHandler): Promise<ConnectedSource>;
}

/** All ways every backend is asked. */
export const sourceWays: readonly SourceWay[] = [
  { name: 'asked directly', version: 2, isWire: false, connect: askDirectly },
  { name: 'through LocalRPC', version: 2, isWire: false, connect: askLocally },
  { name: 'through ByteStreamRPC 2 to 2', version: 2, isWire: true, connect: (handler) => askByWire(handler, 2) },
  { name: 'through ByteStreamRPC 1 to 1', version: 1, isWire: true, connect: (handler) => askByWire(handler, 1) },
];

function askDirectly(handler: RPCHandler): Promise<ConnectedSource> {
  const logger = pino({ level: 'silent' });
  const context = ({ signal = new AbortController().signal }: CallOptions = {}): RequestContext => ({
    clientIdentity: 'tester',
    signal,
    logger,
    progress: () => undefined,
  });
  const client: SourceClient = {
    filesystems: (request, options) => handler.filesystems(request, context(options)),
    filesystemVersions: (request, options) => handler.filesystemVersions(request, context(options)),
    initialTransfer: (request, options) => handler.initialTransfer(request, context(options)),
    incrementalTransfer: (request, options) => handler.incrementalTransfer(request, context(options)),
    transferEstimate: async (request, options) => (await handler.transferEstimate?.(request, context(options))) ?? null,
    transferCompleted: async (request, options) => handler.transferCompleted?.(request, context(options)),
  };
  return Promise.resolve({ client, close: () => Promise.resolve() });
}

function askLocally(handler: RPCHandler): Promise<ConnectedSource> {
  const client = LocalRPC.connect(handler);
  const close = (): Promise<void> => {
    client.forceClose();
    return Promise.resolve();
  };
  return Promise.resolve({ client, close });
}

async function askByWire(handler: RPCHandler, maximumVersion: 1 | 2): Promise<ConnectedSource> {
  const [near, far] = memoryPair();
  const listening = ByteStreamRPC.listen(far, { clientIdentity: 'tester', handler, maximumVersion });
  // Whatever ends the connection shows at the asking side, too.
  const released = listening.catch(() => undefined);
  const client = await ByteStreamRPC.connect(near, { maximumVersion });
  return {
    client,
    async close() {
      client.forceClose();
      await released;
    },
  };
}

/** One step, as planning would name it. */
export interface StepOf {
  readonly from: FilesystemVersion | null;
  readonly to: FilesystemVersion;
}

/** What the parts of the suite do with a backend. */
export class BackendSession {
  readonly backend: TestBackend;
  readonly #way: SourceWay;
  readonly #open: ConnectedSource[] = [];

  constructor(backend: TestBackend, way: SourceWay) {
    this.backend = backend;
    this.#way = way;
  }

  /** A connection of its own to the source. */
  async connected(handler = this.backend.handler): Promise<SourceClient> {
    const connection = await this.#way.connect(handler);
    this.#open.push(connection);
    return connection.client;
  }

  /** The source's offer. */
  offer(
    client: SourceClient,
    { from, to }: StepOf,
    more: { readonly resumeToken?: string | undefined } = {},
    options: CallOptions = {},
  ): Promise<Transfer> {
    const request = { filesystem: this.backend.filesystem, ...more };
    if (from === null) return client.initialTransfer({ ...request, version: to }, options);
    return client.incrementalTransfer({ ...request, from, to }, options);
  }

  /** Gives an offer to the sink, in pieces that are good only while they are lent. */
  receive(
    { from, to }: StepOf,
    transfer: Transfer,
    bytes: TransferBytes = transfer.bytes,
    signal?: AbortSignal,
  ): Promise<ReceiveResult> {
    const { filesystem, sink } = this.backend;
    const { format, resumed } = transfer;
    return sink.receive({ filesystem, from, to, format, resumed }, lent(bytes), signal);
  }

  /** A whole transfer over a connection of its own. */
  async transfer(step: StepOf, resumeToken?: string): Promise<{ resumed: boolean; bytes: number }> {
    const transfer = await this.offer(await this.connected(), step, { resumeToken });
    let count = 0;
    const counted = passing(transfer.bytes, (piece) => (count += piece.byteLength));
    if (step.from === null) await this.backend.sink.createParents(this.backend.filesystem);
    await this.receive(step, transfer, counted);
    return { resumed: transfer.resumed, bytes: count };
  }

  /** Payload bytes that a transfer has when it is read to its end. */
  async wholeBytes(step: StepOf, resumeToken?: string): Promise<number> {
    const { bytes } = await this.offer(await this.connected(), step, { resumeToken });
    return (await collected(bytes)).byteLength;
  }

  /** What the target has, by name, each with its content. */
  async target(): Promise<{ name: string; guid: bigint; content: unknown }[]> {
    const { sink, filesystem } = this.backend;
    const versions = (await sink.filesystemVersions(filesystem)) ?? [];
    const contents = versions.map(async (version) => {
      const { name, guid } = version;
      return { name, guid, content: await this.backend.targetFingerprint(version) };
    });
    return Promise.all(contents);
  }

  /** The target has exactly these, oldest first, with the content they have at the source. */
  async expectTarget(...versions: readonly FilesystemVersion[]): Promise<void> {
    const expected = versions.map(async (version) => {
      const { name, guid } = version;
      return { name, guid, content: await this.backend.sourceFingerprint(version) };
    });
    expect(await this.target()).toEqual(await Promise.all(expected));
  }

  /** Waits until neither half holds anything; the test's own time limit is the only one. */
  async idle(): Promise<void> {
    while (!this.backend.isIdle()) await new Promise((resolve) => setImmediate(resolve));
  }

  /** The code of a source's error, as this way carries it. */
  code(code: string): string {
    return this.#way.version === 1 ? 'INTERNAL' : code;
  }

  async close(): Promise<void> {
    for (const connection of this.#open.splice(0)) await connection.close();
    await this.idle();
    await this.backend.close();
  }
}

/** A session for each test of the suite that this is called in. */
export function eachSession(makeBackend: () => Promise<TestBackend>, way: SourceWay): () => BackendSession {
  let session: BackendSession;
  beforeEach(async () => {
    session = new BackendSession(await makeBackend(), way);
  });
  afterEach(() => session.close());
  return () => session;
}

/** All of some bytes. */
export async function collected(bytes: TransferBytes): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of bytes) pieces.push(Buffer.from(piece.slice()));
  return Buffer.concat(pieces);
}

/** Bytes as they are; `see` is told each piece before it goes on and may throw. */
export async function* passing(bytes: TransferBytes, see: (piece: Uint8Array) => void): TransferBytes {
  for await (const piece of bytes) {
    const flat = piece.subarray();
    see(flat);
    yield flat;
  }
}

/** `good` of the bytes, and then what `fail` does. */
export async function* broken(bytes: TransferBytes, good: number, fail: () => void): TransferBytes {
  let rest = good;
  for await (const piece of bytes) {
    const flat = piece.subarray();
    if (flat.byteLength >= rest) {
      yield flat.subarray(0, rest);
      fail();
      return;
    }
    rest -= flat.byteLength;
    yield flat;
  }
}

/** Copies of pieces, every other one a list of two, that are overwritten once they are no longer lent. */
async function* lent(bytes: TransferBytes): TransferBytes {
  let isList = false;
  for await (const piece of bytes) {
    const copy = Uint8Array.from(piece.subarray());
    const half = copy.byteLength >> 1;
    isList = !isList;
    yield isList ? new Uint8ArrayList(copy.subarray(0, half), copy.subarray(half)) : copy;
    copy.fill(0xdd);
  }
}

import type { SnapferryError } from '../../src/errors.ts';
import { ByteStreamRPC, type ByteStreamRPCOptions, type ListenOptions } from '../../src/rpc/byte-stream-rpc.ts';
import type { RPCRequester } from '../../src/rpc/interfaces.ts';
import type { ByteStream } from '../../src/transport/byte-stream.ts';
import { memoryPair } from '../../src/transport/memory.ts';
import { memoryGauge, type MemoryGauge } from './held-memory.ts';
import { messageOf } from './scripted-peer.ts';

/**
 * A peer that means harm, at its end of a connection that holds 64 KiB: it sends exact bytes as fast as they are taken,
 * waits for patterns in what it gets, and can stop reading for good. Knows nothing of the protocol but the terminator.
 */
export class HostilePeer {
  readonly #stream: ByteStream;
  readonly #source: AsyncIterator<Uint8Array>;
  #received = Buffer.alloc(0);
  #receivedBytes = 0;
  #sentBytes = 0;
  #isReading = true;
  #hasEnded = false;
  #wake: () => void = () => undefined;

  constructor(stream: ByteStream) {
    this.#stream = stream;
    this.#source = stream.source[Symbol.asyncIterator]();
    void this.#read();
  }

  /** Bytes the other side has taken. */
  get sentBytes(): number {
    return this.#sentBytes;
  }

  /** Bytes the other side has sent, as far as they were read. */
  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** Sends bytes; false once the other side takes no more. */
  async send(bytes: Uint8Array): Promise<boolean> {
    try {
      await this.#stream.write(bytes);
    } catch {
      return false;
    }
    this.#sentBytes += bytes.byteLength;
    return true;
  }

  /** Sends `next(0)`, `next(1)`, … and samples memory now and then; how many of them were taken. */
  async flood(next: (index: number) => Uint8Array, count: number, gauge?: MemoryGauge): Promise<number> {
    const every = Math.max(1, Math.floor(count / 8));
    for (let index = 0; index < count; index++) {
      if (!(await this.send(next(index)))) return index;
      if (index % every === every - 1) await gauge?.sample();
    }
    return count;
  }

  /** Everything up to and including the next `pattern`; null if the connection ends before it comes. */
  async until(pattern: string | Uint8Array): Promise<Buffer | null> {
    for (;;) {
      const at = this.#received.indexOf(pattern);
      if (at >= 0) {
        const end = at + Buffer.from(pattern as string).byteLength;
        const found = this.#received.subarray(0, end);
        this.#received = this.#received.subarray(end);
        return found;
      }
      if (this.#hasEnded) return null;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** The JSON of the next message, whatever it is about; null if the connection ends before. */
  async message(): Promise<Record<string, unknown> | null> {
    const end = await this.until('\n\0\0\0\0');
    if (end === null) return null;
    // Lengths have zeros and JSON has none, and control chunks in front of the message are passed over with them.
    const json = end.subarray(end.lastIndexOf(0, -5) + 1, -4);
    return JSON.parse(json.toString()) as Record<string, unknown>;
  }

  /** Resolves when the other side has ended or dropped the connection. */
  async ended(): Promise<void> {
    while (!this.#hasEnded) await new Promise<void>((resolve) => (this.#wake = resolve));
  }

  /** Takes nothing any more. */
  stopReading(): void {
    this.#isReading = false;
  }

  /** Ends its own direction. */
  end(): void {
    void this.#stream.end();
  }

  /** Breaks the connection. */
  vanish(): void {
    this.#stream.abort(new Error('the hostile peer is gone'));
  }

  async #read(): Promise<void> {
    try {
      while (this.#isReading) {
        const next = await this.#source.next();
        if (next.done === true) break;
        this.#receivedBytes += next.value.byteLength;
        this.#received = Buffer.concat([this.#received, next.value]);
        this.#wake();
      }
    } catch {
      // Dropped is ended.
    }
    this.#hasEnded = this.#isReading;
    this.#wake();
  }
}

/** How a served connection ended: null in order. */
export type Served = Promise<SnapferryError | null>;

const quiet = { heartbeatMs: 3_600_000 } as const;

/** Our server and a hostile requester that has not said hello yet. */
export function besieged(options: ListenOptions): { peer: HostilePeer; served: Served } {
  const [ours, theirs] = memoryPair();
  const served = ByteStreamRPC.listen(ours, { ...quiet, ...options }).then(
    () => null,
    (error: unknown) => error as SnapferryError,
  );
  return { peer: new HostilePeer(theirs), served };
}

/** Our server, greeted by a hostile requester. */
export async function greeted(
  options: ListenOptions,
  hello: object = {},
): Promise<{ peer: HostilePeer; served: Served }> {
  const { peer, served } = besieged(options);
  const offer = { ClientVersion: 1, MaxVersion: 2, HeartbeatMs: 1, Digests: ['xxh64'], ...hello };
  await peer.send(Buffer.concat([messageOf({ Type: 1, Id: [] }), messageOf(offer)]));
  await peer.message();
  return { peer, served };
}

/** Our client saying hello to a hostile responder. */
export function lured(options: ByteStreamRPCOptions = {}): { peer: HostilePeer; connecting: Promise<RPCRequester> } {
  const [ours, theirs] = memoryPair();
  const connecting = ByteStreamRPC.connect(ours, { ...quiet, ...options });
  connecting.catch(() => undefined);
  return { peer: new HostilePeer(theirs), connecting };
}

/** Our client, connected in version 2 to a hostile responder. */
export async function trapped(
  options: ByteStreamRPCOptions = {},
  hello: object = {},
): Promise<{ peer: HostilePeer; client: RPCRequester }> {
  const { peer, connecting } = lured(options);
  const { Id: id } = (await peer.message()) as { Id: number[] };
  await peer.message();
  await peer.send(
    messageOf({ RequestId: id, ErrorId: 0, ResponseType: 1, Version: 2, HeartbeatMs: 1, Digest: 'xxh64', ...hello }),
  );
  return { peer, client: await connecting };
}

/** Reads our side's next request and gives its id. */
export async function nextId(peer: HostilePeer): Promise<number[]> {
  const header = (await peer.message()) as { Id: number[] } | null;
  await peer.message();
  return header?.Id ?? [];
}

/** A gauge for what an attack may cost. */
export const gauge = memoryGauge;

import { once } from 'node:events';
import { createServer, connect, type NetConnectOpts, type Server, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { Random } from './random.ts';

/** What happens to one direction of a connection on its way through the proxy. Offsets count the bytes of the direction. */
export interface LineFault {
  /** Each piece is late by so much. */
  readonly latencyMs?: number;
  /** Pieces are cut to at most this. */
  readonly chopBytesMax?: number;
  /** No faster than this. */
  readonly bytesPerMs?: number;
  /** Nothing passes any more from this offset on; after `resumeMs` it does again. */
  readonly stall?: { readonly atBytes: number; readonly resumeMs: number | null };
  /** The connection is reset, both ways, at this offset. */
  readonly resetAtBytes?: number;
  /** The bit of that number is flipped in the byte at this offset. */
  readonly flip?: { readonly atBytes: number; readonly bit: number };
}

/** What happens to one connection. */
export interface ProxyFault {
  readonly toServer: LineFault;
  readonly toClient: LineFault;
  /** A stall of one direction stalls the other with it. */
  readonly stallsBoth: boolean;
}

/** A line that does nothing to what passes. */
export const soundLine: ProxyFault = { toServer: {}, toClient: {}, stallsBoth: false };

/** Draws what happens to a connection that carries about `bytes` each way. */
export function drawFault(random: Random, bytes: number, kinds: readonly FaultKind[]): ProxyFault {
  const kind = random.pick(kinds);
  const [faulty, other] = [drawLine(random, bytes, kind), drawLine(random, bytes, 'slow')];
  const isToClient = random.chance(0.7);
  return {
    toServer: isToClient ? other : faulty,
    toClient: isToClient ? faulty : other,
    stallsBoth: random.chance(0.3),
  };
}

/** What is wrong with a line; `slow` is latency, small pieces or a narrow line, and nothing is lost. */
export type FaultKind = 'slow' | 'stall' | 'pause' | 'reset' | 'flip';

function drawLine(random: Random, bytes: number, kind: FaultKind): LineFault {
  // Small offsets are the hello and the planning; half of the faults go there.
  const atBytes = random.chance(0.5) ? random.below(2000) : random.below(bytes);
  const slow: LineFault = {
    ...(random.chance(0.3) ? { latencyMs: 1 + random.below(4) } : {}),
    ...(random.chance(0.3) ? { chopBytesMax: 50 + random.below(5000) } : {}),
    ...(random.chance(0.3) ? { bytesPerMs: 1000 + random.below(10_000) } : {}),
  };
  if (kind === 'stall') return { ...slow, stall: { atBytes, resumeMs: null } };
  if (kind === 'pause') return { ...slow, stall: { atBytes, resumeMs: random.below(100) } };
  if (kind === 'reset') return { ...slow, resetAtBytes: atBytes };
  if (kind === 'flip') return { ...slow, flip: { atBytes, bit: random.below(8) } };
  return slow;
}

/** A proxy between real processes; each connection through it suffers the fault that was set last. */
export interface FaultProxy {
  fault: ProxyFault;
  /** Ends all connections and accepts no more. */
  close(): Promise<void>;
}

/**
 * @param at where it listens: the path of a unix socket, or a port of 127.0.0.1
 * @param server where the connections go to
 */
export async function faultProxy(at: string | number, server: NetConnectOpts): Promise<FaultProxy> {
  const open = new Set<Socket>();
  const proxy = { fault: soundLine };
  const listening: Server = createServer({ allowHalfOpen: true }, (near) => {
    const far = connect({ ...server, allowHalfOpen: true });
    for (const socket of [near, far]) {
      open.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => open.delete(socket));
    }
    carryBoth(near, far, proxy.fault);
  });
  listening.listen(typeof at === 'string' ? { path: at } : { host: '127.0.0.1', port: at });
  await once(listening, 'listening');
  return {
    get fault() {
      return proxy.fault;
    },
    set fault(fault) {
      proxy.fault = fault;
    },
    async close() {
      for (const socket of open) socket.destroy();
      listening.close();
      await once(listening, 'close');
    },
  };
}

function carryBoth(near: Socket, far: Socket, fault: ProxyFault): void {
  const stall = { isOn: false };
  const reset = (): void => {
    for (const socket of [near, far]) {
      // A unix socket knows no reset; its end comes without warning all the same.
      if (socket.remoteFamily === undefined) socket.destroy();
      else socket.resetAndDestroy();
    }
  };
  const lines: [Socket, Socket, LineFault][] = [
    [near, far, fault.toServer],
    [far, near, fault.toClient],
  ];
  for (const [from, to, line] of lines) {
    new Line(to, line, { stall, stallsBoth: fault.stallsBoth, reset }).carry(from).catch(() => {
      from.destroy();
      to.destroy();
    });
  }
}

interface Shared {
  readonly stall: { isOn: boolean };
  readonly stallsBoth: boolean;
  readonly reset: () => void;
}

/** One direction of one connection. */
class Line {
  readonly #to: Socket;
  readonly #fault: LineFault;
  readonly #shared: Shared;
  #offset = 0;
  #hasStalled = false;

  constructor(to: Socket, fault: LineFault, shared: Shared) {
    this.#to = to;
    this.#fault = fault;
    this.#shared = shared;
  }

  async carry(from: Socket): Promise<void> {
    for await (const piece of from as AsyncIterable<Buffer>) {
      for (const part of this.#parts(piece)) await this.#pass(part);
    }
    this.#to.end();
  }

  /** Cut so that every offset at which something happens begins a part. */
  *#parts(piece: Buffer): Generator<Buffer> {
    const { chopBytesMax = Infinity, stall, resetAtBytes, flip } = this.#fault;
    const places = [stall?.atBytes, resetAtBytes, flip?.atBytes].filter((place) => place !== undefined);
    for (let rest = piece; rest.length > 0;) {
      const next = places.map((place) => place - this.#offset).filter((distance) => distance > 0);
      const part = rest.subarray(0, Math.min(chopBytesMax, ...next, rest.length));
      rest = rest.subarray(part.length);
      yield part;
    }
  }

  async #pass(part: Buffer): Promise<void> {
    const { latencyMs = 0, bytesPerMs = Infinity, stall, resetAtBytes, flip } = this.#fault;
    if (latencyMs > 0) await delay(latencyMs);
    if (stall?.atBytes === this.#offset && !this.#hasStalled) await this.#stall(stall.resumeMs);
    while (this.#shared.stallsBoth && this.#shared.stall.isOn) await delay(5, undefined, { ref: false });
    if (resetAtBytes === this.#offset) this.#shared.reset();
    const sent = Buffer.from(part);
    if (flip?.atBytes === this.#offset) sent[0]! ^= 1 << flip.bit;
    this.#offset += part.length;
    if (bytesPerMs !== Infinity) await delay(part.length / bytesPerMs);
    if (!this.#to.write(sent)) await Promise.race([once(this.#to, 'drain'), once(this.#to, 'close')]);
  }

  async #stall(resumeMs: number | null): Promise<void> {
    this.#hasStalled = true;
    this.#shared.stall.isOn = true;
    // A line that is dead stays so until its sockets are destroyed.
    if (resumeMs === null) await once(this.#to, 'close');
    else await delay(resumeMs);
    this.#shared.stall.isOn = false;
  }
}

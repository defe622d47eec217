import { EventEmitter, once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import { nodeByteStream } from '../../src/transport/node-streams.ts';
import { ReadRing } from '../../src/transport/read-ring.ts';
import type { ReadRingOptions } from '../../src/transport/read-ring.ts';
import { describeTransport } from '../conformance/transport.ts';
import type { TransportPair } from '../conformance/transport.ts';

/** Two connected sockets, the first of which receives into a ring that spoils what it gets back. */
async function ringPair(options: ReadRingOptions = {}): Promise<TransportPair & { far: Socket }> {
  const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const ring = new ReadRing({ poison: true, ...options });
  const { port } = server.address() as AddressInfo;
  const near = connect({ port, host: '127.0.0.1', allowHalfOpen: true, onread: ring.onread });
  ring.feedFrom(near);
  const [[far]] = (await Promise.all([once(server, 'connection'), once(near, 'connect')])) as [[Socket], unknown];
  const stream = (socket: Socket, description: string, incoming?: ReadRing['incoming']) =>
    nodeByteStream({
      readable: socket,
      writable: socket,
      description,
      onAbort: () => socket.resetAndDestroy(),
      ...(incoming !== undefined && { incoming }),
    });
  return {
    far,
    a: stream(far, 'far'),
    b: stream(near, 'near', ring.incoming),
    cleanup: () => Promise.resolve(server.close()).then(() => undefined),
  };
}

describeTransport('a socket read through a ring', () => ringPair());
describeTransport('a socket read through a ring that gathers', () => ringPair({ gatheredBytesMax: 16 * 1024 }));

describeTransport('a socket read through a ring, the other way round', async () => {
  const { a, b, cleanup } = await ringPair();
  return { a: b, b: a, ...(cleanup !== undefined && { cleanup }) };
});

test('a piece is good until the next is asked for, and its slice is a copy', async () => {
  const { a, b, cleanup } = await ringPair();
  const source = b.source[Symbol.asyncIterator]();
  const pieces: { kept: Uint8Array; copied: Uint8Array }[] = [];
  for (const word of ['one', 'two', 'three', 'four', 'five', 'six']) {
    await a.write(Buffer.from(word));
    const kept = (await source.next()).value as Uint8Array;
    expect(Buffer.from(kept).toString()).toBe(word);
    pieces.push({ kept, copied: kept.slice() });
  }
  expect(pieces.map(({ copied }) => Buffer.from(copied).toString())).toEqual([
    'one',
    'two',
    'three',
    'four',
    'five',
    'six',
  ]);
  expect([...pieces[0]!.kept]).not.toEqual([...Buffer.from('one')]);
  await Promise.all([a.close(), b.close()]);
  await cleanup?.();
});

test('a slow reader holds no more than the ring', async () => {
  const { a, b, far, cleanup } = await ringPair();
  const source = b.source[Symbol.asyncIterator]();
  const buffers = new Set<ArrayBufferLike>();
  const total = 16 * 1024 * 1024;
  const writing = (async () => {
    const block = new Uint8Array(256 * 1024);
    for (let sentBytes = 0; sentBytes < total; sentBytes += block.byteLength) await a.write(block);
    await a.end();
  })();
  let receivedBytes = 0;
  for (;;) {
    const result = await source.next();
    if (result.done === true) break;
    receivedBytes += result.value.byteLength;
    buffers.add(result.value.buffer);
    if (receivedBytes % 7 === 0) await nextTurn();
  }
  await writing;
  expect(receivedBytes).toBe(total);
  expect(far.bytesWritten).toBe(total);
  expect(buffers.size).toBeLessThanOrEqual(4);
  await Promise.all([a.close(), b.close()]);
  await cleanup?.();
});

test('what one turn of the event loop brings becomes one piece, also right before the end', async () => {
  const ring = new ReadRing({ gatheredBytesMax: 16, poison: true });
  const socket = new EventEmitter();
  ring.feedFrom(socket as unknown as Socket);
  const receive = (text: string): boolean => {
    const target = (ring.onread.buffer as () => Uint8Array)();
    return ring.onread.callback(Buffer.from(text).copy(target), target);
  };
  const source = ring.incoming.iterator();
  const next = async (): Promise<string> => Buffer.from((await source.next()).value as Uint8Array).toString();
  const first = next();
  expect(['one ', 'two ', 'three'].map(receive)).toEqual([true, true, true]);
  expect(await first).toBe('one two three');
  receive('four');
  expect(await next()).toBe('four');
  expect(receive('longer than what is gathered')).toBe(true);
  expect(await next()).toBe('longer than what is gathered');
  receive('the last');
  socket.emit('end');
  ring.incoming.end();
  expect(await next()).toBe('the last');
  expect(await source.next()).toMatchObject({ done: true });
});

test('gathering ends where a buffer does, and pauses when all are lent', async () => {
  const gatheredBytesMax = 16 * 1024;
  const ring = new ReadRing({ gatheredBytesMax, poison: true });
  const resume = vi.fn();
  ring.feedFrom(Object.assign(new EventEmitter(), { resume }) as unknown as Socket);
  const receive = (): boolean => {
    const target = (ring.onread.buffer as () => Uint8Array)();
    return ring.onread.callback(gatheredBytesMax, target.fill(7, 0, gatheredBytesMax));
  };
  let records = 1;
  while (receive()) records += 1;
  expect(records).toBe(48);
  const source = ring.incoming.iterator();
  let bytes = 0;
  while (bytes < 48 * gatheredBytesMax) {
    const piece = (await source.next()).value as Uint8Array;
    expect(piece.every((byte) => byte === 7)).toBe(true);
    bytes += piece.byteLength;
  }
  expect(resume).toHaveBeenCalledTimes(1);
});

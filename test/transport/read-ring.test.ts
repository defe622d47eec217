import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { nodeByteStream } from '../../src/transport/node-streams.ts';
import { ReadRing } from '../../src/transport/read-ring.ts';
import { describeTransport } from '../conformance/transport.ts';
import type { TransportPair } from '../conformance/transport.ts';

/** Two connected sockets, the first of which receives into a ring that spoils what it gets back. */
async function ringPair(): Promise<TransportPair & { far: Socket }> {
  const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const ring = new ReadRing(true);
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

describeTransport('a socket read through a ring', ringPair);

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

import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { Duplex, PassThrough, Readable, Writable } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Uint8ArrayList } from 'uint8arraylist';
import { describe, expect, test } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import type { ByteStream } from '../../src/transport/byte-stream.ts';
import { nodeByteStream } from '../../src/transport/node-streams.ts';
import { describeTransport } from '../conformance/transport.ts';

async function tcpSockets(): Promise<{ near: Socket; far: Socket; stop: () => void }> {
  const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const near = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
  const [[far]] = (await Promise.all([once(server, 'connection'), once(near, 'connect')])) as [[Socket], unknown];
  return { near, far, stop: () => server.close() };
}

const over = (socket: Socket): ByteStream =>
  nodeByteStream({
    readable: socket,
    writable: socket,
    description: 'test socket',
    onAbort: () => socket.resetAndDestroy(),
  });

describeTransport('Node streams: one duplex', async () => {
  const { near, far, stop } = await tcpSockets();
  return { a: over(near), b: over(far), cleanup: () => Promise.resolve().then(stop) };
});

describeTransport('Node streams: two streams', () => {
  const [there, back] = [new PassThrough(), new PassThrough()];
  return Promise.resolve({
    a: nodeByteStream({ readable: back, writable: there, description: 'a' }),
    b: nodeByteStream({ readable: there, writable: back, description: 'b' }),
  });
});

/** Unlike `once`, which takes an error for an answer. */
function closeOf(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}

async function failureOf(promise: Promise<unknown>): Promise<SnapferryError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof SnapferryError) return error;
    throw error;
  }
  throw new Error('it was expected to fail');
}

describe('a connection that breaks', () => {
  test('tells reader, writer and close, with the cause kept', async () => {
    const { near, far, stop } = await tcpSockets();
    const stream = over(near);
    const reading = failureOf(stream.source[Symbol.asyncIterator]().next());
    far.resetAndDestroy();
    const failure = await reading;
    expect(failure.code).toBe('CONNECTION_LOST');
    expect(failure.message).toContain('test socket');
    expect(failure.cause).toMatchObject({ code: 'ECONNRESET' });
    expect(await failureOf(stream.write(Buffer.from('x')))).toMatchObject({ code: 'CONNECTION_LOST' });
    expect(await failureOf(stream.end())).toMatchObject({ code: 'CONNECTION_LOST' });
    expect(await failureOf(stream.close())).toMatchObject({ code: 'CONNECTION_LOST' });
    stop();
  });

  test('what had arrived before is still read', async () => {
    const { near, far, stop } = await tcpSockets();
    const stream = over(near);
    const source = stream.source[Symbol.asyncIterator]();
    // The first piece sets the reading in motion, so that the second is taken in without being asked for.
    far.write('first');
    expect(Buffer.from((await source.next()).value as Uint8Array).toString()).toBe('first');
    far.write('second');
    while (near.bytesRead < 11) await nextTurn();
    far.resetAndDestroy();
    await closeOf(near);
    expect(Buffer.from((await source.next()).value as Uint8Array).toString()).toBe('second');
    expect((await failureOf(source.next())).code).toBe('CONNECTION_LOST');
    await failureOf(stream.close());
    stop();
  });

  test('nobody looking: no error goes uncaught', async () => {
    const { near, far, stop } = await tcpSockets();
    const stream = over(near);
    near.on('close', () => near.emit('error', new Error('one more, after the end')));
    const closed = closeOf(near);
    void stream.write(new Uint8Array(8 * 1024 * 1024)).catch(() => undefined);
    far.resetAndDestroy();
    await closed;
    await nextTurn();
    await failureOf(stream.close());
    stop();
  });

  test('a stream destroyed behind our back is a lost connection, not an end', async () => {
    const readable = new PassThrough();
    const stream = nodeByteStream({ readable, writable: new PassThrough(), description: 'pair' });
    const reading = failureOf(stream.source[Symbol.asyncIterator]().next());
    readable.destroy();
    expect((await reading).message).toContain('closed before the peer had ended it');
    stream.abort(new Error('enough'));
    await stream.close();
  });
});

describe('writing', () => {
  test('the pieces of a list reach the system in one call, uncopied', async () => {
    const calls: Uint8Array[][] = [];
    const writable = new Writable({
      writev: (chunks, done) => {
        calls.push(chunks.map(({ chunk }) => chunk as Uint8Array));
        done();
      },
    });
    const stream = nodeByteStream({ readable: Readable.from([]), writable, description: 'pair' });
    const [header, payload] = [Buffer.from([4, 0, 0, 0]), Buffer.from('data')];
    await stream.write(new Uint8ArrayList(header, payload));
    expect(calls).toHaveLength(1);
    // Node may wrap a piece in a Buffer of its own, over the same memory.
    expect(calls[0]?.map((piece) => [piece.buffer, piece.byteOffset])).toEqual([
      [header.buffer, header.byteOffset],
      [payload.buffer, payload.byteOffset],
    ]);
    await stream.close();
  });

  test('a write waits only when the stream says so', async () => {
    const done: (() => void)[] = [];
    const writable = new Writable({ highWaterMark: 100, write: (_chunk, _encoding, callback) => done.push(callback) });
    const stream = nodeByteStream({ readable: Readable.from([]), writable, description: 'pair' });
    await stream.write(new Uint8Array(99));
    let finished = false;
    const second = stream.write(new Uint8Array(1)).then(() => (finished = true));
    await nextTurn();
    expect(finished).toBe(false);
    done.shift()?.();
    await nextTurn();
    done.shift()?.();
    await second;
    stream.abort(new Error('enough'));
    await stream.close();
  });
});

describe('closing', () => {
  test('a peer that never ends is waited for a while only; everything was written, so that is in order', async () => {
    const { near, far, stop } = await tcpSockets();
    const stream = nodeByteStream({ readable: near, writable: near, description: 'test socket', lingerMs: 10 });
    await stream.close();
    far.destroy();
    stop();
  });

  test('a peer that reads nothing is waited for a while only; what it did not take is reported', async () => {
    const stuck = new Duplex({ read: () => undefined, write: () => undefined });
    const stream = nodeByteStream({ readable: stuck, writable: stuck, description: 'stuck', lingerMs: 10 });
    await stream.write(Buffer.from('unread'));
    expect((await failureOf(stream.close())).message).toContain('did not read all');
  });

  test('no listener is left', async () => {
    const { near, far, stop } = await tcpSockets();
    const before = near.eventNames().map((name) => [name, near.listenerCount(name)] as const);
    const [a, b] = [over(near), over(far)];
    await a.write(Buffer.from('x'));
    const source = b.source[Symbol.asyncIterator]();
    await source.next();
    await Promise.all([a.close(), b.close()]);
    for (const name of near.eventNames()) {
      // The one for errors stays, so that a late one is not an uncaught exception.
      const allowed = (before.find(([known]) => known === name)?.[1] ?? 0) + (name === 'error' ? 1 : 0);
      expect(near.listenerCount(name), String(name)).toBeLessThanOrEqual(allowed);
    }
    stop();
  });

  test('ten thousand writes and reads add no listeners', async () => {
    const { near, far, stop } = await tcpSockets();
    const [a, b] = [over(near), over(far)];
    const counts = (): number => near.eventNames().reduce((sum, name) => sum + near.listenerCount(name), 0);
    const source = b.source[Symbol.asyncIterator]();
    const reading = (async () => {
      while ((await source.next()).done !== true);
    })();
    await a.write(Buffer.from('x'));
    const before = counts();
    for (let index = 0; index < 10_000; index += 1) await a.write(new Uint8Array(1000));
    expect(counts()).toBe(before);
    await a.end();
    await reading;
    await Promise.all([a.close(), b.close()]);
    stop();
  });
});

test('two reads at the same time are refused', async () => {
  const stream = nodeByteStream({ readable: new PassThrough(), writable: new PassThrough(), description: 'pair' });
  const source = stream.source[Symbol.asyncIterator]();
  const first = failureOf(source.next());
  expect((await failureOf(source.next())).code).toBe('INTERNAL');
  stream.abort(new SnapferryError('CANCELLED', 'enough'));
  expect((await first).code).toBe('CANCELLED');
  await stream.close();
});

import { expect, test } from 'vitest';
import { memoryPair } from '../../src/transport/memory.ts';
import { describeTransport } from '../conformance/transport.ts';

describeTransport('memory', () => {
  const [a, b] = memoryPair();
  return Promise.resolve({ a, b });
});

describeTransport('memory, poisoned', () => {
  const [a, b] = memoryPair({ poison: true });
  return Promise.resolve({ a, b });
});

test('a poisoned pair spoils what is kept beyond the next read, and not what was written', async () => {
  const [a, b] = memoryPair({ poison: true });
  const written = Buffer.from('first');
  await a.write(written);
  await a.end();
  const source = b.source[Symbol.asyncIterator]();
  const kept = (await source.next()).value as Uint8Array;
  expect(Buffer.from(kept).toString()).toBe('first');
  await source.next();
  expect([...kept]).toEqual([0xdb, 0xdb, 0xdb, 0xdb, 0xdb]);
  expect(written.toString()).toBe('first');
});

test('a direction holds no more than its buffer', async () => {
  const [a, b] = memoryPair({ bufferBytesMax: 10 });
  const order: string[] = [];
  await a.write(new Uint8Array(9));
  const second = a.write(new Uint8Array(1)).then(() => order.push('second write done'));
  const source = b.source[Symbol.asyncIterator]();
  order.push('read');
  await source.next();
  await second;
  expect(order).toEqual(['read', 'second write done']);
});

test('an endless transfer leaves the event loop its turns', async () => {
  const [a, b] = memoryPair();
  let stop = false;
  setTimeout(() => (stop = true), 1);
  const reading = (async () => {
    for await (const piece of b.source) if (piece.byteLength === 0) break;
  })();
  const block = new Uint8Array(64 * 1024);
  while (!(stop as boolean)) await a.write(block);
  await a.end();
  await reading;
  expect(stop).toBe(true);
});

test('the ends carry the names they were given', async () => {
  const [a, b] = memoryPair({ descriptions: ['left', 'right'] });
  expect([a.description, b.description]).toEqual(['left', 'right']);
  a.abort(new Error('enough'));
  await expect(b.write(new Uint8Array(1))).rejects.toThrow('the peer aborted');
});

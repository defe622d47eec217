import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { LineWriter } from '../../src/daemon/line-writer.ts';
import { memoryPair } from '../../src/transport/memory.ts';
import type { ByteStream } from '../../src/transport/byte-stream.ts';

const never = new AbortController().signal;

async function linesOf(stream: ByteStream, until: (line: string) => boolean): Promise<string[]> {
  const found: string[] = [];
  let rest = '';
  for await (const piece of stream.source) {
    rest += Buffer.from(piece).toString();
    const lines = rest.split('\n');
    rest = lines.pop() ?? '';
    found.push(...lines);
    if (lines.some(until)) break;
  }
  return found;
}

describe('a client', () => {
  test('gets every line in order, whenever they are added', async () => {
    const [near, far] = memoryPair();
    const writer = new LineWriter(near, never);
    const read = linesOf(far, (line) => line === '299');
    for (let index = 0; index < 300; index++) {
      writer.add(String(index));
      if (index % 7 === 0) await delay(0);
    }
    expect(await read).toEqual(Array.from({ length: 300 }, (_, index) => String(index)));
    await writer.drained();
    far.abort(new Error('enough'));
    await writer.ended;
  });

  test('that takes nothing holds nobody up, and is told what it has missed', async () => {
    const [near, far] = memoryPair({ bufferBytesMax: 1024 });
    const writer = new LineWriter(near, never);
    for (let index = 0; index < 20_000; index++) {
      writer.add(`line ${index} ${'x'.repeat(100)}`);
      if (index % 1000 === 0) await delay(0);
    }
    const found = await linesOf(far, (line) => line.startsWith('line 19999'));
    expect(found.length).toBeLessThan(12_000);
    expect(found.find((line) => line.includes('were left out'))).toMatch(
      /^\{"level":40,"msg":"\d+ lines were left out"\}$/,
    );
    far.abort(new Error('enough'));
    await writer.ended;
  });

  test('gets the newest of what replaces each other', async () => {
    const [near, far] = memoryPair();
    const writer = new LineWriter(near, never);
    let made = 0;
    for (let index = 0; index < 100; index++) {
      writer.replace(() => {
        made++;
        return `state ${index}`;
      });
    }
    expect(await linesOf(far, () => true)).toEqual(['state 99']);
    expect(made).toBe(1);
    far.abort(new Error('enough'));
    await writer.ended;
  });

  test('that leaves, or a signal, ends it', async () => {
    const [near, far] = memoryPair();
    const left = new LineWriter(near, never);
    await far.end();
    await left.ended;
    const controller = new AbortController();
    const [other] = memoryPair();
    const stopped = new LineWriter(other, controller.signal);
    controller.abort();
    await stopped.ended;
  });
});

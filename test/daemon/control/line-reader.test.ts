import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LineReader } from '../../../src/daemon/control/line-reader.ts';

/** Pieces that are only lent: each is overwritten when the next one is asked for. */
async function* lent(pieces: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const piece of pieces) {
    const buffer = new Uint8Array(piece);
    yield await Promise.resolve(buffer);
    buffer.fill(0xdb);
  }
}

function cut(bytes: Uint8Array, at: readonly number[]): Uint8Array[] {
  const ends = [...at.map((place) => place % (bytes.byteLength + 1)), bytes.byteLength].sort((a, b) => a - b);
  return ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end));
}

async function linesOf(pieces: readonly Uint8Array[], bytesMax: number): Promise<string[]> {
  const reader = new LineReader(lent(pieces));
  const found: string[] = [];
  for (;;) {
    const next = await reader.line(bytesMax);
    found.push(next.kind === 'line' ? `=${Buffer.from(next.line).toString('latin1')}` : next.kind);
    if (next.kind === 'end' || next.kind === 'cut') return found;
  }
}

describe('LineReader', () => {
  test('finds the same lines however the bytes are cut', async () => {
    const letters = fc.constantFrom('a', 'b', '\r', '\n', '\n');
    const input = fc.array(letters, { maxLength: 60 }).map((all) => all.join(''));
    await fc.assert(
      fc.asyncProperty(
        input,
        fc.array(fc.nat(), { maxLength: 20 }),
        fc.integer({ min: 0, max: 6 }),
        async (text, at, max) => {
          const lines = text.split('\n');
          const last = lines.pop()!;
          const expected = lines.map((line) => (line.length > max ? 'tooLong' : `=${line}`));
          expected.push(last === '' ? 'end' : 'cut');
          expect(await linesOf(cut(Buffer.from(text), at), max)).toEqual(expected);
        },
      ),
    );
  });

  test('keeps nothing of a line that is too long', async () => {
    let pulled = 0;
    async function* endless(): AsyncGenerator<Uint8Array> {
      while (pulled++ < 2000) yield await Promise.resolve(Buffer.alloc(64 * 1024, 0x61));
      yield Buffer.from('\n{}\n');
    }
    const before = process.memoryUsage().arrayBuffers;
    const reader = new LineReader(endless());
    expect(await reader.line(100)).toEqual({ kind: 'tooLong' });
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(125 * 1024 * 1024);
    expect(await reader.line(100)).toEqual({ kind: 'line', line: Buffer.from('{}') });
  });

  test('gives away the rest, with what has already arrived', async () => {
    const reader = new LineReader(lent([Buffer.from('one\ntw'), Buffer.from('o\nthree')]));
    expect(await reader.line(10)).toMatchObject({ kind: 'line' });
    const rest: string[] = [];
    for await (const piece of reader.rest()) rest.push(Buffer.from(piece).toString());
    expect(rest.join('')).toBe('two\nthree');
  });

  test('a fill that waits is everybody’s', async () => {
    const reader = new LineReader(lent([Buffer.from('x\n')]));
    const [one, other, line] = await Promise.all([reader.fill(), reader.fill(), reader.line(10)]);
    expect([one, other, line.kind]).toEqual([true, true, 'line']);
    expect(await reader.fill()).toBe(false);
    expect(await reader.fill()).toBe(false);
  });

  test('passes on what the source throws', async () => {
    async function* broken(): AsyncGenerator<Uint8Array> {
      await Promise.resolve();
      throw new Error('snapped');
    }
    await expect(new LineReader(broken()).line(10)).rejects.toThrow('snapped');
  });
});

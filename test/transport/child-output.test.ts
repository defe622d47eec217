import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { childOutput } from '../../src/transport/child-output.ts';
import { connectCommand } from '../../src/transport/command.ts';

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'snapferry-test-'));
  vi.stubEnv('TMPDIR', directory);
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(directory, { recursive: true });
});

const shell = (script: string) => connectCommand({ description: 'the command', argv: ['/bin/sh', '-c', script] });

/** Reads to the end, however slowly; says how much came and from how many buffers. */
async function readSlowly(source: AsyncIterable<Uint8Array>): Promise<{ bytes: number; buffers: number }> {
  const buffers = new Set<ArrayBufferLike>();
  let bytes = 0;
  for await (const piece of source) {
    bytes += piece.byteLength;
    buffers.add(piece.buffer);
    for (let turns = 0; turns < 5; turns++) await nextTurn();
  }
  return { bytes, buffers: buffers.size };
}

const openSockets = (): number => process.getActiveResourcesInfo().filter((name) => name === 'PipeWrap').length;

test('a pair is connected, half of it for the child, and leaves nothing in the file system', async () => {
  const output = await childOutput();
  output!.childEnd.end('one way');
  const pieces: string[] = [];
  for (const iterator = output!.incoming.iterator(); pieces.join('') !== 'one way';) {
    pieces.push(Buffer.from(((await iterator.next()) as { value: Uint8Array }).value).toString());
  }
  output!.readable.destroy();
  output!.childEnd.destroy();
  expect(await readdir(directory)).toEqual([]);
});

test('a child that does not know sockets that refuse writes a lot into one that is read slowly', async () => {
  const stream = await shell('dd if=/dev/zero bs=65536 count=256 2>&1 || exit 1');
  const { bytes, buffers } = await readSlowly(stream.source);
  await stream.close();
  expect(bytes).toBeGreaterThanOrEqual(256 * 65_536);
  expect(buffers).toBeLessThanOrEqual(4);
});

test('without a place for a socket there is a pipe, which does the same', async () => {
  vi.stubEnv('TMPDIR', join(directory, 'missing'));
  expect(await childOutput()).toBeUndefined();
  const stream = await shell('dd if=/dev/zero bs=65536 count=16 2>/dev/null');
  expect((await readSlowly(stream.source)).bytes).toBe(16 * 65_536);
  await stream.close();
});

test('a path too long for a socket is no obstacle either', async () => {
  vi.stubEnv('TMPDIR', join(directory, 'x'.repeat(120)));
  expect(await childOutput()).toBeUndefined();
});

test.each([
  ['a program that is missing', { argv: ['/no/such/program'] as const }],
  ['a signal that has fired', { argv: ['/bin/true'] as const, signal: AbortSignal.abort() }],
  ['an environment that is impossible', { argv: ['/bin/true'] as const, env: { A: 'a\0b' } }],
])('%s leaves no socket behind', async (_, options) => {
  const before = openSockets();
  await expect(connectCommand(options)).rejects.toMatchObject({ name: 'SnapferryError' });
  while (openSockets() > before) await nextTurn();
  expect(await readdir(directory)).toEqual([]);
});

import { mkdtempSync } from 'node:fs';
import { chmod, lstat, mkdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type { ByteStream } from '../../src/transport/byte-stream.ts';
import { connectUnix, listenUnix, unixPathBytesMax } from '../../src/transport/unix.ts';
import { describeTransport } from '../conformance/transport.ts';

const directory = mkdtempSync(join(tmpdir(), 'snapferry-unix-'));
afterAll(() => rm(directory, { recursive: true }));

let counter = 0;
const freshPath = (): string => join(directory, `socket-${(counter += 1)}`);

describeTransport(
  'unix',
  async () => {
    const path = freshPath();
    let accepted: (stream: ByteStream) => void = () => undefined;
    const arrival = new Promise<ByteStream>((resolve) => (accepted = resolve));
    const listener = await listenUnix(path, (stream) => accepted(stream));
    const a = await connectUnix(path);
    const b = await arrival;
    return { a, b, cleanup: () => listener.close() };
  },
  { abortLooksLikeEnd: true },
);

/** A socket file nobody listens on, as a killed server leaves it. */
function leaveDeadSocket(path: string): void {
  const program = `require('net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`;
  spawnSync(process.execPath, ['-e', program, path]);
}

describe('listenUnix', () => {
  test('the socket is for its owner alone, and is gone after the close', async () => {
    const path = freshPath();
    const listener = await listenUnix(path, () => undefined);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(listener.description).toBe(`unix ${path}`);
    await listener.close();
    await listener.close();
    await listener.closed;
    await expect(lstat(path)).rejects.toThrow('ENOENT');
  });

  test('a dead socket is replaced', async () => {
    const path = freshPath();
    leaveDeadSocket(path);
    expect((await lstat(path)).isSocket()).toBe(true);
    await expect(connectUnix(path)).rejects.toMatchObject({ code: 'CONNECT_FAILED' });
    await using listener = await listenUnix(path, (stream) => stream.close());
    const stream = await connectUnix(path);
    await stream.close();
    expect(listener.description).toContain(path);
  });

  test('a living socket is not replaced', async () => {
    const path = freshPath();
    await using first = await listenUnix(path, (stream) => stream.close());
    await expect(listenUnix(path, () => undefined)).rejects.toMatchObject({ code: 'BUSY' });
    const stream = await connectUnix(path);
    await stream.close();
    expect(first.description).toContain(path);
  });

  test('many starting at once: one listens, the others are told', async () => {
    const path = freshPath();
    leaveDeadSocket(path);
    const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => listenUnix(path, () => undefined)));
    const listeners = outcomes.filter((outcome) => outcome.status === 'fulfilled');
    const refusals = outcomes.filter((outcome) => outcome.status === 'rejected');
    expect(listeners).toHaveLength(1);
    for (const refusal of refusals) expect(refusal.reason).toMatchObject({ code: 'BUSY' });
    for (const listener of listeners) await listener.value.close();
  });

  test('a lock left by a killed process does not block for ever', async () => {
    const path = freshPath();
    await writeFile(`${path}.lock`, '');
    const longAgo = new Date(Date.now() - 60_000);
    await utimes(`${path}.lock`, longAgo, longAgo);
    await using listener = await listenUnix(path, () => undefined);
    expect(listener.description).toContain(path);
    await expect(stat(`${path}.lock`)).rejects.toThrow('ENOENT');
  });

  test('what is not a socket is left alone', async () => {
    const path = freshPath();
    await writeFile(path, 'precious');
    await expect(listenUnix(path, () => undefined)).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
    expect((await stat(path)).size).toBe(8);
  });

  test('a directory that others may write to is refused', async () => {
    const open = join(directory, 'open');
    await mkdir(open);
    await chmod(open, 0o777);
    const refused = listenUnix(join(open, 's'), () => undefined);
    await expect(refused).rejects.toMatchObject({ code: 'ACCESS_DENIED' });
    await expect(refused).rejects.toThrow('others may write to it');
    await chmod(open, 0o755);
    await using listener = await listenUnix(join(open, 's'), () => undefined);
    expect(listener.description).toContain('/open/s');
  });

  test('a path that does not fit is refused with its length, one that just fits is not', async () => {
    const room = unixPathBytesMax - Buffer.byteLength(directory) - 1;
    const fits = join(directory, 'x'.repeat(room));
    await using listener = await listenUnix(fits, () => undefined);
    expect(listener.description).toContain(fits);
    await expect(listenUnix(`${fits}x`, () => undefined)).rejects.toThrow(`has ${unixPathBytesMax + 1}`);
    await expect(connectUnix(`${fits}x`)).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  });

  test('a connection whose owner throws is dropped, and the next one is served', async () => {
    const path = freshPath();
    let first = true;
    await using listener = await listenUnix(path, async (stream) => {
      if (first) {
        first = false;
        throw new Error('the first one fails');
      }
      await stream.write(Buffer.from('served'));
      await stream.close();
    });
    const dropped = await connectUnix(path);
    const nothing: Uint8Array[] = [];
    for await (const piece of dropped.source) nothing.push(piece);
    expect(nothing).toEqual([]);
    await dropped.close();
    const served = await connectUnix(path);
    const answer: Uint8Array[] = [];
    for await (const piece of served.source) answer.push(Buffer.from(piece));
    expect(Buffer.concat(answer).toString()).toBe('served');
    await served.close();
    expect(listener.description).toContain(path);
  });
});

describe('connectUnix', () => {
  test('says what to look at when nothing is there', async () => {
    const attempt = connectUnix(freshPath());
    await expect(attempt).rejects.toMatchObject({ code: 'CONNECT_FAILED', retryable: true });
    await expect(attempt).rejects.toThrow('is the server running?');
  });

  test('gives up when its signal fires', async () => {
    const path = freshPath();
    const server = createServer().listen(path);
    await once(server, 'listening');
    await expect(connectUnix(path, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'CANCELLED' });
    server.close();
  });
});

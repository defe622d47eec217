import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { ByteStream } from '../../src/transport/byte-stream.ts';
import { inheritedSockets } from '../../src/transport/inherited-sockets.ts';
import type { Peer } from '../../src/transport/listener.ts';
import { connectTCP, listenTCP } from '../../src/transport/tcp.ts';
import { describeTransport } from '../conformance/transport.ts';

const loopback = { host: '127.0.0.1', port: 0 };

describeTransport('tcp', async () => {
  let accepted: (stream: ByteStream) => void = () => undefined;
  const arrival = new Promise<ByteStream>((resolve) => (accepted = resolve));
  const listener = await listenTCP(loopback, (stream) => accepted(stream), { identities: { '127.0.0.1': 'me' } });
  const a = await connectTCP({ host: '127.0.0.1', port: listener.port });
  return { a, b: await arrival, cleanup: () => listener.close() };
});

async function readAll(stream: ByteStream): Promise<string> {
  const pieces: Uint8Array[] = [];
  for await (const piece of stream.source) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces).toString();
}

describe('listenTCP', () => {
  test('gives a peer the identity of its address', async () => {
    let seen: Peer | undefined;
    const listener = await listenTCP(
      loopback,
      async (stream, peer) => {
        seen = peer;
        await stream.close();
      },
      { identities: { '127.0.0.0/8': 'loopback' } },
    );
    const stream = await connectTCP({ host: 'localhost', port: listener.port });
    await readAll(stream);
    await stream.close();
    expect(seen?.identity).toBe('loopback');
    expect(seen?.address).toMatch(/^127\.0\.0\.1:\d+$/);
    await listener.close();
    await listener.closed;
  });

  test('tells a peer it does not know, and does not hand it out', async () => {
    let handedOut = false;
    const listener = await listenTCP(
      loopback,
      () => {
        handedOut = true;
      },
      { identities: { '192.0.2.1': 'elsewhere' } },
    );
    const stream = await connectTCP({ host: '127.0.0.1', port: listener.port });
    expect(await readAll(stream)).toBe('this server does not know 127.0.0.1\n');
    await stream.close();
    expect(handedOut).toBe(false);
    await listener.close();
  });

  test('a port that is taken is BUSY', async () => {
    const first = await listenTCP(loopback, () => undefined, { identities: {} });
    const second = listenTCP({ host: '127.0.0.1', port: first.port }, () => undefined, { identities: {} });
    await expect(second).rejects.toMatchObject({ code: 'BUSY' });
    await first.close();
  });

  test('a socket inherited from a service manager', async () => {
    const program = fileURLToPath(new URL('../fixtures/programs/inherited-listener.ts', import.meta.url));
    const tsx = fileURLToPath(import.meta.resolve('tsx'));
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    // Node has no public way to the number, and gives a child every one it is told.
    const { fd } = (server as unknown as { _handle: { fd: number } })._handle;
    // A shell tells the child its own number, as a service manager would, and becomes the child.
    const child = spawn(
      '/bin/sh',
      ['-c', 'LISTEN_PID=$$ exec "$@"', 'sh', process.execPath, '--import', tsx, program],
      {
        stdio: ['ignore', 'pipe', 'inherit', fd],
        env: { ...process.env, LISTEN_FDS: '1', LISTEN_FDNAMES: 'backup' },
      },
    );
    const [line] = (await once(createInterface({ input: child.stdout! }), 'line')) as [string];
    expect(line).toBe(`tcp 127.0.0.1:${port} backup`);
    server.close();
    const stream = await connectTCP({ host: '127.0.0.1', port });
    expect(await readAll(stream)).toBe('served by the child');
    await stream.close();
    child.kill('SIGKILL');
    await once(child, 'exit');
  });

  test('a descriptor that is no socket is refused', async () => {
    const attempt = listenTCP({ fd: 9999 }, () => undefined, { identities: {} });
    await expect(attempt).rejects.toMatchObject({ code: 'CONNECT_FAILED' });
    expect(() => closeSync(9999)).toThrow('EBADF');
  });
});

describe('connectTCP', () => {
  test('nobody listening', async () => {
    const listener = await listenTCP(loopback, () => undefined, { identities: {} });
    await listener.close();
    const attempt = connectTCP({ host: '127.0.0.1', port: listener.port });
    await expect(attempt).rejects.toMatchObject({ code: 'CONNECT_FAILED', retryable: true });
    await expect(attempt).rejects.toThrow(`cannot connect to tcp 127.0.0.1:${listener.port}`);
  });

  test('a signal that has fired', async () => {
    const attempt = connectTCP({ host: '127.0.0.1', port: 9, signal: AbortSignal.abort() });
    await expect(attempt).rejects.toMatchObject({ code: 'CANCELLED' });
  });

  test('a host that does not exist', async () => {
    const attempt = connectTCP({ host: 'no-such-host.invalid', port: 9 });
    await expect(attempt).rejects.toMatchObject({ code: 'CONNECT_FAILED' });
  });
});

describe('inheritedSockets', () => {
  test('those of this process, with their names', () => {
    const env = { LISTEN_FDS: '3', LISTEN_PID: '42', LISTEN_FDNAMES: 'a::c' };
    expect(inheritedSockets(env, 42)).toEqual([
      { fd: 3, name: 'a' },
      { fd: 4, name: 'unknown' },
      { fd: 5, name: 'c' },
    ]);
  });

  test('none that were meant for another process, or when there are none', () => {
    expect(inheritedSockets({ LISTEN_FDS: '1', LISTEN_PID: '41' }, 42)).toEqual([]);
    expect(inheritedSockets({}, 42)).toEqual([]);
  });

  test('a count that is none is refused', () => {
    expect(() => inheritedSockets({ LISTEN_FDS: '-1', LISTEN_PID: '42' }, 42)).toThrow('should be a number');
  });
});

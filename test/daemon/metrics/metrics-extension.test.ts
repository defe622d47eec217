import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test } from 'vitest';
import type { ListenSettings } from '../../../src/config/connection-settings.ts';
import { metricsExtension } from '../../../src/daemon/metrics/metrics-extension.ts';
import type { MetricsExtensionOptions } from '../../../src/daemon/metrics/metrics-extension.ts';
import type { NetworkListener } from '../../../src/transport/tcp.ts';
import { playedDaemon, runResult } from '../../support/daemon-fixture.ts';
import { moment } from '../../support/server-fixture.ts';

const anyPort: ListenSettings = { host: '127.0.0.1', port: 0 };

const running: AsyncDisposable[] = [];
afterEach(async () => {
  for (const extension of running.splice(0)) await extension[Symbol.asyncDispose]();
});

async function start(listen: ListenSettings | null, options: MetricsExtensionOptions = {}) {
  const ports: number[] = [];
  let next = moment<NetworkListener>();
  const daemon = playedDaemon({ monitoring: listen === null ? null : { listen } });
  const extension = metricsExtension({
    onListening(listener) {
      ports.push(listener.port);
      next.resolve(listener);
      next = moment();
    },
    ...options,
  });
  running.push(await extension.start(daemon.context));
  return { daemon, ports, listening: () => next.promise };
}

async function read(port: number | undefined, path = '/metrics'): Promise<string> {
  return (await fetch(`http://127.0.0.1:${port ?? 0}${path}`)).text();
}

test('metrics and health are served where the configuration says', async () => {
  const { daemon, ports } = await start(anyPort);
  daemon.endRun(runResult());
  const response = await fetch(`http://127.0.0.1:${ports[0]!}/metrics`);
  expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
  expect(await response.text()).toContain('\nsnapferry_runs_total{snapferry_job="web1",outcome="ok"} 1\n');
  expect(await read(ports[0], '/healthz')).toBe('ok\n');
});

test('a daemon that cannot tell how it is is not healthy', async () => {
  const { daemon, ports } = await start(anyPort);
  Object.defineProperty(daemon, 'status', {
    get() {
      throw new Error('broken');
    },
  });
  expect((await fetch(`http://127.0.0.1:${ports[0]!}/healthz`)).status).toBe(500);
});

test('nothing is served unless it is configured', async () => {
  const { ports } = await start(null);
  expect(ports).toEqual([]);
});

test('a reload begins, moves and ends it; what was counted stays', async () => {
  const { daemon, ports, listening } = await start(null);
  daemon.endRun(runResult());
  let listener = listening();
  daemon.reload({ monitoring: { listen: anyPort } });
  const { port } = await listener;
  expect(await read(port)).toContain('snapferry_runs_total{snapferry_job="web1",outcome="ok"} 1');

  daemon.reload({ monitoring: { listen: anyPort } });
  expect(await read(port, '/healthz')).toBe('ok\n');
  expect(ports).toHaveLength(1);

  listener = listening();
  daemon.reload({ monitoring: { listen: { ...anyPort, host: 'localhost' } } });
  await listener;
  await expect(read(port)).rejects.toThrow();

  daemon.reload({ monitoring: null });
  await running.pop()![Symbol.asyncDispose]();
  await expect(read(ports[1])).rejects.toThrow();
});

test('a port that is taken is said to be, and tried again until it is free', async () => {
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const { port } = other.address() as AddressInfo;
  const { daemon, ports, listening } = await start({ host: '127.0.0.1', port });
  expect(ports).toEqual([]);
  expect(daemon.log.join('')).toMatch(
    /metrics are not served: cannot listen on 127\.0\.0\.1:\d+: another process does/,
  );
  other.close();
  await once(other, 'close');
  const listener = listening();
  daemon.clock.advance(30_000);
  expect((await listener).port).toBe(port);
  expect(await read(port, '/healthz')).toBe('ok\n');
});

test('after its end it tries no more', async () => {
  const { daemon } = await start({ socketName: 'metrics' });
  expect(daemon.log.join('')).toMatch(/which systemd has not opened for this process; .*FileDescriptorName=metrics/);
  expect(daemon.clock.waiting()).toBe(1);
  await running.pop()![Symbol.asyncDispose]();
  expect(daemon.clock.waiting()).toBe(0);
});

test('a socket that systemd opened is served on', async () => {
  const program = fileURLToPath(new URL('../../fixtures/programs/inherited-metrics.ts', import.meta.url));
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  // Node has no public way to the number, and gives a child every one it is told.
  const { fd } = (server as unknown as { _handle: { fd: number } })._handle;
  // A shell tells the child its own number, as a service manager would, and becomes the child.
  const argv = ['sh', process.execPath, '--import', import.meta.resolve('tsx'), program];
  const child = spawn('/bin/sh', ['-c', 'LISTEN_PID=$$ exec "$@"', ...argv], {
    stdio: ['ignore', 'pipe', 'inherit', fd],
    env: { ...process.env, LISTEN_FDS: '1', LISTEN_FDNAMES: 'metrics' },
  });
  const exited = once(child, 'exit');
  const [line] = (await once(createInterface({ input: child.stdout! }), 'line')) as [string];
  expect(line).toBe(`http 127.0.0.1:${port}`);
  server.close();
  expect(await read(port, '/healthz')).toBe('ok\n');
  child.kill('SIGKILL');
  await exited;
});

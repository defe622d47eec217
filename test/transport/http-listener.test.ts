import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { listenHTTP, plainText } from '../../src/transport/http-listener.ts';
import type { NetworkListener } from '../../src/transport/tcp.ts';

let listener: NetworkListener;
let base: string;

beforeEach(async () => {
  const routes = {
    '/metrics': () => ({ status: 200, contentType: 'text/x-test; charset=utf-8', body: 'größe 1\n' }),
    '/broken': () => Promise.reject(new Error('inner secret')),
    '/healthz': () => plainText(200, 'ok\n'),
  };
  listener = await listenHTTP({ host: '127.0.0.1', port: 0 }, routes, undefined);
  base = `http://127.0.0.1:${listener.port}`;
});
afterEach(() => listener.close());

test('a path is answered, whatever its query', async () => {
  const response = await fetch(`${base}/metrics?a=b`);
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toBe('text/x-test; charset=utf-8');
  expect(response.headers.get('cache-control')).toBe('no-store');
  expect(await response.text()).toBe('größe 1\n');
});

test('HEAD has the head of GET, and nothing else', async () => {
  const response = await fetch(`${base}/metrics`, { method: 'HEAD' });
  expect(response.headers.get('content-length')).toBe('10');
  expect(await response.text()).toBe('');
});

test('another path is not found', async () => {
  const response = await fetch(`${base}/`);
  expect(response.status).toBe(404);
  expect(await response.text()).toBe('not found; there is /metrics and /broken and /healthz\n');
});

test('nothing can be posted', async () => {
  const response = await fetch(`${base}/metrics`, { method: 'POST', body: 'x'.repeat(100_000) });
  expect(response.status).toBe(405);
  expect(response.headers.get('allow')).toBe('GET, HEAD');
});

test('what goes wrong inside stays inside', async () => {
  const response = await fetch(`${base}/broken`);
  expect(response.status).toBe(500);
  expect(await response.text()).toBe('internal error\n');
  expect((await fetch(`${base}/healthz`)).status).toBe(200);
});

test.each([
  ['what is no HTTP', 'hello\r\n\r\n', 400],
  ['a head that does not end', `GET / HTTP/1.1\r\nx: ${'y'.repeat(20_000)}`, 431],
])('%s is refused', async (_what, sent, status) => {
  expect(await statusOf(sent)).toBe(status);
});

test('a port that is taken is said to be', async () => {
  await expect(listenHTTP({ host: '127.0.0.1', port: listener.port }, {}, undefined)).rejects.toMatchObject({
    code: 'BUSY',
  });
});

test('closing it ends the connections there are, and can be done twice', async () => {
  const socket = connect(listener.port, '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write('GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n');
  await once(socket, 'data');
  const closed = once(socket, 'close');
  await Promise.all([listener.close(), listener.close()]);
  await closed;
  await listener.closed;
  await expect(fetch(`${base}/healthz`)).rejects.toThrow();
});

async function statusOf(sent: string): Promise<number> {
  const socket = connect(listener.port, '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write(sent);
  let text = '';
  for await (const piece of socket.setEncoding('utf8')) text += String(piece);
  return Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1]);
}

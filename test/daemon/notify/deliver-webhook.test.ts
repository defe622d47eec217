import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { IncomingHttpHeaders, Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { WebhookNotification } from '../../../src/config/global-settings.ts';
import { deliverByWebhook } from '../../../src/daemon/notify/deliver-webhook.ts';
import { noticeDocument } from '../../../src/daemon/notify/notice.ts';
import { failureNotice, noSignal } from '../../support/notice-fixture.ts';

interface Received {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

let server: Server;
let received: Received[];
/** What the server answers; null: nothing, ever. */
let reply: { status: number; headers?: Record<string, string>; body?: string } | null;
let origin: string;
let directory: string;

beforeEach(async () => {
  received = [];
  reply = { status: 204 };
  directory = await mkdtemp(join(tmpdir(), 'snapferry-webhook-'));
  server = createServer((request, response) => {
    void (async () => {
      const pieces: Buffer[] = [];
      for await (const piece of request) pieces.push(piece as Buffer);
      const { method, url, headers } = request;
      received.push({ method, url, headers, body: Buffer.concat(pieces).toString('utf8') });
      if (reply !== null) response.writeHead(reply.status, reply.headers).end(reply.body);
      else server.emit('silence');
    })();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  origin = `127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await rm(directory, { recursive: true });
});

function webhook(overrides: Partial<WebhookNotification> = {}): WebhookNotification {
  const url = `http://${origin}/hooks/s3cr3t-path?key=s3cr3t-key`;
  return { type: 'webhook', url, urlFile: null, headers: {}, bearerTokenFile: null, ...overrides };
}

async function secretFile(name: string, text: string): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, `${text}\n`);
  return path;
}

test('the notice is posted as JSON, with headers, token, and an id by which a second copy is known', async () => {
  const notice = failureNotice();
  const bearerTokenFile = await secretFile('token', 't0k3n');
  await deliverByWebhook(webhook({ headers: { 'X-Team': 'storage' }, bearerTokenFile }), notice, noSignal);
  expect(received).toHaveLength(1);
  expect(received[0]).toMatchObject({
    method: 'POST',
    url: '/hooks/s3cr3t-path?key=s3cr3t-key',
    headers: {
      'content-type': 'application/json',
      'x-team': 'storage',
      authorization: 'Bearer t0k3n',
      'idempotency-key': notice.id,
      'user-agent': 'snapferry',
    },
  });
  expect(JSON.parse(received[0]!.body)).toEqual(noticeDocument(notice));
});

test('the address may be in a file, and have a login in it', async () => {
  const urlFile = await secretFile('url', `http://bob:p%40ss@${origin}/hook`);
  await deliverByWebhook(webhook({ url: null, urlFile }), failureNotice(), noSignal);
  expect(received).toMatchObject([{ url: '/hook', headers: { authorization: `Basic ${btoa('bob:p@ss')}` } }]);
});

test('an address in a file that is none is not quoted', async () => {
  const urlFile = await secretFile('url', 'file:///etc/s3cr3t');
  const telling = deliverByWebhook(webhook({ url: null, urlFile }), failureNotice(), noSignal);
  await expect(telling).rejects.toMatchObject({
    code: 'INVALID_REQUEST',
    message: `the address of the webhook in ${urlFile} does not begin with https://`,
  });
});

test('an answer of failure is one, quotes the answer, and no secret in it', async () => {
  const bearerTokenFile = await secretFile('token', 't0k3n');
  reply = { status: 403, body: 'bad key t0k3n or header v4lue at /hooks/s3cr3t-path?key=s3cr3t-key\r\n\u001b[31mx' };
  const notification = webhook({ bearerTokenFile, headers: { 'X-Key': 'v4lue' } });
  const error = (await deliverByWebhook(notification, failureNotice(), noSignal).catch((e: unknown) => e)) as Error;
  expect(error).toMatchObject({
    code: 'INVALID_REQUEST',
    message: `posting to the webhook at ${origin} failed: HTTP 403 Forbidden: bad key [redacted] or header [redacted] at [redacted] [31mx`,
  });
  expect(error.cause).toBeUndefined();
});

test('a very long answer is read no further than it is quoted', async () => {
  reply = { status: 500, body: 'x'.repeat(1_000_000) };
  const error = (await deliverByWebhook(webhook(), failureNotice(), noSignal).catch((e: unknown) => e)) as Error;
  expect(error.message.length).toBeLessThan(400);
});

test('a redirection is not followed, since a token would follow, too', async () => {
  reply = { status: 307, headers: { location: `http://${origin}/elsewhere` } };
  await expect(deliverByWebhook(webhook(), failureNotice(), noSignal)).rejects.toMatchObject({
    code: 'INVALID_REQUEST',
    message: expect.stringMatching(/HTTP 307: it has moved; write the address it has now$/) as string,
  });
  expect(received).toHaveLength(1);
});

test('a server that is not there is said to be so, without the secret address', async () => {
  server.close();
  await once(server, 'close');
  await expect(deliverByWebhook(webhook(), failureNotice(), noSignal)).rejects.toMatchObject({
    code: 'CONNECT_FAILED',
    message: `posting to the webhook at ${origin} failed: connect ECONNREFUSED ${origin}`,
  });
});

test('a server that never answers is given up at the signal', async () => {
  reply = null;
  const controller = new AbortController();
  const telling = deliverByWebhook(webhook(), failureNotice(), controller.signal);
  await once(server, 'silence');
  controller.abort();
  await expect(telling).rejects.toMatchObject({ code: 'CANCELLED' });
});

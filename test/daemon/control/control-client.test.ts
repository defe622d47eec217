import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { controlClient } from '../../../src/daemon/control/control-client.ts';
import type { ControlClient, ControlClientOptions } from '../../../src/daemon/control/control-client.ts';
import { ok } from '../../../src/daemon/control/control-command.ts';
import { connectedClient, controlPair } from '../../../src/daemon/control/control-pair.ts';
import type { ByteStream } from '../../../src/transport/byte-stream.ts';
import { memoryPair } from '../../../src/transport/memory.ts';
import { FakeClock, settled } from '../../support/fake-clock.ts';
import { plainCommand, RawClient, serverFixture } from './control-fixture.ts';

/** A client and a daemon whose lines the test says. */
async function scripted(options: ControlClientOptions = {}) {
  const [near, far] = memoryPair({ bufferBytesMax: 4000, poison: true });
  const daemon = new RawClient(far);
  await daemon.send('{"version":"7"}\n');
  const clock = new FakeClock();
  const client = await controlClient(near, { clock, ...options });
  return { client, daemon, clock };
}

async function text(stream: ByteStream): Promise<string> {
  let all = '';
  for await (const piece of stream.source) all += Buffer.from(piece).toString();
  return all;
}

describe('controlClient over a stream', () => {
  test('knows the daemon’s version and has commands carried out, one after the other', async () => {
    const { server } = serverFixture();
    await using client = await connectedClient(server);
    expect(client.version).toBe('1.2.3');
    const progress: unknown[] = [];
    const onProgress = (news: unknown): void => void progress.push(news);
    expect(await client.call('echo', { text: 'a', times: 2 }, { onProgress })).toEqual({ text: 'a' });
    expect(progress).toEqual([{ time: 0 }, { time: 1 }]);
    expect(await client.attempt('refuse')).toEqual({ kind: 'refused', code: 'BUSY', message: 'not now' });
    await expect(client.call('refuse')).rejects.toMatchObject({ code: 'BUSY', message: 'not now', fromPeer: true });
    expect(await client.attempt('echo', { text: 'b' })).toEqual({ kind: 'received', response: { text: 'b' } });
  });

  test('controlPair: both ends in one process', async () => {
    const commands = new Map([['ping', plainCommand(() => Promise.resolve(ok('pong')))]]);
    const { client, server } = await controlPair({ version: '5', commands });
    expect(await client.call('ping')).toBe('pong');
    await client.close();
    await server.close();
    expect(server.clients()).toEqual([]);
  });

  test('a code that is not known here is no reason to lose the words', async () => {
    const { client, daemon } = await scripted();
    const called = client.call('reload');
    await daemon.line();
    await daemon.send('{"status":false,"message":"line 3 is wrong","code":"CONFIGURATION"}\n');
    await expect(called).rejects.toMatchObject({ code: 'INVALID_REQUEST', message: 'line 3 is wrong', fromPeer: true });
    await client.close();
  });

  test.each([
    ['ends', '', 'ended without a word'],
    ['says something else', 'SSH-2.0-OpenSSH\n', 'is not JSON'],
    ['greets without a version', '{"hello":1}\n', 'not the greeting of a daemon'],
    ['ends half way', '{"version":', 'ended inside a line'],
    ['talks too long', `${'x'.repeat(5000)}\n`, 'longer than allowed'],
  ])('what %s instead of greeting is no daemon', async (_what, words, why) => {
    const [near, far] = memoryPair();
    const connecting = controlClient(near);
    await far.write(Buffer.from(words));
    await far.end();
    await expect(connecting).rejects.toMatchObject({ code: 'CONNECT_FAILED' });
    await expect(connecting).rejects.toThrow(why);
    await expect(far.write(Buffer.from('x'))).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
  });
});

describe('the ways in which a command can end', () => {
  test('closed: the daemon left without an answer', async () => {
    for (const words of ['', '{"status":true,"progress":1}\n']) {
      const { client, daemon } = await scripted();
      const attempt = client.attempt('x');
      await daemon.line();
      await daemon.send(words);
      await daemon.stream.end();
      expect(await attempt).toEqual({ kind: 'closed' });
      await expect(client.call('x')).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
    }
  });

  test.each([
    ['no JSON', 'oops\n', 'PROTOCOL_VIOLATION'],
    ['no reply', '{"version":"7"}\n', 'PROTOCOL_VIOLATION'],
    ['half a reply', '{"status":true,', 'STREAM_TRUNCATED'],
    ['too long a reply', `{"status":true,"response":"${'x'.repeat(2000)}"}\n`, 'LIMIT_EXCEEDED'],
  ])('failed: the answer is %s', async (_what, words, code) => {
    const { client, daemon } = await scripted({ replyBytesMax: 1000 });
    const attempt = client.attempt('x');
    await daemon.line();
    await daemon.send(words);
    await daemon.stream.end();
    expect(await attempt).toMatchObject({ kind: 'failed', error: { code } });
    await expect(client.attempt('x')).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
  });

  test('failed: the connection broke', async () => {
    const { client, daemon } = await scripted();
    const attempt = client.attempt('x');
    await daemon.line();
    daemon.stream.abort(new Error('crashed'));
    expect(await attempt).toMatchObject({ kind: 'failed', error: { code: 'CONNECTION_LOST' } });
  });

  test('failed: what is told of it cannot be taken', async () => {
    const { client, daemon } = await scripted();
    const onProgress = (): void => {
      throw new Error('display on fire');
    };
    const attempt = client.attempt('x', {}, { onProgress });
    await daemon.line();
    await daemon.send('{"status":true,"progress":1}\n');
    expect(await attempt).toMatchObject({ kind: 'failed', error: { message: 'x: display on fire' } });
  });
});

describe('time', () => {
  test('connect: a daemon that does not greet', async () => {
    const clock = new FakeClock();
    const [near, far] = memoryPair();
    const connecting = controlClient(near, { clock, connectTimeoutMs: 100 });
    const outcome = expect(connecting).rejects.toMatchObject({ code: 'TIMEOUT', wait: 'connect' });
    await clock.pass(100);
    await outcome;
    await expect(far.write(Buffer.from('x'))).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
    expect(clock.waiting).toBe(0);
  });

  test('send: a daemon that takes nothing', async () => {
    const { client, clock } = await scripted({ sendTimeoutMs: 100 });
    const attempt = client.attempt('x', { text: 'y'.repeat(5000) });
    await clock.pass(100);
    expect(await attempt).toMatchObject({ kind: 'failed', error: { code: 'TIMEOUT', wait: 'send' } });
    expect(clock.waiting).toBe(0);
  });

  test('receive: a daemon that says nothing; news are enough to wait on', async () => {
    const { client, daemon, clock } = await scripted({ receiveTimeoutMs: 100 });
    const progress: unknown[] = [];
    const attempt = client.attempt('x', {}, { onProgress: (news) => void progress.push(news) });
    await daemon.line();
    await clock.pass(99);
    await daemon.send('{"status":true,"progress":1}\n{"status":true,"progress":null}\n');
    await clock.pass(99);
    await clock.pass(1);
    expect(await attempt).toMatchObject({ kind: 'failed', error: { code: 'TIMEOUT', wait: 'receive' } });
    expect(progress).toEqual([1]);
    expect(clock.waiting).toBe(0);
  });

  test.each([
    ['one command', {}, { receiveTimeoutMs: null }],
    ['the client', { receiveTimeoutMs: null }, {}],
  ])('receive: for ever, by the choice of %s', async (_whose, options, callOptions) => {
    const { client, daemon, clock } = await scripted(options);
    const attempt = client.attempt('x', {}, callOptions);
    await daemon.line();
    await clock.pass(1e9);
    await daemon.send('{"status":true,"response":1}\n');
    expect(await attempt).toEqual({ kind: 'received', response: 1 });
    await client.close();
  });
});

describe('ending', () => {
  test('a close is a close, however often', async () => {
    const { client, daemon } = await scripted();
    await Promise.all([client.close(), client.close()]);
    await client.close();
    expect(await daemon.line()).toBeUndefined();
    await expect(client.attempt('x')).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
    expect(() => client.detach()).toThrow('is closed');
  });

  test('a close during a command fails that', async () => {
    const { client, daemon } = await scripted();
    const attempt = client.attempt('x');
    await daemon.line();
    await client.close();
    expect(await attempt).toMatchObject({ kind: 'failed', error: { code: 'CANCELLED' } });
    await expect(client.attempt('x')).rejects.toThrow('is closed');
  });

  test('a signal fails the command and drops the connection; the daemon’s command is told', async () => {
    let aborted: unknown = null;
    const waits = plainCommand(async ({ signal }) => {
      await once(signal, 'abort');
      aborted = signal.reason;
      return ok();
    });
    const { server, clock } = serverFixture({ commands: { waits } });
    const client = await connectedClient(server);
    const controller = new AbortController();
    const called = client.call('waits', {}, { signal: controller.signal });
    await settled();
    controller.abort();
    await expect(called).rejects.toMatchObject({ code: 'CANCELLED' });
    await clock.pass(10_000);
    expect(aborted).toMatchObject({ code: 'CONNECTION_LOST' });
    expect(server.clients()).toEqual([]);
  });

  test('a signal that was aborted before sends nothing', async () => {
    const { client, daemon } = await scripted();
    const attempt = client.attempt('x', {}, { signal: AbortSignal.abort() });
    expect(await attempt).toMatchObject({ kind: 'failed', error: { code: 'CANCELLED' } });
    await expect(daemon.lines()).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
  });

  test('one command at a time', async () => {
    const { client, daemon } = await scripted();
    const attempt = client.attempt('x');
    await expect(client.attempt('y')).rejects.toMatchObject({ code: 'BUSY' });
    expect(() => client.detach()).toThrow('waiting for the answer');
    await daemon.line();
    await daemon.send('{"status":true,"response":1}\n');
    await attempt;
    await client.close();
  });

  test('what cannot be sent leaves the client usable', async () => {
    const { server } = serverFixture();
    await using client = await connectedClient(server);
    await expect(client.attempt('No Such Name')).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
    expect(await client.call('echo', { text: 'a' })).toEqual({ text: 'a' });
  });

  test('a daemon that left while nobody asked has its reason heard', async () => {
    const { server } = serverFixture();
    const client: ControlClient = await connectedClient(server);
    await client.call('echo', { text: 'a' });
    await server.close();
    expect(await client.attempt('echo', { text: 'b' })).toMatchObject({ kind: 'refused', code: 'GOODBYE' });
    expect(await client.attempt('echo', { text: 'c' })).toEqual({ kind: 'closed' });
  });

  test('an answer that was not asked for is none', async () => {
    const { client, daemon } = await scripted();
    await daemon.send('{"status":true,"response":"forged"}\n');
    await settled();
    expect(await client.attempt('x')).toMatchObject({ kind: 'failed', error: { code: 'PROTOCOL_VIOLATION' } });
  });
});

describe('detach', () => {
  test('the stream stays open, with what has already arrived', async () => {
    const { client, daemon } = await scripted();
    const call = client.call('follow');
    await daemon.line();
    await daemon.send('{"status":true,"response":null}\nearly ');
    await call;
    const stream = client.detach();
    await client.close();
    await stream.write(Buffer.from('"from the client"\n'));
    expect(await daemon.line()).toBe('from the client');
    await daemon.send('late');
    await daemon.stream.end();
    expect(await text(stream)).toBe('early late');
    await stream.close();
    await expect(client.attempt('x')).rejects.toThrow('is detached');
    expect(() => client.detach()).toThrow('is detached');
  });

  test('with a server that hands over, too', async () => {
    const count = plainCommand(async ({ takeOver }) => {
      const stream = await takeOver({ lines: 3 });
      for (let line = 0; line < 3; line++) await stream.write(Buffer.from(`${line}\n`));
      return ok();
    });
    const { server } = serverFixture({ commands: { count } });
    const client = await connectedClient(server);
    expect(await client.call('count')).toEqual({ lines: 3 });
    await using stream = client.detach();
    expect(await text(stream)).toBe('0\n1\n2\n');
  });
});

import { readFileSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import type { ByteStream } from '../../src/transport/byte-stream.ts';
import { connectCommand } from '../../src/transport/command.ts';
import type { ConnectCommandOptions } from '../../src/transport/command.ts';
import { describeTransport } from '../conformance/transport.ts';
import { relayArgv, relayedPair } from '../support/relay.ts';

describeTransport(
  'command',
  // The relay ends its output and goes on reading in the half-close tests: no exit status is to be waited for then.
  () => relayedPair((path) => connectCommand({ argv: relayArgv(path), exitWaitMs: 50 })),
  { abortLooksLikeEnd: true },
);

const shell = (script: string, options: Partial<ConnectCommandOptions> = {}): Promise<ByteStream> =>
  connectCommand({ description: 'the command', ...options, argv: ['/bin/sh', '-c', script] });

async function readAll(stream: ByteStream): Promise<string> {
  const pieces: Uint8Array[] = [];
  for await (const piece of stream.source) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces).toString();
}

async function failureOf(promise: Promise<unknown>): Promise<SnapferryError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof SnapferryError) return error;
    throw error;
  }
  throw new Error('it was expected to fail');
}

/** A zombie counts as gone: reaping an orphan is init's business. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return process.platform !== 'linux' || !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}

/** Waits until the process is gone; the test's time limit ends a wait for one that never goes. */
async function untilGone(pid: number): Promise<void> {
  while (isAlive(pid)) await nextTurn();
}

describe('a child that fails', () => {
  test('before it has sent a byte: CONNECT_FAILED, with status and last words', async () => {
    const stream = await shell('echo first >&2; echo "no such dataset" >&2; exit 3');
    const failure = await failureOf(readAll(stream));
    expect(failure.code).toBe('CONNECT_FAILED');
    expect(failure.message).toBe('the command exited with status 3; its last words: first / no such dataset');
    expect((await failureOf(stream.close())).code).toBe('CONNECT_FAILED');
  });

  test('after it has sent bytes: they arrive unharmed, then CONNECTION_LOST', async () => {
    const stream = await shell('printf "login banner"; exit 9');
    const source = stream.source[Symbol.asyncIterator]();
    const first = await source.next();
    expect(Buffer.from(first.value as Uint8Array).toString()).toBe('login banner');
    const failure = await failureOf(source.next());
    expect(failure).toMatchObject({ code: 'CONNECTION_LOST', message: 'the command exited with status 9' });
    await failureOf(stream.close());
  });

  test('by a signal: the error names it', async () => {
    const stream = await shell('kill -KILL $$');
    expect((await failureOf(readAll(stream))).message).toContain('was ended by SIGKILL');
    await failureOf(stream.close());
  });

  test('a write that it does not read any more reports why, too', async () => {
    const stream = await shell('exec <&-; echo "out of memory" >&2; exit 4');
    const writing = (async () => {
      for (;;) await stream.write(new Uint8Array(1024 * 1024));
    })();
    expect((await failureOf(writing)).message).toContain('exited with status 4; its last words: out of memory');
    await failureOf(stream.close());
  });

  test('keeps only the end of a long standard error, without control characters', async () => {
    const stream = await shell(
      `i=0; while [ $i -lt 5000 ]; do echo "line $i"; i=$((i+1)); done >&2; printf '\\033[31mred\\033[0m' >&2; exit 1`,
    );
    const failure = await failureOf(readAll(stream));
    expect(failure.message).toContain('line 4999');
    expect(failure.message).not.toContain('line 4900');
    expect(failure.message).not.toContain('\u001b');
    expect(failure.message.length).toBeLessThan(1000);
    await failureOf(stream.close());
  });

  test('one endless line on standard error is bounded', async () => {
    const stream = await shell('head -c 3000000 /dev/zero | tr "\\0" x >&2; exit 1');
    expect((await failureOf(readAll(stream))).message.length).toBeLessThan(2500);
    await failureOf(stream.close());
  });
});

describe('a child that ends well', () => {
  test('sends all it has, and the close is in order', async () => {
    const stream = await shell('cat; echo done');
    await stream.write(Buffer.from('hello '));
    await stream.end();
    expect(await readAll(stream)).toBe('hello done\n');
    await stream.close();
  });

  test('its standard error is handed on line by line', async () => {
    const lines: string[] = [];
    const stream = await shell('echo one >&2; printf two >&2', { onStderrLine: (line) => lines.push(line) });
    expect(await readAll(stream)).toBe('');
    await stream.close();
    expect(lines).toEqual(['one', 'two']);
  });

  test('its environment is clean, and has what was added', async () => {
    process.env['SNAPFERRY_TEST_SECRET'] = 'do not pass on';
    const stream = await shell('env', { env: { ADDED: 'yes' } });
    delete process.env['SNAPFERRY_TEST_SECRET'];
    const environment = await readAll(stream);
    expect(environment).toContain('LC_ALL=C\n');
    expect(environment).toContain('ADDED=yes\n');
    expect(environment).not.toContain('SNAPFERRY_TEST_SECRET');
    await stream.close();
  });

  test('runs in the directory asked for', async () => {
    const stream = await shell('pwd', { cwd: '/' });
    expect(await readAll(stream)).toBe('/\n');
    await stream.close();
  });
});

describe('ending a child', () => {
  test('one that does not end when its input does is terminated, and the close says so', async () => {
    const stream = await shell('exec sleep 600', { graceMs: 500 });
    expect((await failureOf(stream.close())).message).toContain('was terminated');
  });

  test('one that ignores SIGTERM is killed', async () => {
    const stream = await shell('trap "" TERM; echo ready; while :; do sleep 600; done', { graceMs: 50 });
    const source = stream.source[Symbol.asyncIterator]();
    await source.next();
    expect((await failureOf(stream.close())).message).toContain('was killed');
  });

  test('what it started dies with it, after an abort', async () => {
    const stream = await shell('sleep 600 & echo $!; wait');
    const source = stream.source[Symbol.asyncIterator]();
    const grandchild = Number(Buffer.from((await source.next()).value as Uint8Array).toString());
    expect(isAlive(grandchild)).toBe(true);
    stream.abort(new Error('enough'));
    await stream.close();
    await untilGone(grandchild);
  });

  test('what it left behind dies with the close', async () => {
    const stream = await shell('sleep 600 & echo $!');
    const source = stream.source[Symbol.asyncIterator]();
    const grandchild = Number(Buffer.from((await source.next()).value as Uint8Array).toString());
    await stream.close();
    await untilGone(grandchild);
  });

  test('an abort reaps it even if nobody closes the stream', async () => {
    const stream = await shell('echo $$; exec sleep 600');
    const source = stream.source[Symbol.asyncIterator]();
    const pid = Number(Buffer.from((await source.next()).value as Uint8Array).toString());
    stream.abort(new Error('enough'));
    await untilGone(pid);
  });

  test('its signal aborts the connection', async () => {
    const controller = new AbortController();
    const stream = await shell('echo $$; exec sleep 600', { signal: controller.signal });
    const source = stream.source[Symbol.asyncIterator]();
    const pid = Number(Buffer.from((await source.next()).value as Uint8Array).toString());
    const reading = failureOf(source.next());
    controller.abort(new SnapferryError('CANCELLED', 'the user pressed Ctrl-C'));
    expect((await reading).code).toBe('CANCELLED');
    await stream.close();
    await untilGone(pid);
  });
});

describe('a program that cannot be started', () => {
  test('is named, with what to do', async () => {
    const failure = await failureOf(connectCommand({ argv: ['/nonexistent/program', 'x'] }));
    expect(failure).toMatchObject({ code: 'CONNECT_FAILED', retryable: false });
    expect(failure.message).toContain('there is no program /nonexistent/program; install it, or check PATH');
  });

  test('is reported when its arguments are impossible', async () => {
    const failure = await failureOf(connectCommand({ argv: ['/bin/echo', 'a\0b'] }));
    expect(failure.code).toBe('CONNECT_FAILED');
  });

  test('a signal that has fired starts nothing', async () => {
    const failure = await failureOf(connectCommand({ argv: ['/bin/echo'], signal: AbortSignal.abort() }));
    expect(failure.code).toBe('CANCELLED');
  });
});

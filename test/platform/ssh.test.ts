import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import type { ByteStream } from '../../src/transport/byte-stream.ts';
import { connectSSH } from '../../src/transport/ssh.ts';
import type { ConnectSSHOptions } from '../../src/transport/ssh.ts';
import { describeTransport } from '../conformance/transport.ts';
import { describePlatform } from '../support/platform.ts';
import { relayArgv, relayedPair } from '../support/relay.ts';
import { sshdMissing, startSshd } from '../support/sshd.ts';
import type { Sshd } from '../support/sshd.ts';

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

describePlatform('ssh through a real sshd', sshdMissing, () => {
  let sshd: Sshd;
  beforeAll(async () => {
    sshd = await startSshd();
  });
  afterAll(() => sshd.stop());

  const login = (to: Sshd): ConnectSSHOptions => ({
    host: to.host,
    port: to.port,
    user: to.user,
    identityFile: to.identityFile,
    configFile: to.configFile,
    options: to.options,
    command: [],
  });
  const connect = (command: readonly string[], more: Partial<ConnectSSHOptions> = {}): Promise<ByteStream> =>
    connectSSH({ ...login(sshd), ...more, command });

  // What ssh, two sshd processes and the channel's window hold comes on top of the sockets' buffers.
  describeTransport('ssh', () => relayedPair((path) => connect(relayArgv(path), { exitWaitMs: 50 })), {
    abortLooksLikeEnd: true,
    inFlightBytesMax: 12 * 1024 * 1024,
  });

  test('the words of the command arrive unchanged', async () => {
    const words = ["it's", '$HOME', 'a  b', '', '*', 'new\nline', '`id`'];
    const stream = await connect(['printf', '%s|', ...words]);
    expect(await readAll(stream)).toBe(words.map((word) => `${word}|`).join(''));
    await stream.close();
  });

  test('a command that is not there is quoted, and what to look at', async () => {
    const stream = await connect(['snapferry-that-is-not-installed', 'serve']);
    const failure = await failureOf(readAll(stream));
    expect(failure.code).toBe('CONNECT_FAILED');
    expect(failure.message).toContain('snapferry-that-is-not-installed was not found on 127.0.0.1');
    expect(failure.message).toMatch(/its last words: .*not found/);
    await failureOf(stream.close());
  });

  test('a key the server does not know', async () => {
    const stream = await connect(['true'], { identityFile: await sshd.makeStrangerKey() });
    const failure = await failureOf(readAll(stream));
    expect(failure.code).toBe('CONNECT_FAILED');
    expect(failure.message).toContain('accepts none of the keys offered');
    expect(failure.message).toContain('Permission denied (publickey)');
    await failureOf(stream.close());
  });

  test('a host key that is not known', async () => {
    const options = { ...sshd.options, UserKnownHostsFile: '/dev/null' };
    const stream = await connect(['true'], { options });
    expect((await failureOf(readAll(stream))).message).toContain('the host key of 127.0.0.1 is not known');
    await failureOf(stream.close());
  });

  test('a port where nobody listens', async () => {
    const stopped = await startSshd();
    await stopped.stop();
    const stream = await connect(['true'], { port: stopped.port });
    const failure = await failureOf(readAll(stream));
    expect(failure).toMatchObject({ code: 'CONNECT_FAILED', retryable: true });
    expect(failure.message).toContain('Connection refused');
    await failureOf(stream.close());
  });

  test('the connection cut on the far side: the reader and the writer learn of it', async () => {
    const stream = await connect(['sh', '-c', 'echo $PPID; cat']);
    const source = stream.source[Symbol.asyncIterator]();
    const session = Number(Buffer.from((await source.next()).value as Uint8Array).toString());
    // The sshd of this session runs the shell; to this side its death is that of the network.
    expect(readFileSync(`/proc/${session}/comm`, 'utf8').trim()).toMatch(/^sshd/);
    process.kill(session, 'SIGKILL');
    expect((await failureOf(source.next())).code).toBe('CONNECTION_LOST');
    expect((await failureOf(stream.write(Buffer.from('x')))).code).toBe('CONNECTION_LOST');
    await failureOf(stream.close());
  });

  test('ssh itself killed: the error names the signal', async () => {
    const sshProgram = join(sshd.directory, 'ssh-that-tells-its-number');
    await writeFile(sshProgram, '#!/bin/sh\necho "pid=$$" >&2\nexec ssh "$@"\n', { mode: 0o755 });
    let pid = 0;
    const onStderrLine = (line: string): void => {
      pid = Number(/^pid=(\d+)$/.exec(line)?.[1] ?? pid);
    };
    const stream = await connect(['sh', '-c', 'echo ready; exec cat'], { sshProgram, onStderrLine });
    const source = stream.source[Symbol.asyncIterator]();
    await source.next();
    process.kill(pid, 'SIGKILL');
    const failure = await failureOf(source.next());
    expect(failure.code).toBe('CONNECTION_LOST');
    expect(failure.message).toContain(`ssh ${sshd.user}@127.0.0.1 was ended by SIGKILL`);
    await failureOf(stream.close());
  });

  test('an abort ends ssh and the remote program', async () => {
    const stream = await connect(['sh', '-c', 'echo ready; exec cat']);
    const source = stream.source[Symbol.asyncIterator]();
    await source.next();
    stream.abort(new SnapferryError('CANCELLED', 'the user pressed Ctrl-C'));
    expect((await failureOf(source.next())).code).toBe('CANCELLED');
    await stream.close();
  });

  describe('with a forced command', () => {
    test('it runs whatever was asked for, and gets that as SSH_ORIGINAL_COMMAND', async () => {
      const forced = await startSshd({ forcedCommand: 'echo "forced instead of $SSH_ORIGINAL_COMMAND"; cat' });
      const stream = await connectSSH({ ...login(forced), command: ['snapferry', 'serve'] });
      await stream.write(Buffer.from('hello'));
      await stream.end();
      expect(await readAll(stream)).toBe('forced instead of snapferry serve\nhello');
      await stream.close();
      await forced.stop();
    });

    test('one that prints a text and fails: the text arrives, then the error', async () => {
      const refusing = await startSshd({ forcedCommand: 'echo "This account is currently not available."; exit 1' });
      const stream = await connectSSH({ ...login(refusing), command: ['snapferry', 'serve'] });
      const source = stream.source[Symbol.asyncIterator]();
      const first = await source.next();
      expect(Buffer.from(first.value as Uint8Array).toString()).toBe('This account is currently not available.\n');
      expect((await failureOf(source.next())).message).toContain('exited with status 1');
      await failureOf(stream.close());
      await refusing.stop();
    });
  });

  test("the server's banner goes to standard error, not into the bytes", async () => {
    const bannered = await startSshd({ banner: 'Authorised use only\n' });
    const lines: string[] = [];
    const stream = await connectSSH({
      ...login(bannered),
      command: ['cat', join('/etc', 'hostname')],
      onStderrLine: (line) => lines.push(line),
    });
    expect(await readAll(stream)).toBe(readFileSync('/etc/hostname', 'utf8'));
    await stream.close();
    expect(lines).toContain('Authorised use only');
    await bannered.stop();
  });
});

import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { chmod, lstat, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { controlClient } from '../../../src/daemon/control/control-client.ts';
import { ok } from '../../../src/daemon/control/control-command.ts';
import { controlServer, type ControlServer } from '../../../src/daemon/control/control-server.ts';
import { listenUnix } from '../../../src/transport/unix.ts';
import { moment, plainCommand } from './control-fixture.ts';

const directory = mkdtempSync(join(tmpdir(), 'snapferry-control-'));
afterAll(() => rm(directory, { recursive: true }));

let counter = 0;
const freshPath = (): string => join(directory, `control-${(counter += 1)}`);

const big = plainCommand(() => Promise.resolve(ok('x'.repeat(4 * 1024 * 1024))));
const ping = plainCommand(() => Promise.resolve(ok('pong')));

function server(path: string, more: Record<string, typeof ping> = {}): Promise<ControlServer> {
  return controlServer({ path, version: '1', commands: new Map(Object.entries({ ping, big, ...more })) });
}

describe('the control socket', () => {
  test('is private, answers, and is gone with its server', async () => {
    const path = freshPath();
    const daemon = await server(path);
    expect((await lstat(path)).mode & 0o777).toBe(0o600);
    await using client = await controlClient(path);
    expect(client.version).toBe('1');
    expect(await client.call('ping')).toBe('pong');
    expect(await client.call('big')).toHaveLength(4 * 1024 * 1024);
    await Promise.all([daemon.close(), daemon.close()]);
    await daemon.close();
    await expect(lstat(path)).rejects.toThrow('ENOENT');
    // What it said when it left is heard, although the socket is dead by now.
    expect(await client.attempt('ping')).toMatchObject({ kind: 'refused', code: 'GOODBYE' });
  });

  test('nobody there, a dead one, a second one', async () => {
    const path = freshPath();
    await expect(controlClient(path)).rejects.toMatchObject({ code: 'CONNECT_FAILED' });
    const dies = `require('net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`;
    spawnSync(process.execPath, ['-e', dies, path]);
    await expect(controlClient(path)).rejects.toThrow('nobody listens on it');
    await using daemon = await server(path);
    await expect(server(path)).rejects.toMatchObject({ code: 'BUSY' });
    await expect(daemon.listen(freshPath())).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
    await using client = await controlClient(path);
    expect(await client.call('ping')).toBe('pong');
  });

  test('not in a directory that others may write to', async () => {
    const open = mkdtempSync(join(directory, 'open-'));
    await chmod(open, 0o777);
    await expect(server(join(open, 's'))).rejects.toMatchObject({ code: 'ACCESS_DENIED' });
  });

  test('what listens there and says nothing is given up', async () => {
    const path = freshPath();
    await using mute = await listenUnix(path, () => undefined);
    expect(mute.description).toContain(path);
    await expect(controlClient(path, { connectTimeoutMs: 20 })).rejects.toMatchObject({
      code: 'TIMEOUT',
      wait: 'connect',
    });
  });

  test('fifty clients, twenty commands each', async () => {
    const path = freshPath();
    await using daemon = await server(path);
    await Promise.all(
      Array.from({ length: 50 }, async () => {
        await using client = await controlClient(path);
        for (let time = 0; time < 20; time++) expect(await client.call('ping')).toBe('pong');
      }),
    );
    expect(daemon.clients().length).toBeLessThanOrEqual(50);
  });

  test('clients that are killed while they ask disturb nobody', async () => {
    const path = freshPath();
    await using daemon = await server(path);
    for (const words of [
      '',
      '{"cmd":"ping"}\n',
      '{"cmd":"big"}\n',
      '{"cmd":"bi',
      '\u0000\u0001',
      '{"cmd":"big"}\n'.repeat(50),
    ]) {
      const socket = connect(path);
      await once(socket, 'connect');
      socket.write(words);
      socket.destroy();
    }
    await using client = await controlClient(path);
    expect(await client.call('ping')).toBe('pong');
    await client.close();
    await daemon.close();
    expect(daemon.clients()).toEqual([]);
  });

  test('a client that only ends its side, as nc -N does, gets its answers', async () => {
    const path = freshPath();
    await using daemon = await server(path);
    expect(daemon.clients()).toEqual([]);
    const socket = connect({ path, allowHalfOpen: true });
    socket.end('{"cmd":"ping"}\n{"cmd":"ping","opts":{}}\n');
    let all = '';
    for await (const piece of socket) all += String(piece);
    expect(all).toBe('{"version":"1"}\n{"status":true,"response":"pong"}\n{"status":true,"response":"pong"}\n');
  });

  test('a follower that leaves is seen to leave', async () => {
    const path = freshPath();
    const left = moment();
    const follow = plainCommand(async ({ takeOver }) => {
      const stream = await takeOver();
      await stream.write(Buffer.from('news\n'));
      for await (const piece of stream.source) expect(piece).toBeDefined();
      left.come();
      return ok();
    });
    await using daemon = await server(path, { follow });
    expect(daemon.clients()).toEqual([]);
    const client = await controlClient(path);
    await client.call('follow');
    const stream = client.detach();
    for await (const piece of stream.source) {
      expect(Buffer.from(piece).toString()).toBe('news\n');
      break;
    }
    await stream.close();
    await left.promise;
  });
});

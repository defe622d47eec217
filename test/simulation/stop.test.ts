import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import { spawnCommand, type RunningCommand } from '../../src/handlers/run-command.ts';
import { ByteStreamRPC } from '../../src/rpc/byte-stream-rpc.ts';
import type { RPCHandler, RPCRequester, Transfer } from '../../src/rpc/interfaces.ts';
import { connectCommand } from '../../src/transport/command.ts';
import { memoryPair } from '../../src/transport/memory.ts';
import { childPids, childProgram, processState, type ChildProgram } from '../support/child-program.ts';
import { relayArgv } from '../support/relay.ts';
import { sessionHandler } from '../support/session.ts';
import { initial } from '../support/transfers.ts';

const MiB = 1024 * 1024;
const bigBytes = 16 * MiB;
let directory: string;
let file: string;
let childrenAtFirst: ReadonlySet<number>;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'snapferry-stop-'));
  file = join(directory, 'content');
  childrenAtFirst = new Set(childPids());
  await writeFile(file, Buffer.alloc(bigBytes, 7));
});
afterAll(() => rm(directory, { recursive: true }));

async function until(condition: () => boolean, what: string): Promise<void> {
  for (let tries = 0; !condition(); tries++) {
    if (tries > 1500) throw new Error(`still waiting: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function stop(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP');
  await until(() => processState(pid) === 'T', `process ${pid} to stop`);
}

const isGone = (pid: number): boolean => processState(pid) === null;

async function outcome(promise: Promise<unknown>): Promise<unknown> {
  return promise.catch((error: unknown) => error);
}

/** Reads a transfer; `onFirst` runs when its first piece is here. */
async function countBytes({ bytes }: Transfer, onFirst: () => Promise<void> | void): Promise<number> {
  let count = 0;
  for await (const piece of bytes) {
    if (count === 0) await onFirst();
    count += piece.byteLength;
  }
  return count;
}

describe('the process that stands for ssh, and the server behind it (scenario 12)', () => {
  let server: ChildProgram;
  let path: string;

  beforeEach(() => {
    path = join(directory, `${Math.random()}.sock`);
  });

  async function connected(heartbeatMs: number): Promise<{ client: RPCRequester; pid: number }> {
    const before = new Set(childPids());
    const stream = await connectCommand({ argv: relayArgv(path), description: 'ssh example', graceMs: 200 });
    const pid = childPids().find((child) => !before.has(child)) ?? -1;
    return { client: await ByteStreamRPC.connect(stream, { heartbeatMs }), pid };
  }

  async function bigTransfer(client: RPCRequester): Promise<Transfer> {
    const [version] = await client.filesystemVersions({ filesystem: ['big'] });
    return client.initialTransfer({ filesystem: ['big'], version: version! });
  }

  async function withServer(heartbeatMs: number, use: () => Promise<void>): Promise<void> {
    server = await childProgram('replication-server.ts', path, String(heartbeatMs), String(bigBytes));
    try {
      await use();
    } finally {
      await server.stop();
    }
  }

  test('stopped and continued, ssh and server go on as if nothing had been', async () => {
    await withServer(60_000, async () => {
      const { client, pid } = await connected(60_000);
      for (const stopped of [pid, server.pid]) {
        const count = await countBytes(await bigTransfer(client), async () => {
          await stop(stopped);
          const beside = client.filesystems({ roots: null });
          process.kill(stopped, 'SIGCONT');
          beside.catch(() => undefined);
        });
        expect(count).toBeGreaterThan(bigBytes);
      }
      await stop(pid);
      const asked = client.filesystems({ roots: null });
      process.kill(pid, 'SIGCONT');
      expect(await asked).toContainEqual(['big']);
      await client.close();
      await until(() => isGone(pid), 'the relay to be reaped');
    });
  });

  test.each(['ssh', 'the server'])('%s stopped for good is a silent peer, in mid-stream', async (who) => {
    await withServer(50, async () => {
      const { client, pid } = await connected(50);
      const beside: Promise<unknown>[] = [];
      const transfer = countBytes(await bigTransfer(client), async () => {
        beside.push(outcome(client.filesystems({ roots: null })));
        await stop(who === 'ssh' ? pid : server.pid);
      });
      expect(await outcome(transfer)).toMatchObject({ code: 'PEER_SILENT' });
      expect(await Promise.all(beside)).toMatchObject([{ code: 'PEER_SILENT' }]);
      await client.close();
      await until(() => isGone(pid), 'the relay to be killed and reaped');
    });
  });

  test('ssh killed in mid-stream is named in the error, and reaped', async () => {
    await withServer(60_000, async () => {
      const { client, pid } = await connected(60_000);
      const transfer = countBytes(await bigTransfer(client), () => void process.kill(pid, 'SIGKILL'));
      const error = (await outcome(transfer)) as SnapferryError;
      expect(error).toMatchObject({ code: 'CONNECTION_LOST', retryable: true });
      expect(error.message).toMatch(/ssh example was ended by SIGKILL/);
      expect(await outcome(client.filesystems({ roots: null }))).toBe(error);
      await until(() => isGone(pid), 'the relay to be reaped');
    });
  });

  test('the server killed in mid-stream ends ssh, and every call', async () => {
    await withServer(60_000, async () => {
      const { client, pid } = await connected(60_000);
      const transfer = countBytes(await bigTransfer(client), () => server.kill('SIGKILL'));
      const beside = outcome(client.filesystems({ roots: null }));
      expect((await outcome(transfer)) as SnapferryError).toMatchObject({ retryable: true, connectionDead: true });
      expect(await beside).toBeInstanceOf(SnapferryError);
      client.forceClose();
      await until(() => isGone(pid), 'the relay to end');
    });
  });
});

/** Our two ends in this process, and a tool that gives the transfer's bytes. */
async function withSendingTool(argv: readonly [string, ...string[]]) {
  const tools: RunningCommand[] = [];
  const handler: RPCHandler = {
    ...sessionHandler([]),
    initialTransfer: (_, { signal }) => {
      const tool = spawnCommand({ argv, signal, stdin: new Uint8Array(0) });
      tools.push(tool);
      const bytes = (async function* () {
        yield* tool.stdout;
        await tool.finished;
      })();
      return Promise.resolve({ format: null, estimatedBytes: null, resumed: false, bytes });
    },
  };
  const [near, far] = memoryPair();
  const served = ByteStreamRPC.listen(far, { clientIdentity: 'tester', handler, heartbeatMs: 50 });
  const client = await ByteStreamRPC.connect(near, { heartbeatMs: 50 });
  const close = async (): Promise<void> => {
    await client.close();
    await served;
  };
  return { client, close, pid: () => tools.at(-1)?.pid ?? -1 };
}

describe('the sending tool (scenario 12)', () => {
  test('stopped for longer than a peer may be silent, and continued, gives all', async () => {
    const { client, close, pid } = await withSendingTool(['cat', file]);
    const count = await countBytes(await client.initialTransfer(initial), async () => {
      await stop(pid());
      // Ten heartbeats of 50 ms: what is being shown is that these keep the connection, however long this takes.
      for (let beats = 0; beats < 10; beats++) await new Promise((resolve) => setTimeout(resolve, 50));
      process.kill(pid(), 'SIGCONT');
    });
    expect(count).toBe(bigBytes);
    await close();
    expect(isGone(pid())).toBe(true);
  });

  test('killed is a failed transfer that names it, and the connection goes on', async () => {
    const { client, close, pid } = await withSendingTool(['cat', file, '/dev/zero']);
    const transfer = countBytes(await client.initialTransfer(initial), () => void process.kill(pid(), 'SIGKILL'));
    const error = (await outcome(transfer)) as SnapferryError;
    expect(error).toMatchObject({ code: 'SOURCE_FAILED', fromPeer: true, connectionDead: false });
    expect(error.message).toMatch(/cat.*SIGKILL/);
    expect(await client.filesystemVersions({ filesystem: ['a'] })).toHaveLength(2);
    await close();
    expect(isGone(pid())).toBe(true);
  });

  test('stopped and then cancelled is killed and reaped', async () => {
    const { client, close, pid } = await withSendingTool(['cat', '/dev/zero']);
    const { bytes } = await client.initialTransfer(initial);
    const reader = bytes[Symbol.asyncIterator]();
    await reader.next();
    await stop(pid());
    await reader.return?.();
    expect(await client.filesystemVersions({ filesystem: ['a'] })).toHaveLength(2);
    await until(() => isGone(pid()), 'the tool to be reaped');
    await close();
  });
});

describe('the receiving tool (scenarios 12, 16)', () => {
  async function receive(
    client: RPCRequester,
    tool: RunningCommand,
    onFirst: () => Promise<void> | void,
  ): Promise<void> {
    const { bytes } = await client.initialTransfer(initial);
    let isFirst = true;
    for await (const piece of bytes) {
      await tool.write(piece);
      if (isFirst) await onFirst();
      isFirst = false;
    }
    await tool.endInput();
    await tool.finished;
  }

  test('stopped and continued gets all', async () => {
    const { client, close } = await withSendingTool(['cat', file]);
    const copy = join(directory, 'copy');
    const tool = spawnCommand({ argv: ['dd', `of=${copy}`, 'status=none'] });
    await receive(client, tool, async () => {
      await stop(tool.pid ?? -1);
      setTimeout(() => process.kill(tool.pid ?? -1, 'SIGCONT'), 300);
    });
    expect((await readFile(copy)).equals(await readFile(file))).toBe(true);
    await close();
  });

  test('killed while an endless sender runs: its end is the cause, and the sender is gone', async () => {
    const { client, close, pid } = await withSendingTool(['cat', '/dev/zero']);
    const tool = spawnCommand({ argv: ['dd', 'of=/dev/null', 'status=none'] });
    const received = receive(client, tool, () => void process.kill(tool.pid ?? -1, 'SIGKILL'));
    const error = (await outcome(received)) as SnapferryError;
    expect(error.message).toMatch(/dd.*SIGKILL/);
    await until(() => isGone(pid()), 'the sender to be reaped');
    expect(await client.filesystemVersions({ filesystem: ['a'] })).toHaveLength(2);
    await close();
  });
});

test('no child of all these is left', async () => {
  await until(() => childPids().every((pid) => childrenAtFirst.has(pid)), 'children to be reaped');
});

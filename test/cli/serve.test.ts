import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { DatasetPath, FilesystemVersion } from '../../src/dataset.ts';
import { ByteStreamRPC } from '../../src/rpc/byte-stream-rpc.ts';
import type { RPCRequester } from '../../src/rpc/interfaces.ts';
import type { ByteStream } from '../../src/transport/byte-stream.ts';
import { connectCommand } from '../../src/transport/command.ts';
import { builtProgram, runProgram } from '../support/run-program.ts';

const bigBytes = 8 * 1024 * 1024;
let work: string;
let stream: ByteStream;
let client: RPCRequester;
let filesystem: DatasetPath;
let version: FilesystemVersion;

beforeEach(async () => {
  work = await mkdtemp(join(tmpdir(), 'snapferry-serve-'));
  await mkdir(join(work, 'source'));
  await writeFile(join(work, 'source/big'), randomBytes(bigBytes));
  await runProgram(['snapshot', '--snapshot-name', 'one', 'source'], { cwd: work });
});
afterEach(async () => {
  client.forceClose();
  await stream.close().catch(() => {});
  await rm(work, { recursive: true, force: true });
});

/** Connects to a `serve --stdio`, whose pid is left in a file. */
async function connect(...flags: string[]): Promise<void> {
  const program = await builtProgram();
  const script = 'echo $$ > "$1"; shift; exec "$@"';
  const command = [process.execPath, program, 'serve', '--stdio', ...flags, '--', join(work, 'source')];
  stream = await connectCommand({ argv: ['/bin/sh', '-c', script, 'sh', join(work, 'pid'), ...command] });
  client = await ByteStreamRPC.connect(stream);
  filesystem = (await client.filesystems({ roots: null }))[0]!;
  version = (await client.filesystemVersions({ filesystem }))[0]!;
}

const terminate = async () => process.kill(Number(await readFile(join(work, 'pid'), 'utf8')), 'SIGTERM');

/** A signal takes its time; requests that are answered before it arrives are none of its business. */
async function askUntilRefused(): Promise<never> {
  for (;;) await client.filesystemVersions({ filesystem });
}

test('SIGTERM lets a transfer finish and refuses the next request', async () => {
  await connect();
  const { bytes } = await client.initialTransfer({ filesystem, version });
  let received = 0;
  for await (const piece of bytes) {
    if (received === 0) await terminate();
    received += piece.byteLength;
  }
  expect(received).toBeGreaterThan(bigBytes);
  await expect(askUntilRefused()).rejects.toMatchObject({
    code: expect.stringMatching(/^(GOODBYE|CONNECTION_LOST)$/) as string,
    retryable: true,
  });
});

test('SIGTERM ends an idle server', async () => {
  await connect();
  await terminate();
  await expect(askUntilRefused()).rejects.toMatchObject({ retryable: true });
});

test('a transfer that fails in mid-stream makes the server exit with a failure', async () => {
  await connect();
  await rm(join(work, 'source/.snapferry/snapshots/one/big'));
  const { bytes } = await client.initialTransfer({ filesystem, version });
  const drain = async () => {
    for await (const piece of bytes) expect(piece.byteLength).toBeGreaterThan(0);
  };
  await expect(drain()).rejects.toMatchObject({ code: 'SOURCE_FAILED', fromPeer: true });
  // The connection stays usable, and the exit status tells at the end.
  expect(await client.filesystemVersions({ filesystem })).toHaveLength(1);
  await expect(client.close()).rejects.toThrow(/exited with status 1/);
});

test('a server that did all it was asked exits with 0, also when a transfer was left', async () => {
  await connect();
  const { bytes } = await client.initialTransfer({ filesystem, version });
  await bytes[Symbol.asyncIterator]().return?.();
  await client.close();
});

test('only one new snapshot is taken in a session, and a planned one never', async () => {
  await writeFile(join(work, 'source/new'), 'x');
  await connect('--snapshot-dry-run');
  const planned = await client.filesystemVersions({ filesystem });
  expect(planned.map(({ type }) => type)).toEqual(['snapshot', 'planned']);
  await client.close();
  await connect('--snapshot', '--snapshot-name=two');
  expect((await client.filesystemVersions({ filesystem })).map(({ name }) => name)).toEqual(['one', 'two']);
  await writeFile(join(work, 'source/new'), 'y');
  expect((await client.filesystemVersions({ filesystem })).map(({ name }) => name)).toEqual(['one', 'two']);
  await client.close();
});

import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { spawnCommand } from '../../src/handlers/run-command.ts';
import { ByteStreamRPC } from '../../src/rpc/byte-stream-rpc.ts';
import type { RPCHandler, Transfer } from '../../src/rpc/interfaces.ts';
import type { TransferBytes } from '../../src/sink.ts';
import type { ByteStream } from '../../src/transport/byte-stream.ts';
import { asyncBlocks } from './blocks.ts';
import { usageNow, type EndOptions } from './end-options.ts';
import { dataset, requireBytes, requireVersions, versions, type AskingTalk } from './talk.ts';
import { receivingTool, sendingTool } from './tools.ts';

/** A throttled reader waits once it is so far ahead of its time, in milliseconds: timers are no finer than that. */
const aheadMsMin = 4;

/** Asks over ByteStreamRPC. `gone` resolves when the other end's process is. */
export async function askRPC(stream: ByteStream, options: EndOptions, gone: Promise<void>): Promise<AskingTalk> {
  const client = await ByteStreamRPC.connect(stream, rpcOptions(options));
  if (client.protocolVersion !== options.version) throw new Error(`agreed on version ${client.protocolVersion}`);
  return {
    async transfer(bytes, bytesPerSecondMax) {
      const transfer = await client.initialTransfer({ filesystem: dataset, version: versionOf(bytes) });
      if (options.tools === true) await feedTool(transfer.bytes, bytes);
      else if (bytesPerSecondMax === undefined) await count(transfer.bytes, bytes);
      else await count(throttled(transfer.bytes, bytesPerSecondMax), bytes);
    },
    async request() {
      requireVersions(await client.filesystemVersions({ filesystem: dataset }));
    },
    async usage() {
      const [[cpuMicros, residentKibMax] = []] = await client.filesystems({ roots: null });
      return { cpuMicros: Number(cpuMicros), residentKibMax: Number(residentKibMax) };
    },
    async close() {
      await client.close();
      await gone;
    },
  };
}

/** Answers over ByteStreamRPC until the other end has closed. */
export async function answerRPC(stream: ByteStream, options: EndOptions): Promise<void> {
  await ByteStreamRPC.listen(stream, { ...rpcOptions(options), clientIdentity: 'bench', handler: handler(options) });
}

function rpcOptions({ version, digest }: EndOptions) {
  return { maximumVersion: version, digests: digest ? (['xxh64'] as const) : [] };
}

function handler(options: EndOptions): RPCHandler {
  const transfer = (bytes: number, signal: AbortSignal): Transfer => ({
    format: 'bench',
    estimatedBytes: bytes,
    resumed: false,
    bytes: source(bytes, options, signal),
  });
  return {
    // The one call whose answer is text of our choice.
    filesystems: () => {
      const { cpuMicros, residentKibMax } = usageNow();
      return Promise.resolve([[String(cpuMicros), String(residentKibMax)]]);
    },
    filesystemVersions: () => Promise.resolve(versions),
    initialTransfer: ({ version }, { signal }) => Promise.resolve(transfer(Number(version.name), signal)),
    incrementalTransfer: ({ to }, { signal }) => Promise.resolve(transfer(Number(to.name), signal)),
  };
}

function versionOf(bytes: number) {
  return { type: 'snapshot', name: String(bytes), guid: 1n, createTXG: 1n, creation: null };
}

function source(
  bytes: number,
  { blockBytes, tools, filesFolder }: EndOptions,
  signal: AbortSignal,
): AsyncIterable<Uint8Array> {
  if (filesFolder !== undefined) {
    return createReadStream(join(filesFolder, String(bytes)), { highWaterMark: blockBytes, signal });
  }
  return tools === true ? fromTool(bytes, blockBytes, signal) : asyncBlocks(bytes, blockBytes);
}

async function* fromTool(bytes: number, blockBytes: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const tool = spawnCommand({ argv: sendingTool(bytes, blockBytes), signal });
  yield* tool.stdout;
  await tool.finished;
}

async function feedTool(bytes: TransferBytes, expected: number): Promise<void> {
  const counter = { bytes: 0 };
  const tool = spawnCommand({ argv: receivingTool, stdin: counted(bytes, counter) });
  for await (const piece of tool.stdout) throw new Error(`the tool printed ${piece.byteLength} bytes`);
  await tool.finished;
  requireBytes(counter.bytes, expected);
}

async function* counted(bytes: TransferBytes, counter: { bytes: number }) {
  for await (const piece of bytes) {
    counter.bytes += piece.byteLength;
    yield piece;
  }
}

async function count(bytes: TransferBytes, expected: number): Promise<void> {
  let received = 0;
  for await (const piece of bytes) received += piece.byteLength;
  requireBytes(received, expected);
}

async function* throttled(bytes: TransferBytes, bytesPerSecondMax: number) {
  const begun = performance.now();
  let received = 0;
  for await (const piece of bytes) {
    received += piece.byteLength;
    yield piece;
    const aheadMs = (received / bytesPerSecondMax) * 1000 - (performance.now() - begun);
    if (aheadMs > aheadMsMin) await delay(aheadMs);
  }
}

import { ByteStreamRPC } from '../../src/rpc/byte-stream-rpc.ts';
import type { RPCHandler, Transfer } from '../../src/rpc/interfaces.ts';
import type { ByteStream } from '../../src/transport/byte-stream.ts';
import { usageNow, type EndOptions } from './end-options.ts';
import { dataset, requireBytes, versions, type AskingTalk } from './talk.ts';

/** Asks over ByteStreamRPC. `gone` resolves when the other end's process is. */
export async function askRPC(stream: ByteStream, options: EndOptions, gone: Promise<void>): Promise<AskingTalk> {
  const client = await ByteStreamRPC.connect(stream, rpcOptions(options));
  if (client.protocolVersion !== options.version) throw new Error(`agreed on version ${client.protocolVersion}`);
  return {
    async transfer(bytes) {
      const transfer = await client.initialTransfer({ filesystem: dataset, version: versionOf(bytes) });
      let received = 0;
      for await (const piece of transfer.bytes) received += piece.byteLength;
      requireBytes(received, bytes);
    },
    async request() {
      const answer = await client.filesystemVersions({ filesystem: dataset });
      requireBytes(answer.length, versions.length);
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

function handler({ blockBytes }: EndOptions): RPCHandler {
  const transfer = (bytes: number): Transfer => ({
    format: 'bench',
    estimatedBytes: bytes,
    resumed: false,
    bytes: sameBlock(bytes, blockBytes),
  });
  return {
    // The one call whose answer is text of our choice.
    filesystems: () => {
      const { cpuMicros, residentKibMax } = usageNow();
      return Promise.resolve([[String(cpuMicros), String(residentKibMax)]]);
    },
    filesystemVersions: () => Promise.resolve(versions),
    initialTransfer: ({ version }) => Promise.resolve(transfer(Number(version.name))),
    incrementalTransfer: ({ to }) => Promise.resolve(transfer(Number(to.name))),
  };
}

function versionOf(bytes: number) {
  return { type: 'snapshot', name: String(bytes), guid: 1n, createTXG: 1n, creation: null };
}

/** One preallocated block again and again: a source that costs next to nothing. */
function sameBlock(bytes: number, blockBytes: number): AsyncIterable<Uint8Array> {
  const block = Buffer.alloc(blockBytes, 0x5a);
  let left = bytes;
  const next = (): Promise<IteratorResult<Uint8Array>> => {
    if (left === 0) return Promise.resolve({ done: true, value: undefined });
    const value = left < blockBytes ? block.subarray(0, left) : block;
    left -= value.byteLength;
    return Promise.resolve({ done: false, value });
  };
  return { [Symbol.asyncIterator]: () => ({ next }) };
}

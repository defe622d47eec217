import { describe, expect, test } from 'vitest';
import { ByteStreamRPC } from '../../src/rpc/byte-stream-rpc.ts';
import type { ByteStream } from '../../src/transport/byte-stream.ts';
import { changedStream } from '../support/changed-stream.ts';
import { scripted, type ScriptedPeer } from '../support/scripted-peer.ts';
import { idOf, nextJSON, request, scriptedRequester } from '../support/scripted-session.ts';
import { moment } from '../support/server-fixture.ts';
import { filesystem, sessionHandler } from '../support/session.ts';
import { transferOf } from '../support/transfers.ts';

/** Lengths of the chunks that come before the next terminator. */
async function chunkLengths(peer: ScriptedPeer): Promise<number[]> {
  const { wire } = (await peer.message())!;
  const lengths: number[] = [];
  for (let at = 0; at < wire.byteLength - 4; at += 4 + lengths.at(-1)!) lengths.push(wire.readUInt32LE(at));
  return lengths;
}

describe('a stream', () => {
  const bytes = Buffer.alloc(2 * 1024 * 1024 + 5, 'x');
  const handler = { ...sessionHandler([]), initialTransfer: () => Promise.resolve(transferOf(bytes)) };
  const transfer = request(0x12, idOf(2), { Filesystem: filesystem, FilesystemVersion: {} });

  test('goes to a version-1 peer in the chunks the Go implementation writes: 32 KiB with their header', async () => {
    const { peer } = await scriptedRequester({ clientIdentity: 'tester', handler }, { ClientVersion: 1 });
    peer.send(transfer);
    await nextJSON(peer);
    const lengths = await chunkLengths(peer);
    const whole = 32 * 1024 - 4;
    expect(lengths.slice(0, -1).every((length) => length === whole)).toBe(true);
    expect(lengths).toHaveLength(Math.ceil(bytes.byteLength / whole));
    peer.abort();
  });

  test('goes to a version-2 peer in chunks of up to 1 MiB, and its trailer says all it can', async () => {
    const { peer } = await scriptedRequester({ clientIdentity: 'tester', handler });
    peer.send(transfer);
    await nextJSON(peer);
    expect(await chunkLengths(peer)).toEqual([1024 * 1024, 1024 * 1024, 5]);
    const digest = { Algorithm: 'xxh64', Value: expect.stringMatching(/^[0-9a-f]{16}$/) as string };
    expect(await nextJSON(peer)).toEqual({ ErrorId: 0, Message: '', Bytes: bytes.byteLength, Digest: digest });
    peer.abort();
  });

  test('of many small pieces is gathered while a write is under way, and leaves in the next', async () => {
    const { stream, peer } = scripted();
    const [begun, exhausted] = [moment(), moment()];
    const writes: number[] = [];
    const write: ByteStream['write'] = async (piece) => {
      writes.push(piece.byteLength);
      if (writes.length === 3) {
        begun.resolve();
        await exhausted.promise;
      }
      return stream.write(piece);
    };
    const small = async function* (): AsyncGenerator<Uint8Array> {
      yield Buffer.alloc(4);
      await begun.promise;
      for (let count = 0; count < 1000; count++) yield Buffer.alloc(4);
      exhausted.resolve();
    };
    const sent = { format: null, estimatedBytes: null, resumed: false, bytes: small() };
    const handler = { ...sessionHandler([]), initialTransfer: () => Promise.resolve(sent) };
    const options = { clientIdentity: 'tester', handler, heartbeatMs: 3_600_000 };
    const served = ByteStreamRPC.listen(changedStream(stream, { write }), options);
    peer.send(request(1, idOf(1), { ClientVersion: 1, MaxVersion: 2 }));
    await nextJSON(peer);
    peer.send(transfer);
    await nextJSON(peer);
    expect((await peer.message())!.payload).toHaveLength(4004);
    // The hello, the header, the first piece, all the others; the trailer comes last.
    expect(writes.slice(2, 4)).toEqual([8, 8000]);
    await nextJSON(peer);
    peer.end();
    await served;
  });

  test('has no digest in its trailer where none was agreed', async () => {
    const { peer } = await scriptedRequester({ clientIdentity: 'tester', handler, digests: [] });
    peer.send(transfer);
    await nextJSON(peer);
    await peer.message();
    expect(await nextJSON(peer)).toEqual({ ErrorId: 0, Message: '', Bytes: bytes.byteLength, Digest: null });
    peer.abort();
  });
});

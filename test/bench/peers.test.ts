import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { PeerName } from '../../bench/ends/end-options.ts';
import { loadPeer } from '../../bench/ends/peers/peer.ts';
import { requireBytes, requireVersions, wireVersions, type AskingTalk } from '../../bench/ends/talk.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'snapferry-bench-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** Joins both ends of a peer within this process, and sees that the answering one comes to its end. */
async function withPeer(name: PeerName, work: (talk: AskingTalk) => Promise<void>): Promise<void> {
  const peer = await loadPeer(name);
  const path = join(folder, name);
  let answered: Promise<void> = Promise.resolve();
  const listening = new Promise<void>((resolve, reject) => {
    answered = peer.answer(path, 65_536, resolve);
    answered.catch(reject);
  });
  await listening;
  const talk = await peer.ask(path);
  await work(talk);
  await talk.close();
  await answered;
}

const withStreams: PeerName[] = ['grpc', 'http2', 'ws', 'length-prefixed', 'yamux', 'tool-pipeline'];
const withRequests: PeerName[] = ['grpc', 'http2', 'ws', 'length-prefixed', 'yamux', 'jsonrpc'];

describe('the peers', () => {
  test.each(withStreams)('%s carries every byte of several transfers', async (name) => {
    await withPeer(name, async (talk) => {
      // Each of them rejects unless exactly so many bytes have come.
      for (const bytes of [1, 65_536, 3 * 1024 * 1024 + 17, 1]) await talk.transfer(bytes);
    });
  });

  test.each(withRequests)('%s answers requests', async (name) => {
    await withPeer(name, async (talk) => {
      for (let call = 0; call < 5; call++) await talk.request();
    });
  });

  test.each([...withStreams, 'jsonrpc' as const])('%s tells what its other end has used', async (name) => {
    await withPeer(name, async (talk) => {
      const { cpuMicros, residentKibMax } = await talk.usage();
      expect(cpuMicros).toBeGreaterThan(0);
      expect(residentKibMax).toBeGreaterThan(1024);
    });
  });

  test('what a peer cannot do is refused, and not measured as nothing', async () => {
    await withPeer('jsonrpc', (talk) => expect(talk.transfer(1)).rejects.toThrow('no streams'));
    await withPeer('tool-pipeline', (talk) => expect(talk.request()).rejects.toThrow('no requests'));
  });
});

describe('what is refused as no measurement', () => {
  test('too few bytes, too many bytes', () => {
    expect(() => requireBytes(9, 10)).toThrow('received 9 bytes where 10 were sent');
    expect(() => requireBytes(11, 10)).toThrow('received 11 bytes where 10 were sent');
  });

  test('an answer that lacks a version, or is none', () => {
    expect(() => requireVersions(wireVersions.slice(1))).toThrow('received 2 versions where 3 were sent');
    expect(() => requireVersions({})).toThrow('received -1 versions');
  });
});

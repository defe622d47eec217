import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ByteStreamRPC } from '../../../src/rpc/byte-stream-rpc.ts';
import { answerCustom, customCall } from '../../../src/rpc/custom-requests.ts';
import type { RPCRequester, UpgradeProtocol } from '../../../src/rpc/interfaces.ts';
import type { ReplicationServer } from '../../../src/rpc/server.ts';
import type { ByteStream } from '../../../src/transport/byte-stream.ts';
import { connectTCP, listenTCP } from '../../../src/transport/tcp.ts';
import { connectTLS, listenTLS } from '../../../src/transport/tls.ts';
import { connectUnix, listenUnix } from '../../../src/transport/unix.ts';
import { makeAuthority, opensslMissing } from '../../support/certificates.ts';
import { describePlatform } from '../../support/platform.ts';
import { seededBytes } from '../../support/recorded.ts';
import { answering, collected, testServer, transferOf } from '../../support/server-fixture.ts';

const size = 3_000_000;
const payload = seededBytes('transports', size);
const store = customCall({
  type: 0x80,
  name: 'Store',
  request: (value) => String(value),
  answer: 'stream',
  upload: true,
});
/** Sends back what comes. */
const echo: UpgradeProtocol = {
  name: 'echo',
  open: () =>
    Promise.resolve(async (stream) => {
      for await (const piece of stream.source) await stream.write(new Uint8Array(piece));
      await stream.close();
    }),
};

let directory: string;
let server: ReplicationServer;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'snapferry-transports-'));
  const custom = answerCustom(store, async (name, _, upload) =>
    transferOf([Buffer.from(name), await collected(upload)]),
  );
  server = testServer({ handler: answering({ custom: [custom], protocols: [echo] }) });
});
afterEach(async () => {
  await server.disconnect(0);
  await rm(directory, { recursive: true });
});

const loopback = { host: '127.0.0.1', port: 0 };

interface ServedTransport {
  /** Whom the server takes the client for. */
  readonly identity: string;
  readonly connect: () => Promise<ByteStream>;
}

const transports: Record<string, () => Promise<ServedTransport>> = {
  async unix() {
    const path = join(directory, 's.sock');
    await server.listen((onConnection) => listenUnix(path, onConnection));
    return { identity: '', connect: () => connectUnix(path) };
  },
  async tcp() {
    const identities = { '127.0.0.0/8': 'a neighbour' };
    const { port } = await server.listen((onConnection) => listenTCP(loopback, onConnection, { identities }));
    return { identity: 'a neighbour', connect: () => connectTCP({ ...loopback, port }) };
  },
};

async function serveWell({ identity, connect }: ServedTransport): Promise<void> {
  const clients = await Promise.all(Array.from({ length: 3 }, async () => ByteStreamRPC.connect(await connect())));
  const [first, second, third] = clients as [RPCRequester, RPCRequester, RPCRequester];
  expect(server.sessions().map((session) => session.identity)).toEqual([identity, identity, identity]);

  const upload = transferOf([payload.subarray(0, 1), payload.subarray(1)]).bytes;
  const { bytes } = await first.request(store, 'name ', { upload });
  expect((await collected(bytes)).equals(Buffer.concat([Buffer.from('name '), payload]))).toBe(true);

  const stream = await second.upgrade('echo');
  const heard = collected(stream.source);
  for (let at = 0; at < size; at += 100_000) await stream.write(payload.subarray(at, at + 100_000));
  await stream.end();
  expect((await heard).equals(payload)).toBe(true);
  await stream.close();

  expect(await third.filesystems({ roots: null })).toEqual([['tank']]);
  await third.close();
  await first.close();
}

const what = 'serves several at once, knows who they are, and hands the stream over whole';

describe.each(Object.entries(transports))('a server over %s', (_, open) => {
  test(what, async () => serveWell(await open()));
});

describePlatform('a server over TLS', opensslMissing, () => {
  test(what, async () => {
    const authority = await makeAuthority();
    try {
      const own = await authority.issue('/CN=server', 'IP:127.0.0.1');
      const client = await authority.issue('/CN=laptop');
      const ca = authority.cert;
      const { port } = await server.listen((onConnection) => listenTLS(loopback, onConnection, { ca, ...own }));
      await serveWell({ identity: 'laptop', connect: () => connectTLS({ ...loopback, port, ca, ...client }) });
    } finally {
      await authority.remove();
    }
  });
});

import { createServer, Socket, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import type { OnConnection } from '../../src/transport/listener.ts';
import { listenTCP } from '../../src/transport/tcp.ts';
import { listenUnix } from '../../src/transport/unix.ts';
import { stdio } from '../../src/transport/stdio.ts';
import { loopback, type EndOptions } from './end-options.ts';
import { answerRaw } from './raw-talk.ts';
import { answerRPC } from './rpc-talk.ts';

/** The program at the answering end: serves one connection as its only argument says, and exits. */
async function main(options: EndOptions): Promise<void> {
  if (options.carrier === 'stdio') {
    if (options.talk === 'rpc') await answerRPC(stdio(), options);
    else await answerRaw(process.stdin, new Socket({ fd: 1, readable: false, writable: true }), options);
    return;
  }
  if (options.talk === 'rpc') await listenRPC(options);
  else await listenRaw(options);
}

async function listenRPC(options: EndOptions): Promise<void> {
  let serve: (served: Promise<void>) => void;
  const served = new Promise<void>((resolve) => (serve = resolve));
  const onConnection: OnConnection = (stream) => serve(answerRPC(stream, options));
  if (options.carrier === 'tcp') {
    const identities = { [loopback]: 'bench' };
    const listener = await listenTCP({ host: loopback, port: 0 }, onConnection, { identities });
    process.stdout.write(`${listener.port}\n`);
    await served;
    await listener.close();
    return;
  }
  const listener = await listenUnix(options.socketPath, onConnection);
  process.stdout.write('ready\n');
  await served;
  await listener.close();
}

async function listenRaw(options: EndOptions): Promise<void> {
  const server = createServer();
  if (options.carrier === 'tcp') server.listen(0, loopback);
  else server.listen(options.socketPath);
  await once(server, 'listening');
  const connection = once(server, 'connection') as Promise<[Socket]>;
  const address = server.address() as AddressInfo | string;
  process.stdout.write(typeof address === 'string' ? 'ready\n' : `${address.port}\n`);
  const [socket] = await connection;
  if (options.carrier === 'tcp') socket.setNoDelay(true);
  await answerRaw(socket, socket, options);
  server.close();
}

await main(JSON.parse(process.argv[2] ?? '') as EndOptions);

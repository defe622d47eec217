import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type OnReadOpts, type Server, type Socket } from 'node:net';
import { Writable, type Readable } from 'node:stream';
import { connect as connectTLS, createServer as createTLSServer } from 'node:tls';
import { loopback, type Address, type EndOptions } from './end-options.ts';
import { answerRaw, type RawCarrier } from './raw-talk.ts';

/** The size of static read buffer beyond which nothing was gained. */
const staticBufferBytes = 256 * 1024;

type Sink = Pick<RawCarrier, 'onBytes' | 'onEnd'>;

/** Connects to the answering end's socket. `gone` resolves when the other end's process is. */
export async function connectRaw(address: Address, options: EndOptions, gone: Promise<void>): Promise<RawCarrier> {
  const sink = newSink();
  const socket = await connectReading(address, options, sink);
  return Object.assign(sink, { writable: socket, close: () => closeWritable(socket, gone) });
}

/** Starts the answering end as a child and talks to its standard input and output. */
export async function spawnRaw(argv: readonly string[], options: EndOptions): Promise<RawCarrier> {
  const sink = newSink();
  const [program = '', ...args] = argv;
  if (options.talk !== 'onread') {
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    const gone = exited(child);
    pipeInto(child.stdout, sink);
    return Object.assign(sink, { writable: child.stdin, close: () => closeWritable(child.stdin, gone) });
  }
  // Node offers no static buffer for a child's output, but a child can be given one end of a socket that has one.
  const server = createServer();
  server.listen(options.socketPath);
  await once(server, 'listening');
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const output = await connectReading({ path: options.socketPath }, options, sink);
  const [childOutput] = await accepted;
  server.close();
  const child = spawn(program, args, { stdio: ['pipe', childOutput, 'inherit'] });
  const gone = exited(child);
  childOutput.destroy();
  const close = async (): Promise<void> => {
    await closeWritable(child.stdin, gone);
    output.destroy();
  };
  return Object.assign(sink, { writable: child.stdin, close });
}

/** Listens as `options` say, tells where, and answers one connection to its end. */
export async function listenRaw(options: EndOptions, onListening: (address: Address) => void): Promise<void> {
  const { carrier, credentials } = options;
  const server: Server =
    carrier === 'tls' ? createTLSServer({ ...credentials, requestCert: true, minVersion: 'TLSv1.3' }) : createServer();
  if (carrier === 'unix') server.listen(options.socketPath);
  else server.listen(0, loopback);
  await once(server, 'listening');
  const connection = once(server, carrier === 'tls' ? 'secureConnection' : 'connection') as Promise<[Socket]>;
  const bound = server.address() as AddressInfo | string;
  onListening(typeof bound === 'string' ? { path: bound } : { host: loopback, port: bound.port });
  const [socket] = await connection;
  if (carrier !== 'unix') socket.setNoDelay(true);
  await answerRaw(socket, socket, options);
  server.close();
}

/** Resolves when a child has exited with success; rejects otherwise. */
export function exited(child: ReturnType<typeof spawn>): Promise<void> {
  const gone = new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      if (code === 0) resolve();
      else reject(new Error(`the answering end ended with ${signal ?? String(code)}`));
    });
  });
  // Looked at only when the end is closed; until then the broken connection is what is noticed.
  gone.catch(() => undefined);
  return gone;
}

function newSink(): Sink {
  return { onBytes: () => undefined, onEnd: () => undefined };
}

async function connectReading(address: Address, options: EndOptions, sink: Sink): Promise<Socket> {
  const callback = (bytesRead: number, buffer: Uint8Array): boolean => {
    sink.onBytes(buffer.subarray(0, bytesRead) as Buffer);
    return true;
  };
  const onread = { buffer: Buffer.allocUnsafe(staticBufferBytes), callback };
  const socket = await opened(address, options, options.talk === 'onread' ? { onread } : {});
  if (options.talk === 'onread') noticeEnd(socket, sink);
  else pipeInto(socket, sink);
  return socket;
}

async function opened(address: Address, options: EndOptions, reading: { onread?: OnReadOpts }): Promise<Socket> {
  if ('path' in address || options.carrier !== 'tls') {
    const socket = connect({ ...address, ...reading });
    await once(socket, 'connect');
    if ('port' in address) socket.setNoDelay(true);
    return socket;
  }
  const socket = connectTLS({ ...address, ...options.credentials, ...reading, minVersion: 'TLSv1.3' });
  await once(socket, 'secureConnect');
  socket.setNoDelay(true);
  return socket;
}

/** What stream.pipeline does between two streams. */
function pipeInto(readable: Readable, sink: Sink): void {
  readable.pipe(
    new Writable({
      write(bytes: Buffer, _encoding, done) {
        sink.onBytes(bytes);
        done();
      },
    }),
  );
  noticeEnd(readable, sink);
}

function noticeEnd(readable: Readable, sink: Sink): void {
  readable.on('error', () => sink.onEnd());
  readable.on('close', () => sink.onEnd());
}

async function closeWritable(writable: Writable, gone: Promise<void>): Promise<void> {
  writable.end();
  await gone;
}

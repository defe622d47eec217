import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import type { Address, EndOptions } from './end-options.ts';
import type { RawCarrier } from './raw-talk.ts';

/** The size of static read buffer beyond which nothing was gained. */
const staticBufferBytes = 256 * 1024;

type Sink = Pick<RawCarrier, 'onBytes' | 'onEnd'>;

/** Connects to the answering end's socket. `gone` resolves when the other end's process is. */
export async function connectRaw(address: Address, options: EndOptions, gone: Promise<void>): Promise<RawCarrier> {
  const sink = newSink();
  const socket = await connectReading(address, options.talk === 'onread', sink);
  return Object.assign(sink, { writable: socket, close: () => closeWritable(socket, gone) });
}

/** Starts the answering end as a child and talks to its standard input and output. */
export async function spawnRaw(argv: readonly string[], options: EndOptions): Promise<RawCarrier> {
  const sink = newSink();
  const [program = '', ...args] = argv;
  if (options.talk !== 'onread') {
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    const gone = exited(child);
    readEvents(child.stdout, sink);
    return Object.assign(sink, { writable: child.stdin, close: () => closeWritable(child.stdin, gone) });
  }
  // Node offers no static buffer for a child's output, but a child can be given one end of a socket that has one.
  const server = createServer();
  server.listen(options.socketPath);
  await once(server, 'listening');
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const output = await connectReading({ path: options.socketPath }, true, sink);
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

async function connectReading(address: Address, isStatic: boolean, sink: Sink): Promise<Socket> {
  const callback = (bytesRead: number, buffer: Uint8Array): boolean => {
    sink.onBytes(buffer.subarray(0, bytesRead) as Buffer);
    return true;
  };
  const buffer = Buffer.allocUnsafe(staticBufferBytes);
  const socket = connect(isStatic ? { ...address, onread: { buffer, callback } } : address);
  await once(socket, 'connect');
  if ('port' in address) socket.setNoDelay(true);
  readEvents(socket, sink, isStatic);
  return socket;
}

function readEvents(readable: Readable, sink: Sink, isStatic = false): void {
  if (!isStatic) readable.on('data', (bytes: Buffer) => sink.onBytes(bytes));
  readable.on('error', () => sink.onEnd());
  readable.on('close', () => sink.onEnd());
}

async function closeWritable(writable: Writable, gone: Promise<void>): Promise<void> {
  writable.end();
  await gone;
}

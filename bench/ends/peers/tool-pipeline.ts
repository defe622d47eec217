import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { toolExit, spawnReceivingTool, spawnSendingTool } from '../tools.ts';
import { usageNow, type Usage } from '../end-options.ts';
import { lineSplitter } from '../line-splitter.ts';
import { requireBytes, type Command } from '../talk.ts';
import type { Peer } from './peer.ts';

/** A child's output through a socket into another child's input by stream.pipeline: a connection per transfer, no framing. */
export const toolPipeline: Peer = {
  ask: (path) =>
    Promise.resolve({
      transfer: (bytes) => transfer(path, bytes),
      request: () => Promise.reject(new Error('a bare pipeline has no requests')),
      usage: async () => {
        const socket = await command(path, { ask: 'usage' });
        const pieces = (await socket.toArray()) as Buffer[];
        return JSON.parse(Buffer.concat(pieces).toString()) as Usage;
      },
      close: async () => {
        const socket = connect(path);
        socket.end();
        socket.resume();
        await once(socket, 'close');
      },
    }),
  async answer(path, blockBytes, onListening) {
    const server = createServer({ allowHalfOpen: true });
    const left = new Promise<void>((resolve, reject) => {
      server.on('connection', (socket) => void answer(socket, blockBytes, resolve).catch(reject));
    });
    server.listen(path);
    await once(server, 'listening');
    onListening();
    await left;
    server.close();
  },
};

async function transfer(path: string, bytes: number): Promise<void> {
  const socket = await command(path, { ask: 'bytes', bytes });
  const tool = spawnReceivingTool();
  const exit = toolExit(tool);
  await pipeline(socket, tool.stdin);
  await exit;
  requireBytes(socket.bytesRead, bytes);
}

async function command(path: string, asked: Command): Promise<Socket> {
  const socket = connect({ path, allowHalfOpen: true });
  await once(socket, 'connect');
  socket.end(`${JSON.stringify(asked)}\n`);
  return socket;
}

/** A connection that ends without a command is the farewell. */
async function answer(socket: Socket, blockBytes: number, leave: () => void): Promise<void> {
  const asked = await new Promise<Command | null>((resolve) => {
    socket.once('end', () => resolve(null));
    socket.on(
      'data',
      lineSplitter((line) => resolve(JSON.parse(line) as Command)),
    );
  });
  if (asked?.ask === 'bytes') {
    const tool = spawnSendingTool(asked.bytes, blockBytes);
    const exit = toolExit(tool);
    await pipeline(tool.stdout, socket);
    await exit;
    return;
  }
  socket.end(asked === null ? '' : JSON.stringify(usageNow()));
  if (asked === null) leave();
}

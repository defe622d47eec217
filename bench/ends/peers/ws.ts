import { once } from 'node:events';
import { createServer } from 'node:http';
import { WebSocket, WebSocketServer, type RawData } from 'ws';
import type { Usage } from '../end-options.ts';
import { answerTo, requireBytes, requireVersions, versionsCommand, type Command } from '../talk.ts';
import { blocks } from '../blocks.ts';
import type { Peer } from './peer.ts';

/** So much waits in the socket at most before the next block is made. */
const bufferedBytesMax = 1024 * 1024;

/** `ws` without compression: a block is a binary message, a command and its answer are text. */
export const ws: Peer = {
  async ask(path) {
    const socket = new WebSocket(`ws+unix://${path}:/`, { perMessageDeflate: false });
    await once(socket, 'open');
    let onMessage: (message: Buffer) => void = () => undefined;
    let fail: (error: Error) => void = () => undefined;
    socket.on('message', (message: RawData) => onMessage(message as Buffer));
    socket.on('error', (error) => fail(error));
    socket.on('close', () => fail(new Error('the other end is gone')));
    const ask = <T>(command: Command, take: (message: Buffer, resolve: (value: T) => void) => void): Promise<T> =>
      new Promise((resolve, reject) => {
        fail = reject;
        onMessage = (message) => take(message, resolve);
        socket.send(JSON.stringify(command));
      });
    const value = (command: Command): Promise<unknown> =>
      ask<unknown>(command, (message, resolve) => resolve(JSON.parse(message.toString())));
    return {
      async transfer(bytes) {
        let received = 0;
        await ask<undefined>({ ask: 'bytes', bytes }, (message, resolve) => {
          received += message.byteLength;
          if (received >= bytes) resolve(undefined);
        });
        requireBytes(received, bytes);
      },
      request: async () => requireVersions(await value(versionsCommand)),
      usage: async () => (await value({ ask: 'usage' })) as Usage,
      close: async () => {
        socket.close();
        await once(socket, 'close');
      },
    };
  },
  async answer(path, blockBytes, onListening) {
    const server = createServer();
    const sockets = new WebSocketServer({ server, perMessageDeflate: false });
    const closed = new Promise((resolve) =>
      sockets.once('connection', (socket) => {
        socket.once('close', resolve);
        socket.on('message', (message) => answerMessage(socket, message as Buffer, blockBytes));
      }),
    );
    server.listen(path);
    await once(server, 'listening');
    onListening();
    await closed;
    server.close();
  },
};

function answerMessage(socket: WebSocket, message: Buffer, blockBytes: number): void {
  const command = JSON.parse(message.toString()) as Command;
  if (command.ask !== 'bytes') {
    socket.send(JSON.stringify(answerTo(command)));
    return;
  }
  const source = blocks(command.bytes, blockBytes);
  const more = (): void => {
    while (socket.bufferedAmount < bufferedBytesMax) {
      const next = source.next();
      if (next.done === true) return;
      socket.send(next.value, more);
    }
  };
  more();
}

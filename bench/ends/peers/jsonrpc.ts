import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { createMessageConnection, StreamMessageReader, StreamMessageWriter } from 'vscode-jsonrpc/node';
import { usageNow, type Usage } from '../end-options.ts';
import { dataset, requireVersions, wireVersions, type AskingTalk } from '../talk.ts';
import type { Peer } from './peer.ts';

/** `vscode-jsonrpc`, which has requests and no streams. */
export const jsonrpc: Peer = {
  async ask(path) {
    const socket = connect(path);
    await once(socket, 'connect');
    return askJSONRPC(socket, socket);
  },
  async answer(path, _blockBytes, onListening) {
    const server = createServer();
    const connection = once(server, 'connection') as Promise<[Socket]>;
    server.listen(path);
    await once(server, 'listening');
    onListening();
    const [socket] = await connection;
    server.close();
    await answerJSONRPC(socket, socket);
  },
};

/** Asks over any pair of streams; a close ends `writable`. */
export function askJSONRPC(readable: Readable, writable: Writable): AskingTalk {
  const connection = createMessageConnection(new StreamMessageReader(readable), new StreamMessageWriter(writable));
  connection.listen();
  return {
    transfer: () => Promise.reject(new Error('vscode-jsonrpc has no streams to send bytes in')),
    request: async () => requireVersions(await connection.sendRequest<unknown>('versions', { of: dataset })),
    usage: () => connection.sendRequest<Usage>('usage'),
    close: async () => {
      const closed = once(readable, 'close');
      writable.end();
      await closed;
      connection.dispose();
    },
  };
}

/** Answers {@link askJSONRPC} until its end has come. */
export async function answerJSONRPC(readable: Readable, writable: Writable): Promise<void> {
  const connection = createMessageConnection(new StreamMessageReader(readable), new StreamMessageWriter(writable));
  connection.onRequest('versions', () => wireVersions);
  connection.onRequest('usage', usageNow);
  const ended = once(readable, 'end');
  connection.listen();
  await ended;
  connection.dispose();
  writable.end();
}

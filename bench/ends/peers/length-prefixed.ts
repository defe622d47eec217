import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { decode, encode } from 'it-length-prefixed';
import { pipe } from 'it-pipe';
import type { Uint8ArrayList } from 'uint8arraylist';
import type { Usage } from '../end-options.ts';
import { answerTo, requireBytes, requireVersions, versionsCommand, type Command } from '../talk.ts';
import { asyncBlocks } from '../blocks.ts';
import type { Peer } from './peer.ts';

/** `it-length-prefixed` in an it-pipe: a block, a command and an answer are each one message. */
export const lengthPrefixed: Peer = {
  async ask(path) {
    const socket = connect(path);
    await once(socket, 'connect');
    let onMessage: (message: Uint8ArrayList) => void = () => undefined;
    let fail: (error: Error) => void = () => undefined;
    const over = readMessages(socket, (message) => onMessage(message)).then(
      () => fail(new Error('the other end is gone')),
      (error: unknown) => fail(error as Error),
    );
    const ask = <T>(command: Command, take: (message: Uint8ArrayList, resolve: (value: T) => void) => void) =>
      new Promise<T>((resolve, reject) => {
        fail = reject;
        onMessage = (message) => take(message, resolve);
        writeValue(socket, command);
      });
    const value = (command: Command): Promise<unknown> =>
      ask<unknown>(command, (message, resolve) => resolve(parse(message)));
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
        socket.end();
        await over;
      },
    };
  },
  async answer(path, blockBytes, onListening) {
    const server = createServer({ allowHalfOpen: true });
    const connection = once(server, 'connection') as Promise<[Socket]>;
    server.listen(path);
    await once(server, 'listening');
    onListening();
    const [socket] = await connection;
    server.close();
    await readMessages(socket, async (message) => {
      const command = parse(message) as Command;
      if (command.ask === 'bytes') {
        await pipe(asyncBlocks(command.bytes, blockBytes), (source) => encode(source), sink(socket));
      } else writeValue(socket, answerTo(command));
    });
    socket.end();
  },
};

function readMessages(socket: Socket, onMessage: (message: Uint8ArrayList) => Promise<void> | void): Promise<void> {
  return pipe(
    socket as AsyncIterable<Uint8Array>,
    (source) => decode(source),
    async (messages: AsyncIterable<Uint8ArrayList>) => {
      for await (const message of messages) {
        const taken = onMessage(message);
        if (taken !== undefined) await taken;
      }
    },
  );
}

/** Puts a length and what follows it into one write, as Node's documentation advises. */
function sink(socket: Socket) {
  return async (source: AsyncIterable<Uint8Array>): Promise<void> => {
    for await (const piece of source) {
      if (socket.writableCorked === 0) {
        socket.cork();
        process.nextTick(() => socket.uncork());
      }
      if (!socket.write(piece)) await once(socket, 'drain');
    }
  };
}

function writeValue(socket: Socket, value: unknown): void {
  socket.write(encode.single(Buffer.from(JSON.stringify(value))).subarray());
}

function parse(message: Uint8ArrayList): unknown {
  return JSON.parse(Buffer.from(message.subarray()).toString());
}

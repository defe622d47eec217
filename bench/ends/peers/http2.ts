import { once } from 'node:events';
import { connect as connectSession, createServer, type ClientHttp2Session, type ServerHttp2Stream } from 'node:http2';
import { connect } from 'node:net';
import type { Usage } from '../end-options.ts';
import { answerTo, requireBytes, requireVersions, versionsCommand, type Command } from '../talk.ts';
import { blocks, writeBlocks } from '../blocks.ts';
import type { Peer } from './peer.ts';

/** `node:http2` as it comes: every transfer and every request is a POST of a JSON command. */
export const http2: Peer = {
  async ask(path) {
    const session = connectSession('http://localhost', { createConnection: () => connect(path) });
    await once(session, 'connect');
    const value = async (command: Command): Promise<unknown> => {
      const pieces: Buffer[] = [];
      await post(session, command, (piece) => pieces.push(piece));
      return JSON.parse(Buffer.concat(pieces).toString());
    };
    return {
      async transfer(bytes) {
        let received = 0;
        await post(session, { ask: 'bytes', bytes }, (piece) => (received += piece.byteLength));
        requireBytes(received, bytes);
      },
      request: async () => requireVersions(await value(versionsCommand)),
      usage: async () => (await value({ ask: 'usage' })) as Usage,
      close: () => new Promise((resolve) => session.close(resolve)),
    };
  },
  async answer(path, blockBytes, onListening) {
    const server = createServer();
    server.on('stream', (stream) => answerStream(stream, blockBytes));
    const closed = new Promise((resolve) =>
      server.once('session', (session) => {
        session.once('close', resolve);
      }),
    );
    server.listen(path);
    await once(server, 'listening');
    onListening();
    await closed;
    server.close();
    await once(server, 'close');
  },
};

function post(session: ClientHttp2Session, command: Command, onPiece: (piece: Buffer) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ':method': 'POST', ':path': '/' });
    stream.on('data', onPiece);
    stream.on('end', resolve);
    stream.on('error', reject);
    stream.end(JSON.stringify(command));
  });
}

function answerStream(stream: ServerHttp2Stream, blockBytes: number): void {
  const pieces: Buffer[] = [];
  stream.on('data', (piece: Buffer) => pieces.push(piece));
  stream.on('end', () => {
    const command = JSON.parse(Buffer.concat(pieces).toString()) as Command;
    stream.respond({ ':status': 200 });
    if (command.ask === 'bytes') writeBlocks(blocks(command.bytes, blockBytes), stream, () => stream.end());
    else stream.end(JSON.stringify(answerTo(command)));
  });
}

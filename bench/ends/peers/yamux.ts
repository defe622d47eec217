import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import type { Uint8ArrayList } from 'uint8arraylist';
import type { Usage } from '../end-options.ts';
import { answerTo, requireBytes, requireVersions, versionsCommand, type Command } from '../talk.ts';
import { blocks } from '../blocks.ts';
import type { Peer } from './peer.ts';

/** `@chainsafe/libp2p-yamux`: every transfer and every request is a stream of its own over one socket. */
export const yamux: Peer = {
  async ask(path) {
    const socket = connect(path);
    await once(socket, 'connect');
    const muxer = await openMuxer(socket, 'outbound');
    const value = async (command: Command): Promise<unknown> => {
      const pieces: Uint8Array[] = [];
      await ask(await muxer.createStream(), command, (piece) => pieces.push(piece.slice()));
      return JSON.parse(Buffer.concat(pieces).toString());
    };
    return {
      async transfer(bytes) {
        let received = 0;
        const stream = await muxer.createStream();
        await ask(stream, { ask: 'bytes', bytes }, (piece) => (received += piece.byteLength));
        requireBytes(received, bytes);
      },
      request: async () => requireVersions(await value(versionsCommand)),
      usage: async () => (await value({ ask: 'usage' })) as Usage,
      close: async () => {
        await muxer.close();
        const closed = once(socket, 'close');
        socket.end();
        await closed;
      },
    };
  },
  async answer(path, blockBytes, onListening) {
    const server = createServer();
    const connection = once(server, 'connection') as Promise<[Socket]>;
    server.listen(path);
    await once(server, 'listening');
    onListening();
    const [socket] = await connection;
    server.close();
    const closed = once(socket, 'close');
    const muxer = await openMuxer(socket, 'inbound');
    muxer.addEventListener('stream', ({ detail: stream }) => answer(stream, blockBytes));
    await closed;
  },
};

/** Resolves when the answering end has closed the stream in order. */
function ask(stream: YamuxStream, command: Command, onPiece: (piece: Uint8ArrayList) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.addEventListener('message', ({ data }) => onPiece(data));
    let isWhole = false;
    stream.addEventListener('remoteCloseWrite', () => {
      isWhole = true;
      stream.close().catch(reject);
    });
    stream.addEventListener('close', ({ error }) => {
      if (isWhole && error === undefined) resolve();
      else reject(error ?? new Error('the stream was closed early'));
    });
    stream.send(Buffer.from(JSON.stringify(command)));
  });
}

/** A command is short and travels in one frame. */
function answer(stream: YamuxStream, blockBytes: number): void {
  stream.addEventListener('message', ({ data }) => {
    const command = JSON.parse(Buffer.from(data.subarray()).toString()) as Command;
    if (command.ask !== 'bytes') {
      stream.send(Buffer.from(JSON.stringify(answerTo(command))));
      void stream.close();
    } else void sendBlocks(stream, command.bytes, blockBytes);
  });
}

async function sendBlocks(stream: YamuxStream, bytes: number, blockBytes: number): Promise<void> {
  for (const block of blocks(bytes, blockBytes)) {
    if (stream.send(block)) continue;
    // The stream's own onDrain() keeps the promise of the first time it was called.
    await new Promise<void>((resolve) => {
      stream.addEventListener('drain', () => resolve(), { once: true });
    });
  }
  await stream.close();
}

/**
 * A muxer over a socket, joined as the TCP transport of libp2p joins them, but with a frame's header and payload in one write.
 */
async function openMuxer(socket: Socket, direction: 'inbound' | 'outbound'): Promise<YamuxMuxer> {
  haveWithResolvers();
  const { yamux: makeYamux, Connection, log } = await loadLibp2p();
  class SocketConnection extends Connection {
    constructor() {
      super({ direction, log: log.forComponent('snapferry:bench'), remoteAddr: undefined });
      socket.on('data', (bytes) => this.onData(bytes));
      socket.on('drain', () => this.safeDispatchEvent('drain'));
      socket.on('close', () => this.onTransportClosed());
      socket.on('error', (error) => this.abort(error));
    }

    sendData(data: Uint8ArrayList): SendResult {
      let canSendMore = true;
      socket.cork();
      for (const piece of data) canSendMore = socket.write(piece);
      socket.uncork();
      return { sentBytes: data.byteLength, canSendMore };
    }

    sendReset(): void {
      socket.destroy();
    }

    sendClose(): Promise<void> {
      socket.end();
      return Promise.resolve();
    }

    sendPause(): void {
      socket.pause();
    }

    sendResume(): void {
      socket.resume();
    }
  }
  return makeYamux()().createStreamMuxer(new SocketConnection());
}

/** libp2p's own declarations need a browser's types, and contradict each other: what is used of them, in short. */
interface Libp2p {
  readonly yamux: () => () => { createStreamMuxer(connection: object): YamuxMuxer };
  readonly Connection: new (init: object) => ConnectionBase;
  readonly log: { forComponent(name: string): unknown };
}

interface ConnectionBase {
  onData(data: Uint8Array): void;
  onTransportClosed(): void;
  safeDispatchEvent(type: 'drain'): void;
  abort(error: Error): void;
}

interface SendResult {
  readonly sentBytes: number;
  readonly canSendMore: boolean;
}

interface YamuxMuxer {
  createStream(): Promise<YamuxStream>;
  addEventListener(type: 'stream', listener: (event: { readonly detail: YamuxStream }) => void): void;
  close(): Promise<void>;
}

interface YamuxStream {
  /** False: wait for `drain`. */
  send(data: Uint8Array): boolean;
  close(): Promise<void>;
  addEventListener(type: 'message', listener: (event: { readonly data: Uint8ArrayList }) => void): void;
  addEventListener(type: 'close', listener: (event: { readonly error?: Error }) => void): void;
  addEventListener(type: 'drain' | 'remoteCloseWrite', listener: () => void, options?: { readonly once: true }): void;
}

async function loadLibp2p(): Promise<Libp2p> {
  const load = (name: string): Promise<unknown> => import(name);
  const { yamux: make } = (await load('@chainsafe/libp2p-yamux')) as Pick<Libp2p, 'yamux'>;
  const { AbstractMultiaddrConnection } = (await load('@libp2p/utils')) as {
    AbstractMultiaddrConnection: Libp2p['Connection'];
  };
  const { defaultLogger } = (await load('@libp2p/logger')) as { defaultLogger: () => Libp2p['log'] };
  return { yamux: make, Connection: AbstractMultiaddrConnection, log: defaultLogger() };
}

/** libp2p wants a newer Node than we do, for nothing but this function. */
function haveWithResolvers(): void {
  if ('withResolvers' in Promise) return;
  const withResolvers = (): object => {
    const resolvers = {};
    const promise = new Promise((resolve, reject) => Object.assign(resolvers, { resolve, reject }));
    return Object.assign(resolvers, { promise });
  };
  Object.defineProperty(Promise, 'withResolvers', { value: withResolvers, configurable: true });
}

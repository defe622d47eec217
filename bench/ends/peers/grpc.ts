import {
  Client,
  credentials,
  Server,
  ServerCredentials,
  type MethodDefinition,
  type sendUnaryData,
  type ServerUnaryCall,
  type ServerWritableStream,
} from '@grpc/grpc-js';
import type { Usage } from '../end-options.ts';
import { answerTo, requireBytes, requireVersions, versionsCommand, type Command } from '../talk.ts';
import { blocks, writeBlocks } from '../blocks.ts';
import type { Peer } from './peer.ts';

const unchanged = (bytes: Buffer): Buffer => bytes;

function method(name: string, responseStream: boolean): MethodDefinition<Buffer, Buffer> {
  return {
    path: `/snapferry.Bench/${name}`,
    requestStream: false,
    responseStream,
    requestSerialize: unchanged,
    requestDeserialize: unchanged,
    responseSerialize: unchanged,
    responseDeserialize: unchanged,
  };
}

const service = { bytes: method('Bytes', true), value: method('Value', false), leave: method('Leave', false) };

/** Blocks can be larger than the 4 MiB allowed by default. */
const options = { 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 };

/** `@grpc/grpc-js`: bytes as a server stream of messages, each a block; requests as unary calls of JSON. */
export const grpc: Peer = {
  async ask(path) {
    const client = new Client(`unix:${path}`, credentials.createInsecure(), options);
    await new Promise<void>((resolve, reject) => {
      client.waitForReady(Date.now() + 10_000, (error) => (error === undefined ? resolve() : reject(error)));
    });
    const call = ({ path: name }: MethodDefinition<Buffer, Buffer>, request: Buffer): Promise<Buffer> =>
      new Promise((resolve, reject) => {
        client.makeUnaryRequest(name, unchanged, unchanged, request, (error, answer) => {
          if (error !== null) reject(error);
          else resolve(answer ?? Buffer.alloc(0));
        });
      });
    const value = async (command: Command): Promise<unknown> =>
      JSON.parse((await call(service.value, Buffer.from(JSON.stringify(command)))).toString());
    return {
      transfer: (bytes) => transfer(client, bytes),
      request: async () => requireVersions(await value(versionsCommand)),
      usage: async () => (await value({ ask: 'usage' })) as Usage,
      close: async () => {
        await call(service.leave, Buffer.alloc(0));
        client.close();
      },
    };
  },
  async answer(path, blockBytes, onListening) {
    const server = new Server(options);
    const left = new Promise<void>((resolve) => {
      server.addService(service, {
        bytes: (call: ServerWritableStream<Buffer, Buffer>) =>
          writeBlocks(blocks(Number(call.request.toString()), blockBytes), call, () => call.end()),
        value: ({ request }: ServerUnaryCall<Buffer, Buffer>, answer: sendUnaryData<Buffer>) => {
          const command = JSON.parse(request.toString()) as Exclude<Command, { ask: 'bytes' }>;
          answer(null, Buffer.from(JSON.stringify(answerTo(command))));
        },
        leave: (_call: ServerUnaryCall<Buffer, Buffer>, answer: sendUnaryData<Buffer>) => {
          answer(null, Buffer.alloc(0));
          resolve();
        },
      });
    });
    await new Promise<void>((resolve, reject) => {
      server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (error) =>
        error === null ? resolve() : reject(error),
      );
    });
    onListening();
    await left;
    await new Promise<void>((resolve, reject) => {
      server.tryShutdown((error) => (error === undefined ? resolve() : reject(error)));
    });
  },
};

async function transfer(client: Client, bytes: number): Promise<void> {
  let received = 0;
  await new Promise<void>((resolve, reject) => {
    const request = Buffer.from(String(bytes));
    const answer = client.makeServerStreamRequest(service.bytes.path, unchanged, unchanged, request);
    answer.on('data', (message: Buffer) => (received += message.byteLength));
    answer.on('end', resolve);
    answer.on('error', reject);
  });
  requireBytes(received, bytes);
}

import { Socket } from 'node:net';
import { stdio } from '../../src/transport/stdio.ts';
import type { Address, EndOptions } from './end-options.ts';
import { loadPeer } from './peers/peer.ts';
import { listenRaw } from './raw-carrier.ts';
import { answerRaw } from './raw-talk.ts';
import { listenRPC } from './rpc-carrier.ts';
import { answerRPC } from './rpc-talk.ts';

/** The program at the answering end: serves one connection as its only argument says, and exits. */
async function main(options: EndOptions): Promise<void> {
  const { carrier, talk } = options;
  if (carrier === 'stdio' || carrier === 'ssh') await answerStdio(options);
  else if (talk === 'rpc') await listenRPC(options, tell);
  else if (talk === 'onread' || talk === 'pipeline') await listenRaw(options, tell);
  else if (talk === 'cat') throw new TypeError('cat is not ours to answer');
  else {
    const peer = await loadPeer(talk);
    await peer.answer(options.socketPath, options.blockBytes, () => tell({ path: options.socketPath }));
  }
}

async function answerStdio(options: EndOptions): Promise<void> {
  if (options.talk === 'rpc') {
    await answerRPC(stdio(), options);
    return;
  }
  const output = new Socket({ fd: 1, readable: false, writable: true });
  if (options.talk === 'jsonrpc') {
    const { answerJSONRPC } = await import('./peers/jsonrpc.ts');
    await answerJSONRPC(process.stdin, output);
  } else await answerRaw(process.stdin, output, options);
}

function tell(address: Address): void {
  process.stdout.write(`${JSON.stringify(address)}\n`);
}

await main(JSON.parse(process.argv[2] ?? '') as EndOptions);

import type { PeerName } from '../end-options.ts';
import type { AskingTalk } from '../talk.ts';

/** Another library set to the same work, over a unix socket. What it cannot do rejects. */
export interface Peer {
  /** Connects to the answering end at `path`. */
  ask(path: string): Promise<AskingTalk>;
  /** Listens at `path`, calls `onListening`, and resolves when its one connection is over. */
  answer(path: string, blockBytes: number, onListening: () => void): Promise<void>;
}

/** Loads a peer; none of the others is loaded, so that what a process holds is its own. */
export async function loadPeer(name: PeerName): Promise<Peer> {
  switch (name) {
    case 'grpc':
      return (await import('./grpc.ts')).grpc;
    case 'http2':
      return (await import('./http2.ts')).http2;
    case 'ws':
      return (await import('./ws.ts')).ws;
    case 'length-prefixed':
      return (await import('./length-prefixed.ts')).lengthPrefixed;
    case 'yamux':
      return (await import('./yamux.ts')).yamux;
    case 'jsonrpc':
      return (await import('./jsonrpc.ts')).jsonrpc;
    case 'tool-pipeline':
      return (await import('./tool-pipeline.ts')).toolPipeline;
  }
}

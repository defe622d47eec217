import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ByteStream } from '../../src/transport/byte-stream.ts';
import { listenUnix } from '../../src/transport/unix.ts';
import type { TransportPair } from '../conformance/transport.ts';

const programs = fileURLToPath(new URL('../fixtures/programs/', import.meta.url));

/** The argv that copies its standard input and output to and from a unix socket, in plain Node. */
export function relayArgv(socketPath: string): [string, ...string[]] {
  return [process.execPath, join(programs, 'relay.mjs'), socketPath];
}

/** The same over the library's own `stdio()`. */
export function stdioRelayArgv(socketPath: string): [string, ...string[]] {
  const tsx = fileURLToPath(import.meta.resolve('tsx'));
  return [process.execPath, '--import', tsx, join(programs, 'relay-stdio.ts'), socketPath];
}

/**
 * A pair for the conformance suite where end `a` is what `start` makes of a program that relays to a socket, and end
 * `b` is that socket's other side in this process.
 */
export async function relayedPair(start: (socketPath: string) => Promise<ByteStream>): Promise<TransportPair> {
  const directory = await mkdtemp(join(tmpdir(), 'snapferry-relay-'));
  const path = join(directory, 'relay.sock');
  let accepted: (stream: ByteStream) => void = () => undefined;
  const arrival = new Promise<ByteStream>((resolve) => (accepted = resolve));
  const listener = await listenUnix(path, (stream) => accepted(stream));
  const a = await start(path);
  const b = await arrival;
  return {
    a,
    b,
    cleanup: async () => {
      await listener.close();
      await rm(directory, { recursive: true });
    },
  };
}

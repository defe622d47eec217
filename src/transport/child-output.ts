import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { IncomingBytes } from './incoming-bytes.ts';
import { ReadRing } from './read-ring.ts';

/** A connected pair of sockets: what a child writes to one arrives, through a {@link ReadRing}, at the other. */
export interface ChildOutput {
  /** Ends and fails as a child's `stdout` does; whoever asked for the pair destroys it. */
  readonly readable: Socket;
  /** What arrives at `readable`, to be given to `nodeByteStream`. */
  readonly incoming: IncomingBytes;
  /** To be given to the child as its standard output, and destroyed here as soon as the child has it. */
  readonly childEnd: Socket;
}

/**
 * Makes a standard output for a child that is read into a few buffers again and again, which halves what receiving costs.
 * Node offers that for sockets it connects alone, so a throwaway listener in a private directory makes a pair. A child
 * gets a socket as its output in any case. Undefined where the system does not let us (no temporary directory, or one
 * with too long a name): a plain pipe does the same, only slower.
 */
export async function childOutput(): Promise<ChildOutput | undefined> {
  let directory: string | undefined;
  const server = createServer({ pauseOnConnect: true });
  try {
    directory = await mkdtemp(join(tmpdir(), 'snapferry-output-'));
    return await connectedPair(server, join(directory, 's'));
  } catch {
    return undefined;
  } finally {
    server.close();
    if (directory !== undefined) await rm(directory, { recursive: true, force: true });
  }
}

async function connectedPair(server: Server, path: string): Promise<ChildOutput> {
  server.listen(path);
  await once(server, 'listening');
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const ring = new ReadRing();
  const readable = connect({ path, onread: ring.onread });
  ring.feedFrom(readable);
  try {
    const [[childEnd]] = await Promise.all([accepted, once(readable, 'connect')]);
    return { readable, incoming: ring.incoming, childEnd };
  } catch (error) {
    readable.destroy();
    throw error;
  }
}

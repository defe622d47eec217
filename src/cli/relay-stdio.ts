import { toSnapferryError } from '../errors.ts';
import type { ByteStream } from '../transport/byte-stream.ts';
import { stdio } from '../transport/stdio.ts';
import { connectUnix } from '../transport/unix.ts';

/**
 * Carries bytes between stdin and stdout and a socket of the daemon, both ways, until both have ended.
 * @throws SnapferryError `CONNECT_FAILED` if nobody listens there, or what broke the connection; the other side is then dropped, too
 */
export async function relayStdio(socket: string, signal: AbortSignal): Promise<void> {
  const daemon = await connectUnix(socket, { signal });
  const client = stdio();
  const drop = (cause: unknown): void => {
    const error = toSnapferryError(cause, 'CONNECTION_LOST');
    daemon.abort(error);
    client.abort(error);
  };
  const onAbort = (): void => drop(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    await Promise.all([carry(client, daemon), carry(daemon, client)]);
  } catch (error) {
    drop(error);
    throw error;
  } finally {
    signal.removeEventListener('abort', onAbort);
    await Promise.allSettled([daemon.close(), client.close()]);
  }
}

async function carry(from: ByteStream, to: ByteStream): Promise<void> {
  // What is read is only lent.
  for await (const piece of from.source) await to.write(Uint8Array.from(piece));
  await to.end();
}

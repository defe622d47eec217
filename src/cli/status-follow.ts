import { LineReader } from '../daemon/control/line-reader.ts';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import { daemonClient } from './daemon-client.ts';
import type { DaemonFlags } from './daemon-client.ts';
import { toldStatus } from './status-source.ts';
import type { SeenStatus } from './status-source.ts';

const statusBytesMax = 64 * 1024 * 1024;

/**
 * The status as the daemon tells it from now on, again whenever there is news. Ends when the daemon ends the connection, or the
 * signal is aborted.
 * @throws SnapferryError as `daemonClient`; `CONNECTION_LOST`; `PROTOCOL_VERSION`
 */
export async function* followStatus(
  flags: DaemonFlags,
  signal: AbortSignal,
): AsyncGenerator<SeenStatus, void, undefined> {
  const client = await daemonClient(flags, signal);
  let stream;
  try {
    await client.call('status', { follow: true }, { signal, receiveTimeoutMs: 10_000 });
    stream = client.detach();
  } finally {
    await client.close();
  }
  const stop = (): void => stream.abort(new SnapferryError('CANCELLED', 'no longer followed'));
  signal.addEventListener('abort', stop, { once: true });
  try {
    const reader = new LineReader(stream.source);
    for (;;) {
      if (signal.aborted) return;
      const found = await reader.line(statusBytesMax);
      if (found.kind !== 'line') return;
      yield toldStatus(JSON.parse(Buffer.from(found.line).toString()) as unknown, client);
    }
  } catch (error) {
    if (!signal.aborted) throw toSnapferryError(error, 'PROTOCOL_VERSION', 'reading the status of the daemon');
  } finally {
    signal.removeEventListener('abort', stop);
    await stream.close().catch(() => undefined);
  }
}

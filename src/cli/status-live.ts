import { setTimeout as sleep } from 'node:timers/promises';
import pc from 'picocolors';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import type { DaemonFlags } from './daemon-client.ts';
import { followStatus } from './status-follow.ts';
import type { StatusLine } from './status-lines.ts';
import { renderStatus } from './status-render.ts';
import { StatusScreen } from './status-screen.ts';
import { readStatus, statusOfJob } from './status-source.ts';
import type { SeenStatus } from './status-source.ts';

/** What {@link watchStatus} shows. */
export interface WatchStatusOptions {
  /** Null: all. */
  readonly job: string | null;
  readonly flags: DaemonFlags;
  readonly signal: AbortSignal;
}

const reconnectMs = 2000;
const interrupt = '\u0003';

/**
 * Shows the status on the terminal of this process until the signal is aborted or somebody presses q. A daemon that ends is waited for.
 * @throws SnapferryError, ConfigurationError when there has never been anything to show
 */
export async function watchStatus({ job, flags, signal }: WatchStatusOptions): Promise<void> {
  const screen = new StatusScreen(process.stdout, pc.createColors(pc.isColorSupported));
  const keys = listenForKeys();
  const over = AbortSignal.any([signal, keys.pressed]);
  let seen: SeenStatus | null = null;
  const draw = (note: string): void => {
    if (seen === null || over.aborted) return;
    const lines = renderStatus(seen, { isDetailed: job !== null });
    screen.draw(lines, bottomLine(note));
  };
  const redraw = (): void => draw('');
  process.stdout.on('resize', redraw);
  try {
    while (!over.aborted) {
      try {
        for await (const told of followStatus(flags, over)) {
          seen = statusOfJob(told, job);
          draw('');
        }
      } catch (error) {
        if (!isPassing(error)) throw error;
      }
      if (hasEnded(over)) break;
      seen = statusOfJob(await readStatus(flags, over), job);
      draw(seen.daemon.isRunning ? '' : 'waiting for the daemon');
      await sleep(reconnectMs, undefined, { signal: over }).catch(() => undefined);
    }
  } catch (error) {
    if (!hasEnded(over)) throw error;
  } finally {
    process.stdout.off('resize', redraw);
    keys[Symbol.dispose]();
    screen.close();
  }
}

function bottomLine(note: string): StatusLine {
  const time = new Date().toTimeString().slice(0, 8);
  return [[[time, note, 'q: quit'].filter((part) => part !== '').join('  '), 'dim']];
}

// A function, because the compiler would take what it has seen once as unchanged.
function hasEnded(signal: AbortSignal): boolean {
  return signal.aborted;
}

function isPassing(error: unknown): boolean {
  const { code } = toSnapferryError(error);
  const passing = ['CONNECT_FAILED', 'CONNECTION_LOST', 'TIMEOUT', 'BUSY', 'GOODBYE', 'STREAM_TRUNCATED'];
  return error instanceof SnapferryError && passing.includes(code);
}

/** Waits for q or Ctrl-C, where keys can be heard at all. */
function listenForKeys(): { readonly pressed: AbortSignal; [Symbol.dispose](): void } {
  const controller = new AbortController();
  const { stdin } = process;
  if (!stdin.isTTY) return { pressed: controller.signal, [Symbol.dispose]: () => undefined };
  const onData = (data: Buffer): void => {
    const text = data.toString('latin1');
    if (text.includes('q') || text.includes(interrupt)) controller.abort();
  };
  stdin.setRawMode(true);
  stdin.on('data', onData);
  return {
    pressed: controller.signal,
    [Symbol.dispose]() {
      stdin.off('data', onData);
      stdin.setRawMode(false);
      stdin.pause();
    },
  };
}

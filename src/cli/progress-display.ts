import cliProgress from 'cli-progress';
import type { TransferProgress } from '../replication/progress.ts';
import { formatBytes, formatDuration, printable } from './format.ts';

/** Shows how a long piece of work is going: a bar on a terminal, a line now and then elsewhere. */
export interface ProgressDisplay {
  /** Bytes of a transfer. */
  transfer(label: string, progress: TransferProgress): void;
  /** Work counted in units of its own; unknown is null. */
  work(label: string, done: number | null, total: number | null): void;
  /** Takes the bar off the screen; the next news brings it back. */
  clear(): void;
}

/** What a display needs. */
export interface ProgressDisplayOptions {
  readonly write: (text: string) => void;
  readonly isTTY: boolean;
  readonly silent: boolean;
  /** The clock, in ms. */
  readonly now: () => number;
}

/** At most one line of progress in this time where there is no terminal. */
const lineIntervalMs = 10_000;
const barWidth = 16;

/** A display for a terminal or for a log. */
export function createProgressDisplay(options: ProgressDisplayOptions): ProgressDisplay {
  if (options.silent) return { transfer() {}, work() {}, clear() {} };
  return options.isTTY ? barDisplay() : lineDisplay(options);
}

/** `12.3 MiB of 40.0 MiB (30 %), 5.1 MiB/s, 6 s left`; what is unknown is said to be unknown. */
export function describeTransfer(progress: TransferProgress): string {
  const { bytes, estimatedBytes, fraction, bytesPerSecond, remainingMs } = progress;
  const percent = fraction === null ? '' : ` (${Math.floor(fraction * 100)} %)`;
  const expected = estimatedBytes === null ? 'an unknown amount' : formatBytes(Math.max(estimatedBytes, bytes));
  const parts = [`${formatBytes(bytes)} of ${expected}${percent}`];
  if (bytesPerSecond !== null) parts.push(`${formatBytes(bytesPerSecond)}/s`);
  if (remainingMs !== null) parts.push(`${formatDuration(remainingMs)} left`);
  return parts.join(', ');
}

/** `3 of 10`, `3`, or nothing. */
export function describeWork(label: string, done: number | null, total: number | null): string {
  const shown = printable(label);
  if (done === null) return shown;
  return total === null ? `${shown} ${done}` : `${shown} ${Math.min(done, total)} of ${total}`;
}

function lineDisplay({ write, now }: ProgressDisplayOptions): ProgressDisplay {
  // The first line after the interval, not at once: what is over in a moment needs no progress.
  let lastMs = now();
  const line = (text: () => string): void => {
    if (now() - lastMs < lineIntervalMs) return;
    lastMs = now();
    write(`${text()}\n`);
  };
  return {
    transfer: (label, progress) => line(() => `${printable(label)}: ${describeTransfer(progress)}`),
    work: (label, done, total) => line(() => describeWork(label, done, total)),
    clear() {},
  };
}

function barDisplay(): ProgressDisplay {
  let fraction: number | null = null;
  let text = '';
  let isShown = false;
  const bar = new cliProgress.SingleBar({
    format: (options) => {
      const columns = Math.max(20, (process.stderr.columns || 80) - 1);
      const gauge = fraction === null ? '' : `${cliProgress.Format.BarFormat(fraction, options)} `;
      return (gauge + text).slice(0, columns);
    },
    stream: process.stderr,
    barsize: barWidth,
    clearOnComplete: true,
    hideCursor: true,
    // Signals are the program's business: it stops, keeps what can be resumed, and says so.
    gracefulExit: false,
    barCompleteChar: '#',
    barIncompleteChar: '.',
    fps: 8,
  });
  const show = (newText: string, newFraction: number | null): void => {
    text = newText;
    fraction = newFraction;
    if (!isShown) bar.start(1, 0);
    isShown = true;
    bar.update(newFraction ?? 0);
  };
  return {
    transfer: (label, progress) => show(`${printable(label)}: ${describeTransfer(progress)}`, progress.fraction),
    work: (label, done, total) =>
      show(describeWork(label, done, total), done === null || total === null || total === 0 ? null : done / total),
    clear() {
      if (isShown) bar.stop();
      isShown = false;
    },
  };
}

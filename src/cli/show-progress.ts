import type { Progress } from '../rpc/interfaces.ts';
import { printable } from './format.ts';
import type { Terminal } from './terminal.ts';

/** News of something under way: numbers go to the progress display, facts stay readable. */
export function showProgress(terminal: Terminal, { message, done, total }: Progress): void {
  if (done === null) terminal.note(printable(message));
  else terminal.progress.work(message, done, total);
}

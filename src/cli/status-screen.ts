import { paintLine } from './status-lines.ts';
import type { Colours, StatusLine } from './status-lines.ts';

/** A terminal to draw on, such as `process.stdout`. */
export interface ScreenOutput {
  readonly columns?: number;
  readonly rows?: number;
  write(text: string): unknown;
}

const escape = '\u001b[';
const enter = `${escape}?1049h${escape}?25l`;
const leave = `${escape}?25h${escape}?1049l`;

/**
 * A picture that takes the whole terminal and gives it back as it was. Own code: what there is for it redraws below the prompt, where
 * a status of more lines than the terminal has would scroll away.
 */
export class StatusScreen {
  readonly #output: ScreenOutput;
  readonly #colours: Colours;
  readonly #restore = (): void => this.close();
  #isOpen = false;

  constructor(output: ScreenOutput, colours: Colours) {
    this.#output = output;
    this.#colours = colours;
  }

  /** Shows these lines and, at the bottom, the last one; what does not fit is counted. */
  draw(lines: readonly StatusLine[], last: StatusLine): void {
    const columns = this.#output.columns ?? 80;
    const rows = Math.max(3, this.#output.rows ?? 24);
    const room = rows - 1;
    const left = lines.length - (room - 1);
    const shown = lines.length <= room ? lines : [...lines.slice(0, room - 1), leftOut(left)];
    const painted = [...shown, ...Array<StatusLine>(room - shown.length).fill([]), last].map((line) =>
      // To the end of the line nothing of the last picture may stay.
      [paintLine(line, this.#colours, columns), `${escape}K`].join(''),
    );
    if (!this.#isOpen) {
      this.#isOpen = true;
      // However the program ends, the terminal must be usable.
      process.once('exit', this.#restore);
      this.#output.write(enter);
    }
    this.#output.write(`${escape}H${painted.join('\r\n')}${escape}J`);
  }

  /** Gives the terminal back. Idempotent. */
  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    process.off('exit', this.#restore);
    this.#output.write(leave);
  }
}

function leftOut(lines: number): StatusLine {
  return [[`… ${lines} more lines: snapferry status JOB shows one job, snapferry status --once all`, 'dim']];
}

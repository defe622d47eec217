import type { Readable } from 'node:stream';

const tailLinesMax = 20;
const lineCharactersMax = 1000;

/**
 * Reads a child's standard error to its end and keeps the last lines. Memory is bounded whatever the child writes, and
 * control characters are replaced, for the text may come from a hostile machine and end on a terminal.
 */
export class LineTail {
  readonly #readable: Readable;
  readonly #onLine: ((line: string) => void) | undefined;
  readonly #ended: Promise<void>;
  #lines: string[] = [];
  #partial = '';

  constructor(readable: Readable, onLine?: (line: string) => void) {
    this.#readable = readable;
    this.#onLine = onLine;
    readable.setEncoding('utf8');
    readable.on('data', (text: string) => this.#take(text));
    readable.on('error', () => undefined);
    this.#ended = new Promise((resolve) => {
      readable.once('close', () => {
        if (this.#partial !== '') this.#finish(this.#partial);
        this.#partial = '';
        resolve();
      });
    });
  }

  /** The last lines, joined by ` / `; empty if there was nothing. */
  get text(): string {
    const lines = this.#partial === '' ? this.#lines : [...this.#lines, printable(this.#partial)];
    return lines.join(' / ');
  }

  /** Resolves when the child's standard error is at its end, or after that many milliseconds: another process may hold it. */
  async ended(limitMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await Promise.race([this.#ended, new Promise((resolve) => (timer = setTimeout(resolve, limitMs)))]);
    clearTimeout(timer);
  }

  /** Reads no more. */
  release(): void {
    this.#readable.destroy();
  }

  #take(text: string): void {
    const lines = (this.#partial + text).split('\n');
    this.#partial = (lines.pop() ?? '').slice(0, lineCharactersMax);
    for (const line of lines) this.#finish(line);
  }

  #finish(line: string): void {
    const clean = printable(line);
    if (clean === '') return;
    this.#lines.push(clean);
    if (this.#lines.length > tailLinesMax) this.#lines.shift();
    this.#onLine?.(clean);
  }
}

function printable(line: string): string {
  const cut = line.length > lineCharactersMax ? `${line.slice(0, lineCharactersMax)}…` : line;
  return cut
    .replace(/[\p{Cc}\p{Cf}]/gu, (character) => (character === '\t' ? ' ' : character === '\r' ? '' : '\uFFFD'))
    .trim();
}

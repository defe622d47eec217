import type { ByteStream } from '../transport/byte-stream.ts';

/** Lines that wait for a client that takes none; then it has to do without the oldest ones. */
const waitingMax = 5000;

/** Writes lines to a client without ever waiting for it: whoever has news must not be held up by who reads it. */
export class LineWriter {
  /** Resolves when the client has left, the connection is broken, or the signal was aborted. Never rejects. */
  readonly ended: Promise<void>;
  readonly #stream: ByteStream;
  #waiting: string[] = [];
  #replaceable: (() => string) | null = null;
  #left = 0;
  #isEnded = false;
  #writing: Promise<void> | null = null;

  constructor(stream: ByteStream, signal: AbortSignal) {
    this.#stream = stream;
    this.ended = new Promise((resolve) => {
      const end = (): void => {
        this.#isEnded = true;
        signal.removeEventListener('abort', end);
        resolve();
      };
      if (signal.aborted) end();
      signal.addEventListener('abort', end, { once: true });
      void this.#readToEnd().then(end);
    });
  }

  /** Writes a line, after those that wait. */
  add(line: string): void {
    if (this.#waiting.length >= waitingMax) {
      this.#waiting.shift();
      this.#left++;
    }
    this.#waiting.push(line);
    this.#start();
  }

  /** Writes a line, made when its turn comes, unless a later call replaces it before. */
  replace(line: () => string): void {
    this.#replaceable = line;
    this.#start();
  }

  /** Resolves once everything is written, or cannot be. */
  async drained(): Promise<void> {
    while (this.#writing !== null) await this.#writing;
  }

  #start(): void {
    this.#writing ??= this.#write();
  }

  async #write(): Promise<void> {
    // What was added in one go goes out in one go.
    await Promise.resolve();
    for (let text = this.#take(); text !== '' && !this.#isEnded; text = this.#take()) {
      try {
        await this.#stream.write(Buffer.from(text));
      } catch {
        this.#isEnded = true;
      }
    }
    this.#writing = null;
  }

  #take(): string {
    const lines = this.#waiting.splice(0);
    if (this.#left > 0) lines.unshift(JSON.stringify({ level: 40, msg: `${this.#left} lines were left out` }));
    this.#left = 0;
    const last = this.#replaceable?.();
    this.#replaceable = null;
    if (last !== undefined) lines.push(last);
    return lines.map((line) => `${line}\n`).join('');
  }

  /** A client that follows says nothing; the end of what it says is that it has left. */
  async #readToEnd(): Promise<void> {
    try {
      const pieces = this.#stream.source[Symbol.asyncIterator]();
      while ((await pieces.next()).done !== true);
    } catch {
      // It has left all the same.
    }
  }
}

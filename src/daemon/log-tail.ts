/** What is kept for whoever asks for the log. */
const linesMax = 2000;
const bytesMax = 1024 * 1024;

/** The last lines of the log, JSON without a newline each, and whoever follows it. */
export class LogTail {
  #lines: string[] = [];
  #bytes = 0;
  readonly #followers = new Set<(line: string) => void>();

  /** Adds a line. */
  push(line: string): void {
    this.#lines.push(line);
    this.#bytes += line.length;
    while (this.#lines.length > linesMax || this.#bytes > bytesMax) this.#bytes -= this.#lines.shift()?.length ?? 0;
    for (const follower of this.#followers) follower(line);
  }

  /** The lines that are kept, the oldest first. */
  lines(): readonly string[] {
    return [...this.#lines];
  }

  /** Calls for each line from now on, until the returned function is called. The follower must not throw. */
  follow(follower: (line: string) => void): () => void {
    this.#followers.add(follower);
    return () => void this.#followers.delete(follower);
  }
}

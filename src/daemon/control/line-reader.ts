/** What {@link LineReader.line} found. */
export type ReadLine =
  /** A whole line, without its end. */
  | { readonly kind: 'line'; readonly line: Uint8Array }
  /** A line longer than allowed, of which nothing was kept; the next line is behind it. */
  | { readonly kind: 'tooLong' }
  /** The stream ended inside a line. */
  | { readonly kind: 'cut' }
  /** The stream ended between lines. */
  | { readonly kind: 'end' };

const newline = 0x0a;
const nothing: Uint8Array = new Uint8Array(0);

/**
 * Reads lines of bounded length from pieces of any size, and gives the rest away unread. Own code, because Node's readline has no
 * bound and cannot give back what it has read too much. One read at a time; each passes on what the source throws.
 */
export class LineReader {
  readonly #source: AsyncIterator<Uint8Array>;
  /** Lent by the source until the next one is asked for. */
  #piece = nothing;
  #at = 0;
  #ended = false;
  #filling: Promise<boolean> | null = null;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** Whether bytes have arrived that no line was made of yet. */
  get hasBytes(): boolean {
    return this.#at < this.#piece.byteLength;
  }

  /** Waits until there are bytes; false at the end of the stream. May be called while an earlier call of it waits. */
  fill(): Promise<boolean> {
    if (this.hasBytes) return Promise.resolve(true);
    this.#filling ??= this.#next().finally(() => (this.#filling = null));
    return this.#filling;
  }

  /** The next line. One of more than `bytesMax` bytes is read to its end and dropped as it comes. */
  async line(bytesMax: number): Promise<ReadLine> {
    let parts: Uint8Array[] = [];
    let bytes = 0;
    while (await this.fill()) {
      const end = this.#piece.indexOf(newline, this.#at);
      const part = this.#piece.subarray(this.#at, end === -1 ? undefined : end);
      bytes += part.byteLength;
      // A copy, for the piece is only lent; not slice(), which of a Buffer is a view.
      if (bytes <= bytesMax) parts.push(new Uint8Array(part));
      else parts = [];
      this.#at = end === -1 ? this.#piece.byteLength : end + 1;
      if (end === -1) continue;
      return bytes > bytesMax ? { kind: 'tooLong' } : { kind: 'line', line: Buffer.concat(parts) };
    }
    return { kind: bytes === 0 ? 'end' : 'cut' };
  }

  /** Everything that was not read yet, also what has already arrived. The reader is of no more use then. */
  async *rest(): AsyncGenerator<Uint8Array, void, undefined> {
    while (await this.fill()) {
      const piece = this.#piece.subarray(this.#at);
      this.#at = this.#piece.byteLength;
      yield piece;
    }
  }

  async #next(): Promise<boolean> {
    do {
      if (this.#ended) return false;
      const next = await this.#source.next();
      this.#ended = next.done === true;
      this.#piece = next.done === true ? nothing : next.value;
      this.#at = 0;
    } while (this.#piece.byteLength === 0);
    return true;
  }
}

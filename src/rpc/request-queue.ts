/**
 * Requests read ahead of the one being handled: at most `itemsMax`, and no more once they have `bytesMax` together; then
 * the reader waits.
 */
export class RequestQueue<T> {
  readonly #itemsMax: number;
  readonly #bytesMax: number;
  readonly #items: { readonly item: T; readonly bytes: number }[] = [];
  #bytes = 0;
  #isEnded = false;
  #onItem: (() => void) | null = null;
  #onRoom: (() => void) | null = null;

  constructor(itemsMax: number, bytesMax: number) {
    this.#itemsMax = itemsMax;
    this.#bytesMax = bytesMax;
  }

  /** Adds; when that leaves no room for another, the result resolves when there is. */
  push(item: T, bytes: number): Promise<void> | null {
    this.#items.push({ item, bytes });
    this.#bytes += bytes;
    this.#onItem?.();
    return this.#isFull() ? this.#room() : null;
  }

  /** No more items will come. */
  end(): void {
    this.#isEnded = true;
    this.#onItem?.();
  }

  /** The next item, or null when there are none and none will come. */
  async next(): Promise<T | null> {
    while (this.#items.length === 0) {
      if (this.#isEnded) return null;
      await new Promise<void>((resolve) => (this.#onItem = resolve));
    }
    this.#onItem = null;
    const next = this.#items.shift();
    this.#bytes -= next?.bytes ?? 0;
    this.#onRoom?.();
    this.#onRoom = null;
    return next?.item ?? null;
  }

  async #room(): Promise<void> {
    while (this.#isFull()) await new Promise<void>((resolve) => (this.#onRoom = resolve));
  }

  #isFull(): boolean {
    return this.#items.length >= this.#itemsMax || this.#bytes > this.#bytesMax;
  }
}

/** Requests read ahead of the one being handled: at most `itemsMax`, then the reader waits. */
export class RequestQueue<T> {
  readonly #itemsMax: number;
  readonly #items: T[] = [];
  #isEnded = false;
  #onItem: (() => void) | null = null;
  #onRoom: (() => void) | null = null;

  constructor(itemsMax: number) {
    this.#itemsMax = itemsMax;
  }

  /** Waits for room, then adds. */
  async push(item: T): Promise<void> {
    this.#items.push(item);
    this.#onItem?.();
    while (this.#items.length >= this.#itemsMax) await new Promise<void>((resolve) => (this.#onRoom = resolve));
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
    const item = this.#items.shift() ?? null;
    this.#onRoom?.();
    this.#onRoom = null;
    return item;
  }

  /** Items not taken yet. */
  get waiting(): readonly T[] {
    return this.#items;
  }
}

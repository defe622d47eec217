/** Notices when something that is waited for does not come for too long. One timer for any number of waits, one at a time. */
export class StallWatch {
  readonly #timer: NodeJS.Timeout;
  #isWaiting = false;

  /** @param onStall called once for each wait that lasts `msMax` ms */
  constructor(msMax: number, onStall: () => void) {
    this.#timer = setTimeout(() => {
      if (this.#isWaiting) onStall();
    }, msMax);
    // What is waited for keeps the program alive, not the waiting.
    this.#timer.unref();
  }

  /** From now on something is waited for. */
  begin(): void {
    this.#isWaiting = true;
    this.#timer.refresh();
  }

  /** It has come. */
  end(): void {
    this.#isWaiting = false;
  }

  /** There is nothing to watch any more. */
  close(): void {
    this.end();
    clearTimeout(this.#timer);
  }
}

/** The bytes as they are, each wait for the next piece under watch. Iterate once. */
export function watchedBytes(bytes: AsyncIterable<Uint8Array>, watch: StallWatch | null): AsyncIterable<Uint8Array> {
  return watch === null ? bytes : watched(bytes, watch);
}

async function* watched(bytes: AsyncIterable<Uint8Array>, watch: StallWatch): AsyncGenerator<Uint8Array> {
  watch.begin();
  try {
    for await (const piece of bytes) {
      watch.end();
      yield piece;
      watch.begin();
    }
  } finally {
    watch.end();
  }
}

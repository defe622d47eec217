import type { Writable } from 'node:stream';

/** One preallocated block again and again, the last one cut: a source that costs next to nothing. */
export function* blocks(bytes: number, blockBytes: number): Generator<Buffer, void, undefined> {
  const block = Buffer.alloc(blockBytes, 0x5a);
  for (let left = bytes; left > 0; left -= blockBytes) yield left < blockBytes ? block.subarray(0, left) : block;
}

/** The same for who takes its bytes from an async iterable. */
export function asyncBlocks(bytes: number, blockBytes: number): AsyncIterable<Buffer> {
  const source = blocks(bytes, blockBytes);
  const next = (): Promise<IteratorResult<Buffer, void>> => Promise.resolve(source.next());
  return { [Symbol.asyncIterator]: () => ({ next }) };
}

/** Writes what `source` gives as fast as `writable` takes it, then calls `onWritten`. */
export function writeBlocks(source: Iterator<Buffer, void>, writable: Writable, onWritten: () => void): void {
  const more = (): void => {
    for (let next = source.next(); next.done !== true; next = source.next()) {
      if (writable.write(next.value)) continue;
      writable.once('drain', more);
      return;
    }
    onWritten();
  };
  more();
}

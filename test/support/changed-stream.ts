import type { ByteStream } from '../../src/transport/byte-stream.ts';

/** A stream with some of its members replaced; the rest is the stream's own. */
export function changedStream(stream: ByteStream, changes: Partial<ByteStream>): ByteStream {
  return {
    description: stream.description,
    source: stream.source,
    write: (bytes) => stream.write(bytes),
    end: () => stream.end(),
    abort: (reason) => stream.abort(reason),
    close: () => stream.close(),
    [Symbol.asyncDispose]: () => stream.close(),
    ...changes,
  };
}

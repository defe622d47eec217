import type { Uint8ArrayList } from 'uint8arraylist';
import type { ByteStream } from '../transport/byte-stream.ts';

/** A stream that changes its owner: its bytes from where the last owner stopped reading, its writes after the last ones. */
export function handedOverStream(
  stream: ByteStream,
  source: AsyncIterable<Uint8Array>,
  flushed: Promise<void>,
): ByteStream {
  return {
    description: stream.description,
    source,
    async write(bytes: Uint8Array | Uint8ArrayList) {
      await flushed;
      return stream.write(bytes);
    },
    async end() {
      await flushed;
      return stream.end();
    },
    abort: (reason) => stream.abort(reason),
    close: () => stream.close(),
    [Symbol.asyncDispose]: () => stream.close(),
  };
}

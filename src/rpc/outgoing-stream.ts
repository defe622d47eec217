import { pipe } from 'it-pipe';
import { Uint8ArrayList } from 'uint8arraylist';
import { chunk, terminator } from '../chunker/chunk.ts';
import { toSnapferryError, type SnapferryError } from '../errors.ts';
import type { TransferBytes } from '../sink.ts';
import type { Connection } from './connection.ts';
import { streamDigest, type StreamDigest } from './digest.ts';
import { gathered } from './gathered.ts';
import { encodeError, encodeTrailer, tellable, type Trailer } from './messages.ts';
import { errorId } from './protocol.ts';

/** What one write takes, if the source is fast. More gains little, and is held twice. */
const batchBytesMax = 512 * 1024;

/**
 * Sends a stream, and in version 2 the trailer that says whether it is whole. A source that fails is told to a version-2
 * peer in the trailer; towards version 1 there is no way but to drop the connection before the end marker, so that an
 * unfinished stream never looks complete. The source is closed whatever happens.
 * @param signal stops the source (cancel, disconnect, shutdown)
 * @param onEnding called when the source is over and its end has not been told yet
 * @throws SnapferryError what made the stream incomplete, also where the peer was told
 */
export async function sendStream(
  connection: Connection,
  source: TransferBytes,
  signal: AbortSignal,
  onEnding: () => void = () => undefined,
): Promise<void> {
  const digest = await streamDigest(connection.version === 2 ? connection.digest : null);
  let failure: SnapferryError | null = null;
  let told: SnapferryError | null = null;
  try {
    const batches = gathered(source, { bytesMax: batchBytesMax, signal });
    await pipe(batches, measured(digest), chunk(connection.chunkBytesMax), async (chunks) => {
      for await (const bytes of chunks) {
        // The end marker goes out with the trailer, in one write.
        if (bytes.byteLength > terminator.byteLength) await connection.send(bytes);
      }
    });
  } catch (error) {
    failure = connection.failure ?? toSnapferryError(error, 'SOURCE_FAILED');
    told = tellable(error, 'SOURCE_FAILED', 'the transfer');
    if (connection.version === 1 || connection.failure !== null) {
      connection.fail(failure);
      throw failure;
    }
  }
  onEnding();
  if (connection.version === 1) {
    await connection.send(terminator);
    return;
  }
  const end = new Uint8ArrayList(terminator, connection.encode(encodeTrailer(trailerFor(connection, digest, told))));
  await connection.send(end);
  if (failure !== null) throw failure;
}

function trailerFor(connection: Connection, digest: StreamDigest, failure: SnapferryError | null): Trailer {
  const result =
    failure === null ? { errorId: errorId.none, message: '', code: null, retryable: null } : encodeError(failure);
  const algorithm = connection.digest;
  return { ...result, bytes: digest.bytes, digest: algorithm === null ? null : { algorithm, value: digest.value() } };
}

function measured(digest: StreamDigest) {
  return async function* (source: AsyncIterable<Uint8ArrayList>): AsyncGenerator<Uint8ArrayList> {
    for await (const batch of source) {
      digest.update(batch);
      yield batch;
    }
  };
}

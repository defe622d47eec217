import { Uint8ArrayList } from 'uint8arraylist';

/** The zero-length chunk that ends every message and stream. */
export const terminator: Uint8Array = new Uint8Array(4);

/** The 4 bytes in front of a chunk: its length, little-endian (docs/PROTOCOL.md section 1). */
export function chunkHeader(payloadBytes: number): Uint8Array {
  const header = Buffer.allocUnsafe(4);
  header.writeUInt32LE(payloadBytes);
  return header;
}

/**
 * `bytes` as chunks of at most `payloadBytesMax` each, without copying any payload and without a terminator. Empty bytes
 * give no chunk: a zero-length chunk would end the stream.
 */
export function chunksOf(bytes: Uint8Array | Uint8ArrayList, payloadBytesMax: number): Uint8ArrayList {
  const parts: Uint8Array[] = [];
  // Most chunks of a batch are equally long.
  let header = terminator;
  let headerOf = 0;
  for (const piece of bytes instanceof Uint8Array ? [bytes] : bytes) {
    for (let start = 0; start < piece.byteLength; start += payloadBytesMax) {
      const isWhole = start === 0 && piece.byteLength <= payloadBytesMax;
      const payload = isWhole ? piece : piece.subarray(start, start + payloadBytesMax);
      if (payload.byteLength !== headerOf) {
        headerOf = payload.byteLength;
        header = chunkHeader(headerOf);
      }
      parts.push(header, payload);
    }
  }
  const chunks = new Uint8ArrayList();
  chunks.appendAll(parts);
  return chunks;
}

/**
 * An it-pipe stage that frames a stream: each piece is sent as soon as it is there, in chunks of at most
 * `payloadBytesMax` bytes, and the terminator follows the last. If the source throws, so does the stage, and no
 * terminator is produced: an unfinished stream never looks complete.
 */
export function chunk(
  payloadBytesMax: number,
): (source: AsyncIterable<Uint8Array | Uint8ArrayList>) => AsyncGenerator<Uint8ArrayList> {
  return async function* (source) {
    for await (const bytes of source) {
      if (bytes.byteLength > 0) yield chunksOf(bytes, payloadBytesMax);
    }
    yield new Uint8ArrayList(terminator);
  };
}

/** A JSON text as one message, chunks and terminator in one buffer; the newline Go writes is included. */
export function encodeMessage(json: string, payloadBytesMax: number): Uint8Array {
  const payloadBytes = Buffer.byteLength(json) + 1;
  if (payloadBytes <= payloadBytesMax) {
    const message = Buffer.allocUnsafe(payloadBytes + 8);
    message.writeUInt32LE(payloadBytes);
    message.write(json, 4);
    message[payloadBytes + 3] = 0x0a;
    message.writeUInt32LE(0, payloadBytes + 4);
    return message;
  }
  const payload = Buffer.from(`${json}\n`, 'utf8');
  const chunks = Math.ceil(payload.byteLength / payloadBytesMax);
  const message = Buffer.allocUnsafe(payload.byteLength + 4 * (chunks + 1));
  let at = 0;
  for (let start = 0; start < payload.byteLength; start += payloadBytesMax) {
    const end = Math.min(start + payloadBytesMax, payload.byteLength);
    at = message.writeUInt32LE(end - start, at);
    at += payload.copy(message, at, start, end);
  }
  message.writeUInt32LE(0, at);
  return message;
}

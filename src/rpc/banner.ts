import type { ByteReader } from '../chunker/byte-reader.ts';
import { textOf } from '../chunker/json-message.ts';
import { SnapferryError } from '../errors.ts';
import type { ByteStream } from '../transport/byte-stream.ts';

const bannerBytesMax = 2048;
const bannerMsMax = 500;
const lengthBytes = 4;

/**
 * A login banner or "command not found" is no chunk length: says what the peer printed instead of the protocol. To be
 * called before anything else is read; takes nothing from what is not text.
 * @throws SnapferryError `CONNECT_FAILED` with the text, or what broke the stream
 */
export async function refuseBanner(bytes: ByteReader, stream: ByteStream): Promise<void> {
  // All four, or it would be guessing: the length of a first message may well begin with a printable byte.
  await bytes.gather(lengthBytes);
  const first = bytes.peek().subarray(0, lengthBytes);
  if (first.byteLength < 2 || !first.every(isPrintable)) return;
  const { text, cause } = await printed(bytes, stream);
  const exit = cause instanceof SnapferryError && cause.code === 'CONNECT_FAILED' ? ` (${cause.message})` : '';
  const advice = 'make sure that the login prints nothing and that the command runs snapferry';
  throw new SnapferryError(
    'CONNECT_FAILED',
    `${stream.description} sent text instead of the protocol: ${JSON.stringify(text)}${exit}; ${advice}`,
    { cause, retryable: false },
  );
}

/** What the peer prints, as far as it comes soon, and what ended it. */
async function printed(bytes: ByteReader, stream: ByteStream): Promise<{ text: string; cause: unknown }> {
  const parts: Uint8Array[] = [];
  let byteLength = 0;
  let cause: unknown;
  const enough = setTimeout(() => stream.abort(new Error('enough text read')), bannerMsMax);
  try {
    while (byteLength < bannerBytesMax && (await bytes.fill())) {
      const part = new Uint8Array(bytes.take(bannerBytesMax - byteLength));
      byteLength += part.byteLength;
      parts.push(part);
    }
  } catch (error) {
    cause = error;
  } finally {
    clearTimeout(enough);
  }
  return { text: textOf(Buffer.concat(parts)).trim(), cause };
}

function isPrintable(byte: number): boolean {
  return (byte >= 0x20 && byte < 0x7f) || (byte >= 0x09 && byte <= 0x0d);
}

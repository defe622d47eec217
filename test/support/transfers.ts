import type { FilesystemVersion } from '../../src/dataset.ts';
import { SnapferryError } from '../../src/errors.ts';
import type { RequestContext, Transfer } from '../../src/rpc/interfaces.ts';
import { filesystem, largeVersion } from './session.ts';

/** A request for an initial transfer. */
export const initial = { filesystem, version: largeVersion };
/** A request for an incremental one. */
export const incremental: { filesystem: string[]; from: FilesystemVersion; to: FilesystemVersion } = {
  filesystem,
  from: { ...largeVersion, type: 'bookmark', guid: 3n },
  to: largeVersion,
};

async function* piecesOf(pieces: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const piece of pieces) {
    await Promise.resolve();
    yield piece;
  }
}

/** A transfer of these pieces. */
export function transferOf(...pieces: Uint8Array[]): Transfer {
  return { format: 'directory', estimatedBytes: null, resumed: false, bytes: piecesOf(pieces) };
}

/** `good` of the bytes, then a failure; notes that it was closed. */
export async function* failing(bytes: Uint8Array, good: number, closed: string[]): AsyncGenerator<Uint8Array> {
  try {
    await Promise.resolve();
    if (good > 0) yield bytes.subarray(0, good);
    throw new SnapferryError('BUSY', 'the source fails here');
  } finally {
    closed.push('closed');
  }
}

/** What came of a transfer, and what ended it. */
export async function read({ bytes }: Transfer): Promise<{ parts: Buffer; error: unknown }> {
  const parts: Buffer[] = [];
  try {
    for await (const piece of bytes) parts.push(Buffer.from(piece.slice()));
  } catch (error) {
    return { parts: Buffer.concat(parts), error };
  }
  return { parts: Buffer.concat(parts), error: null };
}

/** Lets everything that can happen without a timer happen. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
}

/** A handler that does nothing until it is told to stop. */
export function hang() {
  let begin = (): void => undefined;
  let stop = (): void => undefined;
  const begun = new Promise<void>((resolve) => (begin = resolve));
  const stopped = new Promise<void>((resolve) => (stop = resolve));
  const until = async ({ signal }: RequestContext): Promise<never> => {
    begin();
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    stop();
    throw new SnapferryError('CANCELLED', 'told to stop');
  };
  return { begun, stopped, stop: () => stop(), until };
}

/** Without fields that say nothing. */
export function defined(value: object): object {
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined));
}

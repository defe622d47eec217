import { createReadStream, createWriteStream } from 'node:fs';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import { replaceDurably, syncDirectory } from './store-files.ts';

/**
 * How the live files looked when the newest snapshot was taken, so that the next one need not read what was not
 * touched. Losing it costs one reading of everything; only a change of nothing but extended attributes or ACLs goes
 * unnoticed then.
 */
export interface LiveIndex {
  /** The snapshot it belongs to. */
  readonly guid: bigint;
  /** When its scan began, in ns since 1970: what was changed just before may have changed again unseen. */
  readonly scannedNs: bigint;
  /** One per entry of the snapshot, in its order: inode and ctime of the live file; {@link unknownStamp} if unknown. */
  readonly stamps: readonly string[];
}

/** Equal to no stamp: the file is read again next time. */
export const unknownStamp = '-';

const currentName = 'live-index.gz';
const nextName = 'live-index.next.gz';
const linesPerPiece = 4096;

/** The index of the snapshot `guid`, whose entries are `entries` many; null when there is none that fits. */
export async function readLiveIndex(root: string, guid: bigint, entries: number): Promise<LiveIndex | null> {
  // A crash just after a commit leaves the new index under its first name.
  for (const name of [nextName, currentName]) {
    const index = await readIndexFile(join(root, name)).catch(() => null);
    if (index?.guid === guid && index.stamps.length === entries) return index;
  }
  return null;
}

async function readIndexFile(path: string): Promise<LiveIndex | null> {
  const gunzip = createGunzip({ chunkSize: 256 * 1024 });
  const feeding = pipeline(createReadStream(path), gunzip);
  feeding.catch(() => undefined);
  let text = '';
  for await (const piece of gunzip.setEncoding('latin1') as AsyncIterable<string>) text += piece;
  const [head = '', ...stamps] = text.split('\n');
  const match = /^snapferry-live-index 1 (\d{1,20}) (\d{1,30})$/.exec(head);
  if (match === null || stamps.pop() !== '') return null;
  return { guid: BigInt(match[1] ?? ''), scannedNs: BigInt(match[2] ?? ''), stamps };
}

/** Writes the index of a snapshot that is about to be committed; {@link confirmLiveIndex} follows the commit. */
export async function prepareLiveIndex(root: string, index: LiveIndex): Promise<void> {
  const pieces = function* (): Generator<string> {
    yield `snapferry-live-index 1 ${index.guid} ${index.scannedNs}\n`;
    for (let start = 0; start < index.stamps.length; start += linesPerPiece) {
      yield `${index.stamps.slice(start, start + linesPerPiece).join('\n')}\n`;
    }
  };
  await replaceDurably(join(root, nextName), (temporary) =>
    pipeline(pieces(), createGzip({ level: 1 }), createWriteStream(temporary, { mode: 0o600 })),
  );
}

/** Makes the prepared index the current one. */
export async function confirmLiveIndex(root: string): Promise<void> {
  await rename(join(root, nextName), join(root, currentName));
  await syncDirectory(root);
}

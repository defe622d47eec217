import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import { z } from 'zod';
import { SnapferryError } from '../../errors.ts';
import { encodeEntry, parseEntry } from './entry-line.ts';
import type { Entry } from './entry.ts';
import { replaceDurably } from './store-files.ts';

export { decodeEntry, encodeEntry, entryFault, pathFault, printablePath, toByteString } from './entry-line.ts';
export { checkTree, diffEntries, parentOf, sameEntry, type Delta } from './tree-rules.ts';

/**
 * What the tree of a snapshot lacks against its entries, because its owner may not apply it: `owner` (files belong to
 * the owner of the store), `mode` (setuid and the like lost; the owner of the store may read everything), `xattrs`.
 */
export type NotApplied = 'owner' | 'mode' | 'xattrs';

/** What is known of a snapshot or bookmark without its entries. */
export interface SnapshotHeader {
  readonly format: 1;
  readonly guid: bigint;
  readonly createTXG: bigint;
  /** RFC 3339, UTC. */
  readonly creation: string;
  /** How many entries there are. */
  readonly entries: number;
  /** Sum of the sizes of its files. */
  readonly bytes: number;
  /** See {@link manifestSha256}; the same on every host that holds this snapshot whole. */
  readonly manifestSha256: string;
  /** Paths, made printable, of what could not be read at the source and is not in the snapshot. */
  readonly missing: readonly string[];
  readonly notApplied: readonly NotApplied[];
}

const u64Max = 2n ** 64n - 1n;
const headerBytesMax = 4 * 1024 * 1024;
const batchEntries = 4096;
const gunzipChunkBytes = 256 * 1024;

const u64 = z
  .string()
  .regex(/^(0|[1-9]\d{0,19})$/)
  .transform((text) => BigInt(text))
  .refine((value) => value <= u64Max);
const headerSchema = z.object({
  format: z.literal(1),
  guid: u64.refine((value) => value > 0n),
  createTXG: u64,
  creation: z.string(),
  entries: z.int().positive(),
  bytes: z.int().nonnegative(),
  manifestSha256: z.string().regex(/^[0-9a-f]{64}$/),
  missing: z.array(z.string()),
  notApplied: z.array(z.enum(['owner', 'mode', 'xattrs'])),
});

/** A header as the text of its file. */
export function encodeHeader(header: SnapshotHeader): string {
  const { guid, createTXG, ...rest } = header;
  const { format, ...others } = rest;
  return JSON.stringify({ format, guid: String(guid), createTXG: String(createTXG), ...others }) + '\n';
}

/**
 * The inverse of {@link encodeHeader}.
 * @param where what the text was read from, for the error
 * @throws SnapferryError `SOURCE_FAILED` when the text is damaged or of a newer format
 */
export function decodeHeader(text: string, where: string): SnapshotHeader {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw damage(where, 'it is not JSON', cause);
  }
  const result = headerSchema.safeParse(value);
  if (!result.success) throw damage(where, z.prettifyError(result.error).replaceAll('\n', ' '));
  return result.data;
}

function damage(where: string, why: string, cause?: unknown): SnapferryError {
  const text = `the manifest ${where} is damaged (${why}); take or receive that snapshot anew, or restore the file`;
  return new SnapferryError('SOURCE_FAILED', text, { cause });
}

/** Where the header of a manifest lies. */
export function headerPath(directory: string, name: string): string {
  return join(directory, `${name}.json`);
}

/** Where the entries of a manifest lie. */
export function entriesPath(directory: string, name: string): string {
  return join(directory, `${name}.entries.gz`);
}

/** The entries as lines, in batches of bytes, after which the event loop has had a turn. */
async function* encodeInBatches(entries: readonly Entry[]): AsyncGenerator<Buffer> {
  for (let start = 0; start < entries.length; start += batchEntries) {
    let text = '';
    const end = Math.min(start + batchEntries, entries.length);
    for (let index = start; index < end; index++) text += `${encodeEntry(entries[index] as Entry)}\n`;
    yield Buffer.from(text, 'utf8');
    await nextTurn();
  }
}

/** Resolves once the event loop has had a turn, so that heartbeats and cancellations get through. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** SHA-256 in hex over the lines of the entries, each with its newline. */
export async function manifestSha256(entries: readonly Entry[]): Promise<string> {
  const hash = createHash('sha256');
  for await (const batch of encodeInBatches(entries)) hash.update(batch);
  return hash.digest('hex');
}

/**
 * Writes both files of a manifest durably, the header last: a header that exists has its entries.
 * @throws SnapferryError `INTERNAL` when the header does not belong to the entries
 */
export async function writeManifest(
  directory: string,
  name: string,
  header: SnapshotHeader,
  entries: readonly Entry[],
): Promise<void> {
  await replaceDurably(entriesPath(directory, name), async (temporary) => {
    const hash = createHash('sha256');
    const hashed = async function* (): AsyncGenerator<Buffer> {
      for await (const batch of encodeInBatches(entries)) {
        hash.update(batch);
        yield batch;
      }
    };
    await pipeline(hashed, createGzip({ level: 1 }), createWriteStream(temporary, { mode: 0o600 }));
    if (hash.digest('hex') !== header.manifestSha256 || header.entries !== entries.length) {
      throw new SnapferryError('INTERNAL', `the header of snapshot ${name} does not belong to its entries`);
    }
  });
  await replaceDurably(headerPath(directory, name), (temporary) =>
    writeFile(temporary, encodeHeader(header), { mode: 0o600 }),
  );
}

/**
 * Reads a header.
 * @throws SnapferryError `SOURCE_FAILED` when it is damaged or cannot be read, with the errno error as its cause
 */
export async function readHeader(directory: string, name: string): Promise<SnapshotHeader> {
  const path = headerPath(directory, name);
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    throw new SnapferryError('SOURCE_FAILED', `cannot read the manifest ${path}: ${String(cause)}`, { cause });
  }
  if (bytes.length > headerBytesMax) throw damage(path, `it has over ${headerBytesMax} bytes`);
  return decodeHeader(bytes.toString('utf8'), path);
}

/**
 * Reads the entries of a manifest and checks them against its header.
 * @throws SnapferryError `SOURCE_FAILED` when they are damaged or cannot be read
 */
export async function readEntries(directory: string, name: string, header?: SnapshotHeader): Promise<Entry[]> {
  const { manifestSha256: expected, entries: count } = header ?? (await readHeader(directory, name));
  const path = entriesPath(directory, name);
  const hash = createHash('sha256');
  const entries: Entry[] = [];
  let rest: Buffer = Buffer.alloc(0);
  const gunzip = createGunzip({ chunkSize: gunzipChunkBytes });
  const feeding = pipeline(createReadStream(path), gunzip);
  feeding.catch(() => undefined);
  try {
    for await (const piece of gunzip as AsyncIterable<Buffer>) {
      hash.update(piece);
      const end = piece.lastIndexOf(10) + 1;
      if (end === 0) {
        rest = Buffer.concat([rest, piece]);
        continue;
      }
      const lines = Buffer.concat([rest, piece.subarray(0, end - 1)]).toString('utf8');
      for (const line of lines.split('\n')) entries.push(parseEntry(line));
      if (entries.length > count) break;
      rest = Buffer.from(piece.subarray(end));
    }
  } catch (cause) {
    throw damage(path, cause instanceof Error ? cause.message : String(cause), cause);
  }
  if (rest.length > 0 || entries.length !== count || hash.digest('hex') !== expected) {
    throw damage(path, 'its digest or count is not that of its header');
  }
  return entries;
}

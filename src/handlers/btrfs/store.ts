import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import { SnapferryError } from '../../errors.ts';
import { isErrno, replaceDurably, syncDirectory, temporarySuffix } from '../directory/store-files.ts';
import { acquireLock } from '../lock.ts';
import { checkDatasetFolder, storeFolderName, temporaryPrefix } from './names.ts';
import { isUUID } from './uuid.ts';

const uuidShape = z.string().refine(isUUID);
const numberShape = z.string().regex(/^\d{1,20}$/);

/** An interrupted receive that can go on, see `StreamContinuation`. Numbers of 64 bits are in decimal. */
const partialShape = z.object({
  name: z.string(),
  uuid: uuidShape,
  from: numberShape.nullable(),
  to: numberShape,
  identity: z.object({ uuid: uuidShape, ctransid: numberShape }),
  version: z.number().int(),
  offset: z.number().int().positive(),
  digest: z.object({ chain: z.string(), pending: z.string() }),
});

/** What a store keeps of receives that are not over. */
const noteShape = z.object({
  /** Name of the subvolume that is being received; nothing of it counts until it is confirmed. */
  receiving: z.string().nullable(),
  partial: partialShape.nullable(),
});

const recordShape = z.object({ creation: z.string().nullable() });

const cursorShape = z.object({
  job: z.string(),
  guid: numberShape,
  createTXG: numberShape,
  name: z.string(),
  moved: z.string(),
});

export type SavedPartial = z.infer<typeof partialShape>;
export type ReceiveNote = z.infer<typeof noteShape>;
/** How far a job has got: the snapshot that its next transfer starts from. */
export type SavedCursor = z.infer<typeof cursorShape>;
/** What is known of a copy beyond what btrfs keeps. */
export type CopyRecord = z.infer<typeof recordShape>;

const noteName = 'receive.json';
const jsonSuffix = '.json';

/** Notes about one dataset, in `.snapferry/DATASET` beside it. Each is on disk before the call that writes it resolves. */
export class BtrfsStore {
  /** The dataset's path, absolute; nothing need be there. */
  readonly dataset: string;
  /** Where its snapshots are received. */
  readonly folder: string;
  /** What every subvolume begins with that is being received into this dataset. */
  readonly temporaryPrefix: string;
  readonly #root: string;

  /** @throws SnapferryError `INVALID_REQUEST` for a path that cannot be a dataset */
  constructor(dataset: string) {
    checkDatasetFolder(dataset);
    this.dataset = dataset;
    this.folder = dirname(dataset);
    const name = basename(dataset);
    this.#root = join(this.folder, storeFolderName, name);
    this.temporaryPrefix = `${temporaryPrefix}${createHash('sha256').update(name).digest('hex').slice(0, 12)}-`;
  }

  /** Makes its folders, and those above, closed to other users: copies hold other people's setuid files. */
  async create(): Promise<void> {
    for (const name of ['', 'copies', 'cursors']) await mkdir(join(this.#root, name), { recursive: true, mode: 0o700 });
  }

  async exists(): Promise<boolean> {
    return (await this.#names('')).length > 0;
  }

  /**
   * Runs as the only writer of this dataset. The store must exist.
   * @throws SnapferryError `BUSY`, `CANCELLED`
   */
  async withLock<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const lock = await acquireLock(join(this.#root, 'lock'), { what: this.dataset, signal });
    try {
      await this.#removeLitter();
      return await work();
    } finally {
      await lock.release();
    }
  }

  /** Null when no receive is under way or was interrupted. */
  async note(): Promise<ReceiveNote | null> {
    return this.#read(noteName, noteShape);
  }

  async writeNote(note: ReceiveNote): Promise<void> {
    await this.#write(noteName, note);
  }

  async removeNote(): Promise<void> {
    await this.#remove(noteName);
  }

  /** Keeps what is known of the copy with this UUID. */
  async writeRecord(uuid: string, record: CopyRecord): Promise<void> {
    await this.#write(join('copies', uuid + jsonSuffix), record);
  }

  /** By the copy's UUID; null when nothing is known. */
  async record(uuid: string): Promise<CopyRecord | null> {
    return this.#read(join('copies', uuid + jsonSuffix), recordShape);
  }

  /** Forgets copies that are gone. */
  async keepRecords(uuids: ReadonlySet<string>): Promise<void> {
    for (const name of await this.#names('copies')) {
      if (!uuids.has(name.slice(0, -jsonSuffix.length))) await rm(join(this.#root, 'copies', name), { force: true });
    }
  }

  async cursors(): Promise<SavedCursor[]> {
    const names = (await this.#names('cursors')).filter((name) => name.endsWith(jsonSuffix)).sort();
    const cursors = await Promise.all(names.map((name) => this.#read(join('cursors', name), cursorShape)));
    return cursors.filter((cursor) => cursor !== null);
  }

  async writeCursor(cursor: SavedCursor): Promise<void> {
    await this.#write(join('cursors', cursor.job + jsonSuffix), cursor);
  }

  /** No-op when there is none. */
  async removeCursor(job: string): Promise<void> {
    await this.#remove(join('cursors', job + jsonSuffix));
  }

  async #names(folder: string): Promise<string[]> {
    try {
      return await readdir(join(this.#root, folder));
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'ENOTDIR')) return [];
      throw error;
    }
  }

  async #read<T>(name: string, shape: z.ZodType<T>): Promise<T | null> {
    const path = join(this.#root, name);
    let text: string;
    try {
      text = await readFile(path, 'utf8');
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'ENOTDIR')) return null;
      throw error;
    }
    const parsed = shape.safeParse(parseOrNull(text));
    if (parsed.success) return parsed.data;
    throw new SnapferryError(
      'INTERNAL',
      `${path} is damaged: it is not as snapferry writes it; remove it and run again`,
    );
  }

  async #write(name: string, value: unknown): Promise<void> {
    const text = `${JSON.stringify(value)}\n`;
    await replaceDurably(join(this.#root, name), (temporary) => writeFile(temporary, text, { mode: 0o600 }));
  }

  async #remove(name: string): Promise<void> {
    const path = join(this.#root, name);
    await rm(path, { force: true });
    if (await this.exists()) await syncDirectory(dirname(path));
  }

  /** What a writer that was killed has left. */
  async #removeLitter(): Promise<void> {
    for (const folder of ['', 'copies']) {
      for (const name of await this.#names(folder)) {
        if (name.endsWith(temporarySuffix)) await rm(join(this.#root, folder, name), { force: true });
      }
    }
  }
}

function parseOrNull(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return null;
  }
}

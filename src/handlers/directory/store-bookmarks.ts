import { link, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { FilesystemVersion } from '../../dataset.ts';
import type { Entry } from './entry.ts';
import { acquireLock } from '../lock.ts';
import { entriesPath, headerPath, readEntries, readHeader, type SnapshotHeader } from './manifest.ts';
import { isErrno, replaceDurably, syncDirectory, temporarySuffix } from './store-files.ts';
import { readHeaders, toVersion } from './store-listing.ts';

const lockWaitMs = 10_000;
const headerSuffix = '.json';
const entriesSuffix = '.entries.gz';

/**
 * The bookmarks of a store: `NAME.json`, and beside it the entries named by guid, `GUID.entries.gz`. So a bookmark
 * moves to another version by one rename, and bookmarks of one version share its entries.
 */
export class BookmarkShelf {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  async versions(): Promise<FilesystemVersion[]> {
    const names = await this.#names();
    const isThere = async (name: string): Promise<boolean> => (await this.#names()).includes(name);
    const headers = await readHeaders(this.#directory, names, isThere);
    return headers.map(([name, header]) => toVersion('bookmark', name, header));
  }

  async #names(): Promise<string[]> {
    const files = await readdir(this.#directory).catch((error: unknown) => {
      if (isErrno(error, 'ENOENT')) return [];
      throw error;
    });
    return files.filter((file) => file.endsWith(headerSuffix)).map((file) => file.slice(0, -headerSuffix.length));
  }

  async header(name: string): Promise<SnapshotHeader> {
    return readHeader(this.#directory, name);
  }

  async entries(name: string): Promise<Entry[]> {
    const header = await this.header(name);
    return readEntries(this.#directory, String(header.guid), header);
  }

  /** Makes `name` a bookmark of the manifest `from` in the directory `manifests`. */
  async set(name: string, manifests: string, from: string, guid: bigint): Promise<void> {
    await this.#change(async () => {
      await link(entriesPath(manifests, from), entriesPath(this.#directory, String(guid))).catch(unlessThere);
      await replaceDurably(headerPath(this.#directory, name), (temporary) =>
        link(headerPath(manifests, from), temporary),
      );
    });
  }

  /** Makes `name` a bookmark of what the bookmark `from` is of. */
  async copy(name: string, from: string): Promise<void> {
    if (name === from) return;
    await this.#change(() =>
      replaceDurably(headerPath(this.#directory, name), (temporary) =>
        link(headerPath(this.#directory, from), temporary),
      ),
    );
  }

  /** Removes a bookmark, and its entries unless another one is of the same version. */
  async remove(name: string): Promise<void> {
    await this.#change(async () => {
      await rm(headerPath(this.#directory, name), { force: true });
      await syncDirectory(this.#directory);
    });
  }

  /** Changes of bookmarks take milliseconds, hence a lock of their own, which is waited for. */
  async #change(work: () => Promise<void>): Promise<void> {
    const what = `the list of bookmarks ${this.#directory}`;
    const lock = await acquireLock(join(this.#directory, 'lock'), { what, waitMs: lockWaitMs });
    try {
      await work();
      await this.#removeLitter();
    } finally {
      await lock.release();
    }
  }

  async #removeLitter(): Promise<void> {
    const files = await readdir(this.#directory);
    const guids = new Set((await this.versions()).map((version) => String(version.guid)));
    for (const file of files) {
      const isUnused = file.endsWith(entriesSuffix) && !guids.has(file.slice(0, -entriesSuffix.length));
      if (isUnused || file.endsWith(temporarySuffix)) await rm(join(this.#directory, file), { force: true });
    }
  }
}

function unlessThere(error: unknown): void {
  if (!isErrno(error, 'EEXIST')) throw error;
}

import { lstat, mkdir, readdir, rename } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { checkVersionName, type FilesystemVersion } from '../../dataset.ts';
import { SnapferryError, toSnapferryError } from '../../errors.ts';
import type { Entry } from './entry.ts';
import { acquireLock, type Lock } from '../lock.ts';
import { readEntries, readHeader, writeManifest, type SnapshotHeader } from './manifest.ts';
import { BookmarkShelf } from './store-bookmarks.ts';
import { isErrno, syncDirectory } from './store-files.ts';
import { createStore, findStore, type StoreKind, type StoreMarker } from './store-layout.ts';
import { readHeaders, removeLitter, toVersion } from './store-listing.ts';
import { syncFileSystem } from './tree.ts';

export type { StoreKind } from './store-layout.ts';

/** The name of a snapshot or bookmark in a store, in bytes at most: its files' suffixes must still fit. */
export const storedNameBytesMax = 240;

/**
 * Opens the store of a directory: the one at `.snapferry` of a live directory, or the directory itself if it is a
 * received copy. Nothing needs to be closed.
 * @param options.kind refuses a store of the other kind; needed to create one
 * @param options.create makes the store when there is none
 * @throws SnapferryError `DATASET_NOT_FOUND` when there is none, `INVALID_REQUEST` when it is of the other kind or the
 * directory cannot become a copy, `ACCESS_DENIED`, `SOURCE_FAILED` when it is damaged
 */
export async function openStore(
  directory: string,
  options: { readonly kind?: StoreKind; readonly create?: boolean } = {},
): Promise<Store> {
  const path = resolve(directory);
  let marker = await findStore(path);
  if (marker === null && options.create === true && options.kind !== undefined) {
    marker = await createStore(path, options.kind);
  }
  if (marker === null) {
    const text = `${path} has no snapshots: it is neither a copy nor a directory of which a snapshot was taken`;
    throw new SnapferryError('DATASET_NOT_FOUND', text);
  }
  if (options.kind !== undefined && options.kind !== marker.kind) {
    const what =
      marker.kind === 'copy' ? 'a received copy; it only receives' : 'a live directory with its own snapshots';
    throw new SnapferryError('INVALID_REQUEST', `${path} is ${what}`);
  }
  const store = new Store(path, marker);
  if (options.create === true) await store.makeDirectories();
  return store;
}

/** The snapshots and bookmarks of one dataset. Reading needs no lock; what writes runs inside {@link Store.withLock}. */
export class Store {
  /** The dataset's directory, absolute: the live one, or the copy's. */
  readonly directory: string;
  /** Where the store's own files are, absolute. */
  readonly root: string;
  readonly kind: StoreKind;
  /** Identity of the store itself. */
  readonly guid: bigint;
  readonly #bookmarks: BookmarkShelf;
  #lock: Lock | null = null;

  /** Use {@link openStore}. */
  constructor(directory: string, marker: StoreMarker) {
    this.directory = directory;
    this.root = marker.root;
    this.kind = marker.kind;
    this.guid = marker.guid;
    this.#bookmarks = new BookmarkShelf(join(marker.root, 'bookmarks'));
  }

  /** Where work in progress lies. What is in it goes at the next {@link Store.withLock}, but for `receive`. */
  get stagingDirectory(): string {
    return join(this.root, 'staging');
  }

  /** Where a receive keeps what it can resume; survives {@link Store.withLock}. */
  get receiveDirectory(): string {
    return join(this.stagingDirectory, 'receive');
  }

  get #snapshots(): string {
    return join(this.root, 'snapshots');
  }

  get #manifests(): string {
    return join(this.root, 'manifests');
  }

  /** Where the tree of a snapshot is, or would be. */
  snapshotDirectory(name: string): string {
    checkStoredName(name);
    return join(this.#snapshots, name);
  }

  /** Makes the directories of the store, should some be missing. Only their owner may enter: setuid files lie below. */
  async makeDirectories(): Promise<void> {
    for (const name of ['snapshots', 'manifests', 'bookmarks', 'staging']) {
      await mkdir(join(this.root, name), { mode: 0o700, recursive: true });
    }
  }

  /** Snapshots and bookmarks, oldest first; a bookmark comes after its snapshot. */
  async versions(): Promise<FilesystemVersion[]> {
    const [snapshots, bookmarks] = await Promise.all([this.#snapshotVersions(), this.#bookmarks.versions()]);
    return [...snapshots, ...bookmarks].sort(byAge);
  }

  async #snapshotVersions(): Promise<FilesystemVersion[]> {
    const names = await readdir(this.#snapshots).catch(emptyIfMissing);
    const headers = await readHeaders(this.#manifests, names, async (name) => this.#has(name));
    return headers.map(([name, header]) => toVersion('snapshot', name, header)).sort(byAge);
  }

  /** Whether the snapshot exists: whether its tree does. */
  async #has(name: string): Promise<boolean> {
    return (await lstat(join(this.#snapshots, name)).catch(() => null)) !== null;
  }

  /** The newest snapshot, or null. */
  async newest(): Promise<FilesystemVersion | null> {
    return (await this.#snapshotVersions()).at(-1) ?? null;
  }

  /** The snapshot with that guid, else the bookmark, else null. */
  async findByGuid(guid: bigint): Promise<FilesystemVersion | null> {
    const found = (await this.versions()).filter((version) => version.guid === guid);
    return found.find((version) => version.type === 'snapshot') ?? found[0] ?? null;
  }

  /** createTXG for the next snapshot. */
  async nextCreateTXG(): Promise<bigint> {
    return ((await this.versions()).at(-1)?.createTXG ?? 0n) + 1n;
  }

  /** @throws SnapferryError `VERSION_NOT_FOUND`, `SOURCE_FAILED` when it is damaged */
  async header(name: string): Promise<SnapshotHeader> {
    await this.#require(name);
    return readHeader(this.#manifests, name);
  }

  /** The entries of a snapshot in path order. @throws as {@link Store.header} */
  async entries(name: string): Promise<Entry[]> {
    await this.#require(name);
    return readEntries(this.#manifests, name);
  }

  async #require(name: string): Promise<void> {
    checkStoredName(name);
    if (!(await this.#has(name))) throw await this.#notFound(`snapshot @${name}`);
  }

  async #notFound(what: string): Promise<SnapferryError> {
    const names = (await this.versions()).map((version) => (version.type === 'bookmark' ? '#' : '@') + version.name);
    const shown = names.length > 10 ? ['…', ...names.slice(-10)] : names;
    const there = names.length === 0 ? 'there is none' : `there are: ${shown.join(', ')}`;
    return new SnapferryError('VERSION_NOT_FOUND', `${this.directory} has no ${what}; ${there}`);
  }

  /**
   * The header of a version wherever it is kept: found by guid, and a snapshot is preferred to a bookmark.
   * @throws SnapferryError `VERSION_NOT_FOUND`, `SOURCE_FAILED` when it is damaged
   */
  async headerOf(version: Pick<FilesystemVersion, 'guid' | 'name' | 'type'>): Promise<SnapshotHeader> {
    const found = await this.#locate(version);
    return found.type === 'snapshot' ? this.header(found.name) : this.#bookmarks.header(found.name);
  }

  /** The entries of a version, found as by {@link Store.headerOf}. */
  async entriesOf(version: Pick<FilesystemVersion, 'guid' | 'name' | 'type'>): Promise<Entry[]> {
    const found = await this.#locate(version);
    return found.type === 'snapshot' ? this.entries(found.name) : this.#bookmarks.entries(found.name);
  }

  async #locate(version: Pick<FilesystemVersion, 'guid' | 'name' | 'type'>): Promise<FilesystemVersion> {
    const found = await this.findByGuid(version.guid);
    if (found !== null) return found;
    throw await this.#notFound(`${version.type} ${version.name} with guid ${version.guid}`);
  }

  /**
   * Runs `work` as the only writer of the store. Litter of writers that died is removed first.
   * @throws SnapferryError `BUSY` at once when another writer is at work
   */
  async withLock<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    await this.makeDirectories();
    const lock = await acquireLock(join(this.root, 'lock'), { what: `the store of ${this.directory}`, signal });
    try {
      this.#lock = lock;
      await removeLitter(this.root);
      return await work();
    } finally {
      this.#lock = null;
      await lock.release();
    }
  }

  /** @throws SnapferryError `INTERNAL` unless inside {@link Store.withLock} and still holding the lock */
  requireLock(): void {
    if (this.#lock?.isHeld !== true) {
      throw new SnapferryError('INTERNAL', `the lock of ${this.root} is not held; nothing was committed`);
    }
  }

  /** @throws SnapferryError `INVALID_REQUEST` unless a snapshot of that name could be made */
  async requireFree(name: string): Promise<void> {
    checkStoredName(name);
    if (await this.#has(name)) {
      throw new SnapferryError(
        'INVALID_REQUEST',
        `${this.directory} has a snapshot @${name} already; choose another name`,
      );
    }
  }

  /**
   * Makes a finished tree inside {@link Store.stagingDirectory} the snapshot `name`, durably: before this returns it is
   * not there for anybody, after it is there for good, whatever happens.
   * @throws SnapferryError `INVALID_REQUEST` when the name is taken or unfit
   */
  async commit(
    stagingTree: string,
    name: string,
    header: SnapshotHeader,
    entries: readonly Entry[],
  ): Promise<FilesystemVersion> {
    await this.requireFree(name);
    await syncFileSystem(stagingTree);
    await writeManifest(this.#manifests, name, header, entries);
    this.requireLock();
    await rename(stagingTree, join(this.#snapshots, name));
    await syncDirectory(this.#snapshots);
    await syncDirectory(this.stagingDirectory);
    return toVersion('snapshot', name, header);
  }

  /**
   * Makes `name` a bookmark of a version that is here, replacing a bookmark of that name atomically. Needs no
   * {@link Store.withLock}: a transfer may be confirmed while a snapshot is taken.
   * @throws SnapferryError `VERSION_NOT_FOUND`, `INVALID_REQUEST` when the name is unfit
   */
  async setBookmark(name: string, fromVersion: FilesystemVersion): Promise<void> {
    checkStoredName(name);
    await this.makeDirectories();
    const found = await this.#locate(fromVersion);
    if (found.type === 'snapshot') await this.#bookmarks.set(name, this.#manifests, found.name, found.guid);
    else await this.#bookmarks.copy(name, found.name);
  }

  /** Removes a bookmark. One that is not there is well. @throws SnapferryError `INVALID_REQUEST` when the name is unfit */
  async removeBookmark(name: string): Promise<void> {
    checkStoredName(name);
    await this.#bookmarks.remove(name);
  }
}

function checkStoredName(name: string): void {
  checkVersionName(name);
  if (Buffer.byteLength(name) > storedNameBytesMax) {
    const text = `snapshot name ${JSON.stringify(name)} is longer than ${storedNameBytesMax} bytes, too long for a directory`;
    throw new SnapferryError('INVALID_REQUEST', text);
  }
}

function emptyIfMissing(error: unknown): string[] {
  if (isErrno(error, 'ENOENT')) return [];
  if (isErrno(error, 'EACCES')) {
    throw new SnapferryError('ACCESS_DENIED', `the store belongs to another user: ${error.message}`, { cause: error });
  }
  throw toSnapferryError(error, 'SOURCE_FAILED', 'cannot list snapshots');
}

function byAge(a: FilesystemVersion, b: FilesystemVersion): number {
  if (a.createTXG !== b.createTXG) return a.createTXG < b.createTXG ? -1 : 1;
  if (a.type !== b.type) return a.type === 'snapshot' ? -1 : 1;
  return a.name < b.name ? -1 : 1;
}

import { mkdtemp } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import ignore from 'ignore';
import type { FilesystemVersion } from '../../dataset.ts';
import { toSnapferryError } from '../../errors.ts';
import type { Logger, Progress } from '../../rpc/interfaces.ts';
import type { ByteString, Entry } from './entry.ts';
import { newGuid } from './guid.ts';
import { checkTree, diffEntries, manifestSha256, type NotApplied, type SnapshotHeader } from './manifest.ts';
import { FileHasher } from './scan-hash.ts';
import { listPaths, requireListable, scanTree, type Scan, type ScanOptions } from './scan.ts';
import { buildTree } from './snapshot-build.ts';
import { compareWithPrevious, isCopied, type Comparison } from './snapshot-compare.ts';
import type { CopyContext } from './snapshot-copy.ts';
import { confirmLiveIndex, prepareLiveIndex, readLiveIndex, type LiveIndex } from './snapshot-index.ts';
import { findStore } from './store-layout.ts';
import { openStore, type Store } from './store.ts';
import { removeTree } from './tree.ts';

/** How to take a snapshot. */
export interface SnapshotOptions {
  /** Default: `snapferry_YYYYMMDD_HHMMSS_mmm`, in UTC. */
  readonly name?: string | undefined;
  /** What to leave out: patterns as in a `.gitignore` at the top of the directory. */
  readonly exclude?: readonly string[] | undefined;
  /** Take one even if nothing changed. */
  readonly force?: boolean | undefined;
  /** Only look: nothing at all is written, and the result tells what a run would do. */
  readonly dryRun?: boolean | undefined;
  readonly now?: (() => Date) | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly logger?: Logger | undefined;
}

/** How a snapshot differs from the one before; counted in names (files, directories, links). */
export interface SnapshotDelta {
  readonly added: number;
  readonly changed: number;
  readonly removed: number;
  /** Content of the files that are new or changed. */
  readonly bytes: number;
}

/** What became of it. */
export interface SnapshotResult {
  /** Null when nothing changed (and it was not forced), and in a dry run. */
  readonly version: FilesystemVersion | null;
  /** Of the new snapshot; null when there is none. */
  readonly header: SnapshotHeader | null;
  /** Whether a snapshot was taken, or in a dry run, whether one would be. */
  readonly isTaken: boolean;
  readonly delta: SnapshotDelta;
  /** What a person should know: sockets and devices left out, files that never kept still, what could not be kept. */
  readonly notices: readonly string[];
  /** Paths of what could not be read and is not in the snapshot. */
  readonly missing: readonly string[];
}

const pathsNamedMax = 20;

/**
 * Takes a snapshot of a live directory, making its store at `.snapferry` first if there is none. Does nothing when
 * nothing changed since the newest one.
 * @param directory of the live tree; must exist
 * @throws SnapferryError `DATASET_NOT_FOUND`, `ACCESS_DENIED` (the directory cannot be read), `INVALID_REQUEST` (bad
 * or taken name, or a received copy), `BUSY`, `CANCELLED`, `SOURCE_FAILED` (disk full, a damaged store)
 */
export async function takeSnapshot(directory: string, options: SnapshotOptions = {}): Promise<SnapshotResult> {
  const source = resolve(directory);
  try {
    if (options.dryRun === true) {
      const store = (await findStore(source)) === null ? null : await openStore(source, { kind: 'live' });
      return await new SnapshotRun(source, options).look(store);
    }
    requireListable(source);
    const store = await openStore(source, { kind: 'live', create: true });
    return await store.withLock(() => new SnapshotRun(source, options).take(store), options.signal);
  } catch (error) {
    throw toSnapferryError(error, 'SOURCE_FAILED', `cannot take a snapshot of ${source}`);
  }
}

/** The newest snapshot of a store, to compare with. */
interface Previous {
  readonly version: FilesystemVersion;
  readonly header: SnapshotHeader;
  readonly entries: readonly Entry[];
  readonly index: LiveIndex | null;
}

/** One taking of a snapshot. */
class SnapshotRun {
  readonly #source: string;
  readonly #options: SnapshotOptions;
  readonly #hasher: FileHasher;

  constructor(source: string, options: SnapshotOptions) {
    this.#source = source;
    this.#options = options;
    this.#hasher = new FileHasher(options.signal);
  }

  async look(store: Store | null): Promise<SnapshotResult> {
    const { scan, comparison } = await this.#compare(store === null ? null : await readPrevious(store));
    const delta = expectedDelta(comparison);
    const isTaken = isChange(delta) || this.#options.force === true;
    const missing = listPaths([...scan.unreadable, ...comparison.unreadable].sort());
    return { version: null, header: null, isTaken, delta, notices: scanNotices(scan), missing };
  }

  async take(store: Store): Promise<SnapshotResult> {
    if (this.#options.name !== undefined) await store.requireFree(this.#options.name);
    const scannedNs = BigInt(Date.now()) * 1_000_000n;
    const previous = await readPrevious(store);
    const { scan, comparison } = await this.#compare(previous);
    const isForced = this.#options.force === true;
    const delta = expectedDelta(comparison);
    const missing = [...scan.unreadable, ...comparison.unreadable];
    if (!isChange(delta) && !isForced) {
      if (previous !== null && comparison.isIndexStale) {
        const stamps = comparison.items.map((item) => item.stamp);
        await prepareLiveIndex(store.root, { guid: previous.version.guid, scannedNs, stamps });
        await confirmLiveIndex(store.root);
      }
      const notices = scanNotices(scan);
      return { version: null, header: null, isTaken: false, delta, notices, missing: listPaths(missing.sort()) };
    }
    return this.#build(store, { scannedNs, previous, scan, comparison, missing });
  }

  async #compare(previous: Previous | null): Promise<{ scan: Scan; comparison: Comparison }> {
    const { signal, exclude } = this.#options;
    const scan = await scanTree(this.#source, {
      skipStore: true,
      signal,
      onProgress: (names) => this.#report('scanning', names, null),
      ...excluding(exclude),
    });
    this.#report('comparing', 0, scan.files.length);
    return { scan, comparison: await compareWithPrevious(this.#source, scan, previous, this.#hasher) };
  }

  async #build(
    store: Store,
    found: {
      readonly scannedNs: bigint;
      readonly previous: Previous | null;
      readonly scan: Scan;
      readonly comparison: Comparison;
      readonly missing: ByteString[];
    },
  ): Promise<SnapshotResult> {
    const { previous, comparison, scan } = found;
    const staging = await mkdtemp(join(store.stagingDirectory, 'snapshot-'));
    try {
      const context = this.#copyContext(join(staging, 'tree'), found.missing, comparison, previous);
      const base = previous === null ? null : store.snapshotDirectory(previous.version.name);
      const { entries, stamps } = await buildTree(comparison, base, context);
      checkTree(entries);
      const delta = actualDelta(previous?.entries ?? null, entries);
      const notices = [...scanNotices(scan), ...copyNotices(context)];
      const missing = listPaths(found.missing.sort());
      if (!isChange(delta) && this.#options.force !== true) {
        return { version: null, header: null, isTaken: false, delta, notices, missing };
      }
      this.#report('committing', entries.length, entries.length);
      const header = await this.#header(store, entries, missing, [...context.notApplied].sort());
      await prepareLiveIndex(store.root, { guid: header.guid, scannedNs: found.scannedNs, stamps });
      const name = this.#options.name ?? (await freeName(store, new Date(header.creation)));
      const version = await store.commit(context.target, name, header, entries);
      await confirmLiveIndex(store.root);
      this.#options.logger?.info({ directory: this.#source, snapshot: name, ...delta }, 'snapshot taken');
      return { version, header, isTaken: true, delta, notices, missing };
    } finally {
      await removeTree(staging);
    }
  }

  #copyContext(
    target: string,
    unreadable: ByteString[],
    comparison: Comparison,
    previous: Previous | null,
  ): CopyContext {
    const total = comparison.items.filter(isCopied).length;
    return {
      source: this.#source,
      target,
      hasher: this.#hasher,
      signal: this.#options.signal,
      onCopied: (filesDone) => this.#report('copying', filesDone, total),
      notApplied: new Set<NotApplied>(previous?.header.notApplied),
      unreadable,
      unsettled: [],
      replaced: [],
    };
  }

  async #header(
    store: Store,
    entries: readonly Entry[],
    missing: readonly string[],
    notApplied: readonly NotApplied[],
  ): Promise<SnapshotHeader> {
    const now = this.#options.now ?? (() => new Date());
    return {
      format: 1,
      guid: newGuid(),
      createTXG: await store.nextCreateTXG(),
      creation: now().toISOString(),
      entries: entries.length,
      bytes: entries.reduce((sum, entry) => sum + entry.size, 0),
      manifestSha256: await manifestSha256(entries),
      missing,
      notApplied,
    };
  }

  #report(message: string, done: number, total: number | null): void {
    this.#options.onProgress?.({ message, done, total });
  }
}

async function readPrevious(store: Store): Promise<Previous | null> {
  const version = await store.newest();
  if (version === null) return null;
  const [header, entries] = await Promise.all([store.header(version.name), store.entries(version.name)]);
  return { version, header, entries, index: await readLiveIndex(store.root, version.guid, entries.length) };
}

function excluding(patterns: readonly string[] | undefined): Pick<ScanOptions, 'isExcluded'> {
  if (patterns === undefined || patterns.length === 0) return {};
  const rules = ignore({ ignorecase: false, allowRelativePaths: true }).add([...patterns]);
  return {
    isExcluded: (path, isDirectory) =>
      rules.ignores(Buffer.from(path, 'latin1').toString('utf8') + (isDirectory ? '/' : '')),
  };
}

function isChange(delta: SnapshotDelta): boolean {
  return delta.added + delta.changed + delta.removed > 0;
}

function expectedDelta(comparison: Comparison): SnapshotDelta {
  const changes = comparison.items.filter((item) => !item.isUnchanged);
  const added = changes.filter((item) => item.before === null).length;
  const files = changes.filter((item) => item.type === 'file');
  const bytes = files.reduce((sum, item) => sum + item.found.size, 0);
  return { added, changed: changes.length - added, removed: comparison.removed.length, bytes };
}

function actualDelta(previous: readonly Entry[] | null, entries: readonly Entry[]): SnapshotDelta {
  const { removed, put } = diffEntries(previous, entries);
  const added = entries.length - ((previous?.length ?? 0) - removed.length);
  const bytes = put.reduce((sum, entry) => sum + entry.size, 0);
  return { added, changed: put.length - added, removed: removed.length, bytes };
}

function scanNotices(scan: Scan): string[] {
  return notice('left out, as no snapshot can hold a socket or a device', scan.skipped);
}

function copyNotices(context: CopyContext): string[] {
  const notices = [
    ...notice('kept changing while it was read; the last reading was kept', context.unsettled),
    ...notice('became something else while it was read and comes with the next snapshot', context.replaced),
  ];
  if (context.notApplied.size === 0) return notices;
  const what = [...context.notApplied].sort().join(', ');
  return [...notices, `recorded, but not applied to the files of the snapshot by this user: ${what}`];
}

function notice(what: string, paths: readonly ByteString[]): string[] {
  return listPaths(paths, pathsNamedMax).map((path) => `${path}: ${what}`);
}

async function freeName(store: Store, date: Date): Promise<string> {
  const taken = new Set((await store.versions()).map((version) => version.name));
  for (let time = date.getTime(); ; time++) {
    const [day = '', clock = ''] = new Date(time).toISOString().split('T');
    const digits = clock.replaceAll(':', '').replace('.', '_').replace('Z', '');
    const name = `snapferry_${day.replaceAll('-', '')}_${digits}`;
    if (!taken.has(name)) return name;
  }
}

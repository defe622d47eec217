import { readlinkSync } from 'node:fs';
import { resolve } from 'node:path';
import type { FilesystemVersion } from '../../dataset.ts';
import { SnapferryError, toSnapferryError } from '../../errors.ts';
import type { Progress } from '../../rpc/interfaces.ts';
import type { ByteString, Entry } from './entry.ts';
import { nextTurn, printablePath, type NotApplied, type SnapshotHeader } from './manifest.ts';
import { FileHasher } from './scan-hash.ts';
import { bytePath, checkSignal, scanTree, type Found } from './scan.ts';
import { openStore, type Store } from './store.ts';

/** What is wrong with one file of a snapshot. */
export interface DamagedFile {
  /** Printable. */
  readonly path: string;
  readonly problem: string;
}

export interface VerifyOptions {
  readonly signal?: AbortSignal | undefined;
  /** Told how many names are done. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** What a verification found. */
export interface VerifyReport {
  readonly version: FilesystemVersion;
  /** Names looked at. */
  readonly files: number;
  /** Bytes read and hashed. */
  readonly bytes: number;
  /** Empty: the snapshot is what its manifest says. */
  readonly damaged: readonly DamagedFile[];
}

const namesPerTurn = 500;

/**
 * Reads a whole snapshot and compares everything with its manifest: content, type, mode, owner, time, link targets,
 * missing and surplus files. What the header says could not be applied is not held against it.
 * @param directory live directory or received copy
 * @param name the snapshot; null for the newest
 * @throws SnapferryError `DATASET_NOT_FOUND`, `VERSION_NOT_FOUND`, `ACCESS_DENIED`, `CANCELLED`, `SOURCE_FAILED` when
 * the manifest itself is damaged
 */
export async function verifySnapshot(
  directory: string,
  name: string | null,
  options: VerifyOptions = {},
): Promise<VerifyReport> {
  const path = resolve(directory);
  try {
    const store = await openStore(path);
    const version = await findSnapshot(store, name);
    const header = await store.header(version.name);
    const entries = await store.entries(version.name);
    const verification = new Verification(store.snapshotDirectory(version.name), header, options);
    await verification.run(entries);
    return { version, files: entries.length, bytes: verification.bytes, damaged: verification.damaged };
  } catch (error) {
    throw toSnapferryError(error, 'SOURCE_FAILED', `cannot verify a snapshot of ${path}`);
  }
}

async function findSnapshot(store: Store, name: string | null): Promise<FilesystemVersion> {
  if (name !== null) await store.header(name);
  const snapshots = (await store.versions()).filter((version) => version.type === 'snapshot');
  const found = name === null ? snapshots.at(-1) : snapshots.find((version) => version.name === name);
  if (found !== undefined) return found;
  throw new SnapferryError(
    'VERSION_NOT_FOUND',
    `${store.directory} has no snapshot${name === null ? '' : ` @${name}`}`,
  );
}

class Verification {
  readonly damaged: DamagedFile[] = [];
  bytes = 0;
  readonly #root: string;
  readonly #header: SnapshotHeader;
  readonly #options: VerifyOptions;
  readonly #hasher: FileHasher;
  /** Which file each path of a file that has several names is. */
  readonly #inodes = new Map<ByteString, string>();

  constructor(root: string, header: SnapshotHeader, options: VerifyOptions) {
    this.#root = root;
    this.#header = header;
    this.#options = options;
    this.#hasher = new FileHasher(options.signal);
  }

  async run(entries: readonly Entry[]): Promise<void> {
    const scan = await scanTree(this.#root, { signal: this.#options.signal });
    for (const path of scan.unreadable) this.#report(path, 'cannot be looked at');
    for (const path of scan.skipped) this.#report(path, 'is a socket or a device');
    const found = new Map(scan.files.map((file) => [file.path, file]));
    const unreadable = new Set([...scan.unreadable, ...scan.skipped]);
    for (const [index, entry] of entries.entries()) {
      const file = found.get(entry.path);
      found.delete(entry.path);
      if (file !== undefined) await this.#compare(entry, file);
      else if (!unreadable.has(entry.path)) this.#report(entry.path, 'is missing');
      if (index % namesPerTurn === 0) {
        checkSignal(this.#options.signal);
        this.#options.onProgress?.({ message: 'verifying', done: index, total: entries.length });
        await nextTurn();
      }
    }
    for (const path of found.keys()) this.#report(path, 'is not part of the snapshot');
  }

  #report(path: ByteString, problem: string): void {
    this.damaged.push({ path: printablePath(path), problem });
  }

  async #compare(entry: Entry, file: Found): Promise<void> {
    const type = entry.type === 'hardlink' ? 'file' : entry.type;
    if (file.type !== type) {
      this.#report(entry.path, `is a ${file.type} instead of a ${type}`);
      return;
    }
    const problems = metadataProblems(entry, file, this.#header.notApplied);
    const content = await this.#contentProblem(entry, file);
    if (content !== null) problems.unshift(content);
    if (problems.length > 0) this.#report(entry.path, problems.join('; '));
  }

  async #contentProblem(entry: Entry, file: Found): Promise<string | null> {
    const path = bytePath(this.#root, entry.path);
    try {
      if (entry.type === 'symlink') {
        return readlinkSync(path, 'latin1') === entry.target ? null : 'points elsewhere';
      }
      if (entry.type === 'hardlink') return this.#linkProblem(entry, file);
      if (entry.type !== 'file') return null;
      if (file.linkKey !== null) this.#inodes.set(entry.path, file.linkKey);
      const { sha256, size } = await this.#hasher.digest(path);
      this.bytes += size;
      if (size !== entry.size) return `has ${size} bytes instead of ${entry.size}`;
      return sha256 === entry.sha256 ? null : 'has other content (SHA-256 differs)';
    } catch (error) {
      if (error instanceof SnapferryError) throw error;
      return `cannot be read (${error instanceof Error ? error.message : String(error)})`;
    }
  }

  /** The content of a hardlink was hashed under its first name, if it is the same file. */
  #linkProblem(entry: Entry, file: Found): string | null {
    const first = this.#inodes.get(entry.target ?? '');
    return first !== undefined && first === file.linkKey
      ? null
      : `is no hard link to ${printablePath(entry.target ?? '')}`;
  }
}

function metadataProblems(entry: Entry, file: Found, notApplied: readonly NotApplied[]): string[] {
  const problems: string[] = [];
  if (!isModeFine(entry, file, notApplied.includes('mode'))) {
    problems.push(`has mode ${file.mode.toString(8)} instead of ${entry.mode.toString(8)}`);
  }
  const isOwnerFine = file.uid === entry.uid && file.gid === entry.gid;
  if (!isOwnerFine && !notApplied.includes('owner')) {
    problems.push(`belongs to ${file.uid}:${file.gid} instead of ${entry.uid}:${entry.gid}`);
  }
  if (file.mtimeNs !== entry.mtimeNs) problems.push('has another modification time');
  return problems;
}

/**
 * A user who is not root may lack the right to set setuid, setgid and sticky, and keeps access to what is in his store
 * (files at least u+r, directories at least u+rwx). Nothing beyond that may differ.
 */
function isModeFine(entry: Entry, file: Found, isNotApplied: boolean): boolean {
  if (file.mode === entry.mode) return true;
  if (!isNotApplied) return false;
  const added = entry.type === 'directory' ? 0o700 : 0o400;
  const isSubset = (file.mode & ~(entry.mode | added)) === 0;
  return isSubset && (file.mode & 0o777 & ~added) === (entry.mode & 0o777 & ~added);
}

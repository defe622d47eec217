import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { formatVersion, type FilesystemVersion } from '../../dataset.ts';
import { SnapferryError, toSnapferryError } from '../../errors.ts';
import type { Logger } from '../../rpc/interfaces.ts';
import type {
  DestroyOutcome,
  ReplicationCursor,
  SnapshotDestroyer,
  SnapshotHold,
  StoredVersion,
  StoredVersions,
} from '../../snapshot-destroyer.ts';
import { cursorPrefix } from './handler.ts';
import { entriesPath, headerPath, nextTurn } from './manifest.ts';
import { defaultReceiveLimits } from './receive-delta.ts';
import { findPartial } from './resume.ts';
import { syncDirectory } from './store-files.ts';
import { openStore, type Store } from './store.ts';
import { removeTree } from './tree.ts';

const filesPerTurn = 200;

/**
 * Destroys snapshots of one directory or of one received copy. Each is first moved into a trash inside the store, by one rename: before
 * it is whole, after it is gone for everybody, and whatever is left in the trash by a crash goes at the next run. A transfer that is
 * reading it fails with `SOURCE_FAILED`, and its receiver commits nothing. A bookmark of a destroyed snapshot stays, and an
 * incremental transfer can start from it. Nothing needs to be closed.
 * @param directory the live directory, or the copy's
 */
export function directoryDestroyer(
  directory: string,
  options: { readonly logger?: Logger | undefined } = {},
): SnapshotDestroyer {
  return new DirectoryDestroyer(directory, options.logger);
}

class DirectoryDestroyer implements SnapshotDestroyer {
  readonly #directory: string;
  readonly #logger: Logger | undefined;

  constructor(directory: string, logger: Logger | undefined) {
    this.#directory = directory;
    this.#logger = logger;
  }

  async list(): Promise<StoredVersions> {
    const store = await openStore(this.#directory);
    const versions = await store.versions();
    return {
      versions: await withReceiveTimes(store, versions),
      holds: await holdsOf(store),
      cursors: versions.flatMap((version): ReplicationCursor[] => {
        const { type, name, guid, createTXG } = version;
        const isCursor = type === 'bookmark' && name.startsWith(cursorPrefix);
        return isCursor ? [{ owner: name.slice(cursorPrefix.length), guid, createTXG }] : [];
      }),
    };
  }

  async destroy(versions: readonly FilesystemVersion[], signal?: AbortSignal): Promise<DestroyOutcome[]> {
    const store = await openStore(this.#directory);
    const trash = join(store.root, 'trash');
    const { outcomes, unsynced } = await store.withLock(async () => {
      await mkdir(trash, { mode: 0o700, recursive: true });
      const found: DestroyOutcome[] = [];
      for (const version of versions) found.push(await discard(store, version, { trash, signal }));
      return { outcomes: found, unsynced: await forget(store, found) };
    }, signal);
    // Deleting takes long, and nobody need wait for it: not the next snapshot either.
    const failure = unsynced ?? (await emptyTrash(trash));
    if (failure === null) return outcomes;
    this.#logger?.warn({ err: failure, directory: this.#directory }, 'destroyed snapshots still take space');
    return outcomes.map((outcome) => (outcome.result === 'destroyed' ? notFreed(outcome, failure) : outcome));
  }
}

async function withReceiveTimes(store: Store, versions: readonly FilesystemVersion[]): Promise<StoredVersion[]> {
  const stored: StoredVersion[] = [];
  for (const [index, version] of versions.entries()) {
    const isReceived = store.kind === 'copy';
    stored.push({ ...version, isReceived, receivedAt: isReceived ? receivedAt(store, version) : null });
    if (index % filesPerTurn === filesPerTurn - 1) await nextTurn();
  }
  return stored;
}

/** When the manifest was written, just before the commit. It never changes. */
function receivedAt(store: Store, { type, name }: FilesystemVersion): string | null {
  if (type !== 'snapshot') return null;
  const stats = statSync(headerPath(join(store.root, 'manifests'), name), { throwIfNoEntry: false });
  return stats?.mtime.toISOString() ?? null;
}

async function holdsOf(store: Store): Promise<SnapshotHold[]> {
  const partial = store.kind === 'copy' ? await findPartial(store, defaultReceiveLimits) : null;
  const guid = partial?.list.header.from ?? null;
  return guid === null ? [] : [{ guid, why: 'for an interrupted transfer that starts from it' }];
}

async function discard(
  store: Store,
  version: FilesystemVersion,
  { trash, signal }: { readonly trash: string; readonly signal: AbortSignal | undefined },
): Promise<DestroyOutcome> {
  const doing = `destroying ${formatVersion(version)} of ${store.directory}`;
  const refuse = (why: string): DestroyOutcome => {
    return { version, result: 'refused', error: new SnapferryError('INVALID_REQUEST', `${doing}: ${why}`) };
  };
  if (version.type !== 'snapshot') return refuse(`a ${version.type} is not destroyed by retention`);
  try {
    if (signal?.aborted === true) throw new SnapferryError('CANCELLED', `${doing} was cancelled`);
    const { guid } = await store.header(version.name);
    if (guid !== version.guid) return refuse('it is another snapshot now, made under the same name; list them again');
    store.requireLock();
    await rename(store.snapshotDirectory(version.name), join(trash, randomBytes(8).toString('hex')));
    return { version, result: 'destroyed', error: null };
  } catch (error) {
    if (error instanceof SnapferryError && error.code === 'VERSION_NOT_FOUND') {
      return { version, result: 'gone', error: null };
    }
    return { version, result: 'failed', error: toSnapferryError(error, 'INTERNAL', doing) };
  }
}

/**
 * Removes the manifests of what was destroyed, once that is on disk: a power cut must not bring back a tree without its manifest.
 * Null if it went well; otherwise they go with the next writer's litter.
 */
async function forget(store: Store, outcomes: readonly DestroyOutcome[]): Promise<SnapferryError | null> {
  const manifests = join(store.root, 'manifests');
  try {
    await syncDirectory(join(store.root, 'snapshots'));
    for (const { version, result } of outcomes) {
      if (result !== 'destroyed') continue;
      await rm(headerPath(manifests, version.name), { force: true });
      await rm(entriesPath(manifests, version.name), { force: true });
    }
    return null;
  } catch (error) {
    return toSnapferryError(error);
  }
}

/** Null if nothing is left. */
async function emptyTrash(trash: string): Promise<SnapferryError | null> {
  let failure: SnapferryError | null = null;
  for (const name of await readdir(trash)) {
    try {
      await removeTree(join(trash, name));
    } catch (error) {
      failure ??= toSnapferryError(error);
    }
  }
  return failure;
}

function notFreed({ version }: DestroyOutcome, failure: SnapferryError): DestroyOutcome {
  const text = `${formatVersion(version)} is gone, but still takes space; the next run tries again: ${failure.message}`;
  return { version, result: 'failed', error: new SnapferryError(failure.code, text, { cause: failure }) };
}

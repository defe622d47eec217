import { formatVersion, type FilesystemVersion } from '../../dataset.ts';
import { SnapferryError, toSnapferryError } from '../../errors.ts';
import type { DestroyOutcome, SnapshotDestroyer, StoredVersion, StoredVersions } from '../../snapshot-destroyer.ts';
import { deleteArguments } from './commands.ts';
import { withCreations } from './creations.ts';
import { BtrfsStore } from './store.ts';
import { viewSubvolumes, withoutSymlinks } from './subvolumes.ts';
import { BtrfsTool, type BtrfsToolOptions } from './tool.ts';
import { liveAt, snapshotsOf, type Snapshot } from './versions.ts';

/** Options of {@link btrfsDestroyer}. */
export interface BtrfsDestroyerOptions {
  /** Path of the dataset: the live subvolume, or the one whose copies are at `PATH@SNAPSHOT`. */
  readonly directory: string;
  /** Folders in which snapshots are looked for, as for `btrfsHandler`. Default `['.snapshots']`. */
  readonly snapshotFolders?: readonly string[] | undefined;
  readonly tool?: BtrfsToolOptions | undefined;
}

/**
 * Destroys snapshots of one btrfs dataset; needs root. Since btrfs has neither holds nor bookmarks, a snapshot that a cursor stands at is
 * refused here, too, at the last moment. One that is being sent cannot be deleted and fails with `BUSY`. Nothing needs to be closed.
 */
export function btrfsDestroyer(options: BtrfsDestroyerOptions): SnapshotDestroyer {
  return new BtrfsDestroyer(options);
}

class BtrfsDestroyer implements SnapshotDestroyer {
  readonly #options: BtrfsDestroyerOptions;
  readonly #tool: BtrfsTool;

  constructor(options: BtrfsDestroyerOptions) {
    this.#options = options;
    this.#tool = new BtrfsTool(options.tool);
  }

  async list(signal?: AbortSignal): Promise<StoredVersions> {
    const store = await this.#store();
    const snapshots = await this.#snapshots(store, signal);
    const versions = await withCreations(this.#tool, store, snapshots, signal);
    const from = (await store.note())?.partial?.from ?? null;
    return {
      versions: await Promise.all(
        snapshots.map(async ({ subvolume }, index): Promise<StoredVersion> => {
          const version = versions[index] as FilesystemVersion;
          if (subvolume.receivedUUID === null) return { ...version, isReceived: false, receivedAt: null };
          // The subvolume itself was made here, by this machine's clock.
          const receivedAt =
            subvolume.creation ?? (await this.#tool.show(subvolume.path, { signal }))?.creation ?? null;
          return { ...version, isReceived: true, receivedAt };
        }),
      ),
      holds: from === null ? [] : [{ guid: BigInt(from), why: 'for an interrupted transfer that starts from it' }],
      cursors: (await store.cursors()).map(({ job, guid, createTXG }) => {
        return { owner: job, guid: BigInt(guid), createTXG: BigInt(createTXG) };
      }),
    };
  }

  async destroy(versions: readonly FilesystemVersion[], signal?: AbortSignal): Promise<DestroyOutcome[]> {
    const store = await this.#store();
    // So that nothing is made where no dataset is.
    await this.#snapshots(store, signal);
    await store.create();
    return store.withLock(async () => {
      const snapshots = await this.#snapshots(store, signal);
      const outcomes: DestroyOutcome[] = [];
      for (const version of versions) outcomes.push(await this.#destroyOne(store, version, { snapshots, signal }));
      return outcomes;
    }, signal);
  }

  async #destroyOne(
    store: BtrfsStore,
    version: FilesystemVersion,
    { snapshots, signal }: { readonly snapshots: readonly Snapshot[]; readonly signal: AbortSignal | undefined },
  ): Promise<DestroyOutcome> {
    const doing = `destroying ${store.dataset}${formatVersion(version)}`;
    const refuse = (why: string): DestroyOutcome => {
      return { version, result: 'refused', error: new SnapferryError('INVALID_REQUEST', `${doing}: ${why}`) };
    };
    const found = snapshots.find((snapshot) => snapshot.version.name === version.name);
    if (version.type !== 'snapshot') return refuse(`a ${version.type} is not destroyed by retention`);
    if (found === undefined) return { version, result: 'gone', error: null };
    if (found.version.guid !== version.guid) return refuse('it is another snapshot now, made under the same name');
    const { path, uuid } = found.subvolume;
    try {
      const cursor = (await store.cursors()).find(({ guid }) => BigInt(guid) === version.guid);
      if (cursor !== undefined) return refuse(`the next transfer of ${cursor.job} starts from it`);
      const shown = await this.#tool.show(path, { signal });
      if (shown === null) return { version, result: 'gone', error: null };
      if (shown.uuid !== uuid || !shown.isReadOnly) return refuse(`${path} is no longer that snapshot`);
      await this.#tool.run(deleteArguments(path), { code: 'INTERNAL', signal });
      return { version, result: 'destroyed', error: null };
    } catch (error) {
      return { version, result: 'failed', error: toSnapferryError(error, 'INTERNAL', doing) };
    }
  }

  async #store(): Promise<BtrfsStore> {
    return new BtrfsStore(await withoutSymlinks(this.#options.directory));
  }

  async #snapshots(store: BtrfsStore, signal: AbortSignal | undefined): Promise<Snapshot[]> {
    const view = await viewSubvolumes(this.#tool, store.dataset, signal);
    const snapshots = snapshotsOf(view, store.dataset, this.#options.snapshotFolders);
    if (snapshots.length > 0 || liveAt(view, store.dataset) !== null) return snapshots;
    const text = `there is no subvolume ${store.dataset}, and no snapshot of it`;
    throw new SnapferryError('DATASET_NOT_FOUND', text);
  }
}

import { formatVersion, type FilesystemVersion } from '../../dataset.ts';
import { SnapferryError, toSnapferryError } from '../../errors.ts';
import type { DestroyOutcome, SnapshotDestroyer, SnapshotHold, StoredVersions } from '../../snapshot-destroyer.ts';
import { zfsTool, type ZfsTool } from './commands-tool.ts';
import { holdsArguments, type ZfsArguments } from './commands.ts';
import { findBookmarks } from './cursor.ts';
import { checkDatasetName, versionName } from './names.ts';
import { zfsCause } from './output-failure.ts';
import { parseHolds, type VersionDetails } from './output.ts';
import { listDetails } from './versions.ts';

/** Options of {@link zfsDestroyer}. */
export interface ZfsDestroyerOptions {
  /** Name of the dataset. Those below it are not touched. */
  readonly dataset: string;
  /** Whether it is a copy: ZFS cannot tell, for a received snapshot has the creation time that the sender gave it. */
  readonly isCopy: boolean;
  /** When a version was received, RFC 3339, if that was noted: ZFS does not know. Default: nobody knows. */
  readonly receivedAt?: ((guid: bigint) => string | null) | undefined;
  /** Default: `zfs` of this machine. */
  readonly tool?: ZfsTool | undefined;
}

/** Names on one command line. One command for many is one transaction, where one for each would wait for the disks each time. */
const namesPerCommand = 50;

/**
 * Destroys snapshots of one ZFS dataset. Never anything below it, no clones, and none that is held; holds and cursors of every
 * replication are told by `list`. Bookmarks stay. Nothing needs to be closed.
 * @throws SnapferryError `INVALID_REQUEST` for a name that is none
 */
export function zfsDestroyer(options: ZfsDestroyerOptions): SnapshotDestroyer {
  checkDatasetName(options.dataset);
  return new ZfsDestroyer(options);
}

/**
 * Destroys snapshots of one dataset, and can destroy nothing else.
 * @throws RangeError without names; SnapferryError `INVALID_REQUEST` for one that could mean more than one snapshot
 */
export function destroySnapshotsArguments(dataset: string, names: readonly string[]): ZfsArguments {
  const [first, ...others] = names;
  if (first === undefined) throw new RangeError('no snapshots to be destroyed');
  for (const name of others) versionName(dataset, { type: 'snapshot', name });
  return ['destroy', [versionName(dataset, { type: 'snapshot', name: first }), ...others].join(',')];
}

class ZfsDestroyer implements SnapshotDestroyer {
  readonly #options: ZfsDestroyerOptions;
  readonly #dataset: string;
  readonly #tool: ZfsTool;

  constructor(options: ZfsDestroyerOptions) {
    this.#options = options;
    this.#dataset = options.dataset;
    this.#tool = options.tool ?? zfsTool();
  }

  async list(signal?: AbortSignal): Promise<StoredVersions> {
    const { isCopy, receivedAt = () => null } = this.#options;
    const all = await listDetails(this.#tool, this.#dataset, signal);
    const cursors = findBookmarks(all).filter(({ kind }) => kind === 'CURSOR');
    return {
      versions: all.map(({ version }) => ({
        ...version,
        isReceived: isCopy,
        receivedAt: isCopy ? receivedAt(version.guid) : null,
      })),
      holds: await this.#holdsOn(
        all.filter(({ holds }) => holds > 0),
        signal,
      ),
      cursors: cursors.map(({ owner, guid, createTXG }) => ({ owner, guid, createTXG })),
    };
  }

  async #holdsOn(held: readonly VersionDetails[], signal: AbortSignal | undefined): Promise<SnapshotHold[]> {
    const tags = new Map<string, string[]>();
    for (let start = 0; start < held.length; start += namesPerCommand) {
      const names = held
        .slice(start, start + namesPerCommand)
        .map(({ version }) => versionName(this.#dataset, version));
      const { stdout } = await this.#tool.run(holdsArguments(names), {
        doing: `listing holds on snapshots of ${this.#dataset}`,
        signal,
        accepts: (stderr) => ['version_not_found', 'dataset_not_found'].includes(zfsCause(stderr)),
      });
      for (const { snapshot, tag } of parseHolds(stdout)) tags.set(snapshot, [...(tags.get(snapshot) ?? []), tag]);
    }
    return held.map(({ version }) => {
      const found = tags.get(versionName(this.#dataset, version)) ?? ['a hold'];
      return { guid: version.guid, why: `by ${found.join(' and ')}` };
    });
  }

  async destroy(versions: readonly FilesystemVersion[], signal?: AbortSignal): Promise<DestroyOutcome[]> {
    const all = await listDetails(this.#tool, this.#dataset, signal);
    const checked = versions.map((version) => this.#check(version, all));
    const admitted = versions.filter((_, index) => checked[index] === null);
    const outcomes: DestroyOutcome[] = [];
    for (let start = 0; start < admitted.length; start += namesPerCommand) {
      outcomes.push(...(await this.#destroyBatch(admitted.slice(start, start + namesPerCommand), signal)));
    }
    const found = outcomes.values();
    return versions.map(
      (version, index) => checked[index] ?? found.next().value ?? { version, result: 'gone', error: null },
    );
  }

  /** Null: it may be tried. */
  #check(version: FilesystemVersion, all: readonly VersionDetails[]): DestroyOutcome | null {
    const refuse = (why: string): DestroyOutcome => {
      const text = `destroying ${this.#dataset}${formatVersion(version)}: ${why}`;
      return { version, result: 'refused', error: new SnapferryError('INVALID_REQUEST', text) };
    };
    if (version.type !== 'snapshot') return refuse(`a ${version.type} is not destroyed by retention`);
    const same = all.find(({ version: { type, name } }) => type === 'snapshot' && name === version.name);
    if (same === undefined) return { version, result: 'gone', error: null };
    const isReplaced = same.version.guid !== version.guid;
    return isReplaced ? refuse('it is another snapshot now, made under the same name; list them again') : null;
  }

  async #destroyBatch(batch: readonly FilesystemVersion[], signal: AbortSignal | undefined): Promise<DestroyOutcome[]> {
    if (batch.length > 1) {
      try {
        await this.#run(batch, signal);
        return batch.map((version) => ({ version, result: 'destroyed', error: null }));
      } catch (error) {
        // Held, cloned, or gone: one by one it shows which. Anything else is not better the second time.
        const { code } = toSnapferryError(error);
        if (code === 'CANCELLED' || code === 'TIMEOUT' || code === 'DATASET_NOT_FOUND') {
          return batch.map((version) => failed(version, error));
        }
      }
    }
    const outcomes: DestroyOutcome[] = [];
    for (const version of batch) {
      try {
        await this.#run([version], signal);
        outcomes.push({ version, result: 'destroyed', error: null });
      } catch (error) {
        outcomes.push(failed(version, error));
      }
    }
    return outcomes;
  }

  async #run(versions: readonly FilesystemVersion[], signal: AbortSignal | undefined): Promise<void> {
    const names = versions.map(({ name }) => name);
    await this.#tool.run(destroySnapshotsArguments(this.#dataset, names), {
      doing: `destroying ${names.map((name) => `@${name}`).join(', ')} of ${this.#dataset}`,
      signal,
      fallback: 'INTERNAL',
      // The command for all of them may have got as far as this one; it was there a moment ago.
      accepts: (stderr) => versions.length === 1 && isGone(stderr),
    });
  }
}

function isGone(stderr: string): boolean {
  return /^could not find any snapshots to destroy/.test(stderr) || zfsCause(stderr) === 'version_not_found';
}

function failed(version: FilesystemVersion, error: unknown): DestroyOutcome {
  return { version, result: 'failed', error: toSnapferryError(error) };
}

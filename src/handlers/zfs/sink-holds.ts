import type { FilesystemVersion } from '../../dataset.ts';
import type { ZfsTool } from './commands-tool.ts';
import { findHolds, holdSnapshots, releaseSnapshots } from './holds.ts';
import { holdTag } from './names-ours.ts';
import type { JobOwner } from './names-ours.ts';
import { versionName } from './names.ts';
import { listDetails } from './versions.ts';

/**
 * A job's holds on the newest version received of each dataset, so that nobody destroys what the next increment starts from. Holds
 * nothing open.
 */
export class NewestHolds {
  readonly #tool: ZfsTool;
  readonly #tag: string;
  /** The only snapshot of a dataset known to be held. Unknown after a start: an interrupted run may have left more. */
  readonly #held = new Map<string, { readonly snapshot: string; readonly guid: bigint }>();

  /** @throws SnapferryError `INVALID_REQUEST` for a job id that cannot be part of a tag */
  constructor(tool: ZfsTool, owner: JobOwner) {
    this.#tool = tool;
    this.#tag = holdTag('LAST', owner);
  }

  /** Whether this snapshot is known to be held, and no other. */
  isAt(dataset: string, guid: bigint): boolean {
    return this.#held.get(dataset)?.guid === guid;
  }

  /**
   * Moves the hold: the new one is made before an older one is let go. Repeating it does no harm, and clears what an interrupted run
   * left.
   * @throws SnapferryError as `ZfsTool.run` does
   */
  async moveTo(dataset: string, version: FilesystemVersion): Promise<void> {
    const newest = versionName(dataset, version);
    await holdSnapshots(this.#tool, this.#tag, [newest]);
    const known = this.#held.get(dataset);
    const older = known === undefined ? await this.#find(dataset) : [known.snapshot];
    await releaseSnapshots(
      this.#tool,
      this.#tag,
      older.filter((snapshot) => snapshot !== newest),
    );
    this.#held.set(dataset, { snapshot: newest, guid: version.guid });
  }

  async #find(dataset: string): Promise<string[]> {
    const held = (await listDetails(this.#tool, dataset))
      .filter(({ holds }) => holds > 0)
      .map(({ version }) => versionName(dataset, version));
    const found = await findHolds(this.#tool, held);
    return found.filter(({ tag }) => tag === this.#tag).map(({ snapshot }) => snapshot);
  }
}

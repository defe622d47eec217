import pLimit from 'p-limit';
import type { ZfsTool } from './commands-tool.ts';
import { findBookmarks } from './cursor.ts';
import type { FoundBookmark } from './cursor.ts';
import { findHolds } from './holds.ts';
import { versionName } from './names.ts';
import { listDetails } from './versions.ts';

/** A snapshot that is held for an owner. */
export interface HeldSnapshot {
  readonly fullName: string;
  readonly guid: bigint;
  readonly createTXG: bigint;
}

/** What is kept in one dataset for one owner. Changed by whoever changes the dataset. */
export interface Traces {
  bookmarks: FoundBookmark[];
  /** With a step hold. */
  held: HeldSnapshot[];
  /** Owners of bookmarks in the dataset, all of them. */
  readonly owners: ReadonlySet<string>;
}

/** Looks for what is kept in a dataset for an owner, also by a run that crashed. @throws SnapferryError as `ZfsTool.run` does */
async function scan(tool: ZfsTool, dataset: string, owner: string, signal?: AbortSignal): Promise<Traces> {
  const all = await listDetails(tool, dataset, signal);
  const bookmarks = findBookmarks(all);
  const byName = new Map(
    all.filter(({ holds }) => holds > 0).map((item) => [versionName(dataset, item.version), item]),
  );
  const holds = await findHolds(tool, [...byName.keys()], signal);
  return {
    bookmarks: bookmarks.filter((bookmark) => bookmark.owner === owner),
    held: holds.flatMap((hold) => {
      const version = byName.get(hold.snapshot)?.version;
      if (version === undefined || hold.owner !== owner || hold.kind !== 'STEP') return [];
      return [{ fullName: hold.snapshot, guid: version.guid, createTXG: version.createTXG }];
    }),
    owners: new Set(bookmarks.map((bookmark) => bookmark.owner)),
  };
}

const rememberedMax = 10_000;

/**
 * Remembers what is kept where, so that a dataset with many thousands of snapshots is searched once and not at every step, and
 * lets only one at a time change it. After a failure it is searched anew.
 */
export class TraceMemory {
  readonly #tool: ZfsTool;
  readonly #entries = new Map<string, { readonly limit: ReturnType<typeof pLimit>; traces: Traces | null }>();

  constructor(tool: ZfsTool) {
    this.#tool = tool;
  }

  /**
   * @param work gets what is kept, and keeps it up to date; `isFresh` when it was just searched for
   * @param request `isFresh`: search anew
   */
  async use<T>(
    request: { dataset: string; owner: string; isFresh?: boolean; signal?: AbortSignal | undefined },
    work: (traces: Traces, isFresh: boolean) => Promise<T>,
  ): Promise<T> {
    const { dataset, owner, signal } = request;
    const key = `${dataset}\n${owner}`;
    const entry = this.#entries.get(key) ?? { limit: pLimit(1), traces: null };
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    this.#forgetOldest();
    return entry.limit(async () => {
      const isFresh = entry.traces === null || request.isFresh === true;
      const traces = isFresh || entry.traces === null ? await scan(this.#tool, dataset, owner, signal) : entry.traces;
      entry.traces = null;
      const result = await work(traces, isFresh);
      entry.traces = traces;
      return result;
    });
  }

  #forgetOldest(): void {
    for (const [key, { limit }] of this.#entries) {
      if (this.#entries.size <= rememberedMax) return;
      if (limit.activeCount + limit.pendingCount === 0) this.#entries.delete(key);
    }
  }
}

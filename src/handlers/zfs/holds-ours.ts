import type { ZfsTool } from './commands-tool.ts';
import { listDetailsArguments } from './commands.ts';
import { destroyBookmark, findBookmarks } from './cursor.ts';
import { findHolds, releaseSnapshots } from './holds.ts';
import { ownerText } from './names-ours.ts';
import type { HoldKind, JobOwner, OurBookmark } from './names-ours.ts';
import { splitVersionName, versionName } from './names.ts';
import { parseVersionDetails } from './output.ts';

/** Something of ours that is kept on a snapshot, or instead of one. */
export interface OurTrace {
  readonly dataset: string;
  /** Full name of the snapshot held, or of the bookmark. */
  readonly name: string;
  /** `STEP`, `LAST`: a hold. `CURSOR`, `TENTATIVE`: a bookmark. */
  readonly kind: HoldKind | OurBookmark['kind'];
  /** For whom, as `ownerText` writes it: `I_<identity>_J_<job>`. */
  readonly owner: string;
  /** The hold's tag; null for a bookmark. */
  readonly tag: string | null;
}

/** Which traces are meant. */
export interface TraceFilter {
  /** A dataset; what is below it is meant, too, unless `recursive` says otherwise. */
  readonly root: string;
  /** Default true. */
  readonly recursive?: boolean | undefined;
  /** Which datasets. Default: all. */
  readonly includes?: ((dataset: string) => boolean) | undefined;
  /** Default: those of every client. */
  readonly identity?: string | undefined;
  /** Default: those of every job. */
  readonly jobId?: string | undefined;
  /** Default: all. */
  readonly kinds?: readonly OurTrace['kind'][] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Holds and bookmarks of ours, and nobody else's. @throws SnapferryError `DATASET_NOT_FOUND`, and as `ZfsTool.run` does
 */
export async function listOurHolds(tool: ZfsTool, filter: TraceFilter): Promise<OurTrace[]> {
  const { root, recursive = true, includes = () => true, signal } = filter;
  const doing = `looking for our holds and cursors ${recursive ? 'below' : 'of'} ${root}`;
  const { stdout } = await tool.run(listDetailsArguments(root, recursive), { doing, signal });
  // With a depth of 1 the snapshots of children are not listed, but other versions of zfs need not agree.
  const all = parseVersionDetails(stdout).filter(({ dataset }) => (recursive || dataset === root) && includes(dataset));
  const heldNames = all.filter(({ holds }) => holds > 0).map(({ dataset, version }) => versionName(dataset, version));
  const holds = (await findHolds(tool, heldNames, signal)).map(({ snapshot, kind, owner, tag }) => ({
    dataset: splitVersionName(snapshot)?.dataset ?? '',
    name: snapshot,
    kind,
    owner,
    tag,
  }));
  const bookmarks = findBookmarks(all).map(({ dataset, name, kind, owner }) => ({
    dataset,
    name: versionName(dataset, { type: 'bookmark', name }),
    kind,
    owner,
    tag: null,
  }));
  return [...holds, ...bookmarks].filter((trace) => isMeant(trace, filter));
}

/**
 * Releases holds and destroys bookmarks of ours, and nobody else's. What has gone meanwhile is well.
 * @returns what it removed
 * @throws SnapferryError as {@link listOurHolds} does; what was removed before stays removed
 */
export async function releaseOurHolds(tool: ZfsTool, filter: TraceFilter): Promise<OurTrace[]> {
  const traces = await listOurHolds(tool, filter);
  const byTag = new Map<string, string[]>();
  for (const { tag, name } of traces) {
    if (tag !== null) byTag.set(tag, [...(byTag.get(tag) ?? []), name]);
  }
  for (const [tag, names] of byTag) await releaseSnapshots(tool, tag, names, filter.signal);
  for (const { tag, dataset, name } of traces) {
    if (tag === null)
      await destroyBookmark(tool, { dataset, name: name.slice(dataset.length + 1) }, { signal: filter.signal });
  }
  return traces;
}

function isMeant({ kind, owner }: OurTrace, { identity, jobId, kinds }: TraceFilter): boolean {
  const wanted = (part: Partial<JobOwner>): string => ownerText({ identity: '', jobId: 'any', ...part });
  const isOfClient = identity === undefined || owner.startsWith(wanted({ identity }).slice(0, -'any'.length));
  const isOfJob = jobId === undefined || owner.slice(owner.indexOf('_J_')) === wanted({ jobId }).slice('I_'.length);
  return isOfClient && isOfJob && (kinds === undefined || kinds.includes(kind));
}

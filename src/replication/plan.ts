import { formatDatasetPath, formatVersion } from '../dataset.ts';
import type { DatasetPath, FilesystemVersion } from '../dataset.ts';
import type { InitialReplicationPolicy } from '../rpc/interfaces.ts';
import type { ResumeState } from '../sink.ts';

/** One send: what one InitialTransfer or IncrementalTransfer request asks for. */
export interface Step {
  /** Null for an initial transfer. The source's snapshot or bookmark otherwise. */
  readonly from: FilesystemVersion | null;
  /** A snapshot of the source. */
  readonly to: FilesystemVersion;
  /** Continues what an interrupted receive of the same step left at the sink; null to begin at the beginning. */
  readonly resumeToken: string | null;
  /** Payload bytes it will take, null when unknown. The planner does not know; `planReplication` asks the source. */
  readonly estimatedBytes: number | null;
}

/** Why nothing can be sent although there is something to send. A person has to choose; nothing is changed. */
export type Conflict =
  | {
      /** Both sides have snapshots, and no snapshot of the sink is known to the source. */
      readonly kind: 'no_common';
      /** Snapshots and bookmarks of the source, oldest first. */
      readonly source: readonly FilesystemVersion[];
      /** Snapshots of the sink, oldest first. */
      readonly sink: readonly FilesystemVersion[];
    }
  | {
      /** After the newest common version each side has gone its own way. */
      readonly kind: 'diverged';
      /** The newest common version, as the source names it. */
      readonly common: FilesystemVersion;
      /** Snapshots of the source that would have to be sent, oldest first. */
      readonly source: readonly FilesystemVersion[];
      /** Snapshots of the sink newer than the common one that the source does not know, oldest first. */
      readonly sink: readonly FilesystemVersion[];
    };

/** A version of the source that the planner cannot use. */
export interface IgnoredVersion {
  readonly version: FilesystemVersion;
  /** `type`: neither snapshot nor bookmark; `guid`: the guid is 0; `duplicate`: an older one has the same guid. */
  readonly reason: 'type' | 'guid' | 'duplicate';
}

/** What is common to the plans of every kind. */
export interface PlanFacts {
  /** The dataset at the source. */
  readonly filesystem: DatasetPath;
  /** Whether the sink holds the rest of an interrupted receive that this plan has no use for. */
  readonly discardPartial: boolean;
  /** Versions of the source that were left out, in the order listed. */
  readonly ignored: readonly IgnoredVersion[];
}

/** What to do about one dataset. */
export type FilesystemPlan = PlanFacts &
  (
    | { readonly kind: 'steps'; readonly steps: readonly [Step, ...Step[]] }
    /** Nothing newer than `version`, which both sides have, is at the source. */
    | { readonly kind: 'in_sync'; readonly version: FilesystemVersion }
    /** The source has no snapshot, or none that is wanted. */
    | { readonly kind: 'empty' }
    | { readonly kind: 'conflict'; readonly conflict: Conflict }
  );

/** What the planner is told. */
export interface PlanRequest {
  readonly filesystem: DatasetPath;
  readonly source: readonly FilesystemVersion[];
  /** Null: the dataset does not exist there. */
  readonly sink: readonly FilesystemVersion[] | null;
  readonly policy: InitialReplicationPolicy;
  /** What an interrupted receive left at the sink. */
  readonly resume: ResumeState | null;
  /** False: the source cannot continue a transfer (version 1), so what is left is of no use. Default true. */
  readonly canResume?: boolean;
  /** Which snapshots of the source are to be sent. Any other may still be what an incremental starts from. Default: all. */
  readonly isWanted?: (snapshot: FilesystemVersion) => boolean;
}

/**
 * Compares what both sides have of one dataset and says what to send. Pure.
 *
 * Versions are matched by guid alone, names may differ. Each side is ordered by its own createTXG, equal ones as listed;
 * the createTXG of one side says nothing about the other. Only snapshots are sent, and only snapshots of the sink count,
 * since a bookmark holds no data a receive could build upon; a bookmark of the source may be `from`. Versions of unknown
 * type take no part. A guid of 0 identifies nothing: such a version of the source is left out, and such a snapshot
 * of the sink is one the source does not know. Of several source snapshots (or bookmarks) with one guid the oldest counts, and
 * a snapshot counts rather than the bookmark made of it.
 *
 * - The sink has no snapshot: initial, as the policy says: the newest snapshot, or all, oldest first.
 * - A common version, nothing newer at the source: in sync, whatever newer snapshots of its own the sink has. They are in
 *   nobody's way until there is something to send.
 * - A common version and newer snapshots at the source: one incremental step after the other from the newest common one.
 *   If the sink has snapshots after it that the source does not know, they would have to be rolled back: diverged.
 * - Snapshots on both sides and none in common: no_common.
 *
 * An interrupted receive is resumed if its `from` is what the plan starts from, its `to` still exists at the source, and
 * no snapshot that the plan has to send is skipped by it. It becomes the first step. One that does not fit is to be
 * discarded, except when there is nothing to be done anyway (empty) or a person has to decide first (conflict).
 */
export function planFilesystem(request: PlanRequest): FilesystemPlan {
  const { usable, ignored } = usableVersions(request.source);
  const facts = { filesystem: request.filesystem, ignored, discardPartial: false };
  const { isWanted = () => true } = request;
  const snapshots = usable.filter((version) => isSnapshot(version) && isWanted(version));
  if (snapshots.length === 0) return { ...facts, kind: 'empty' };

  const sink = inOrder((request.sink ?? []).filter(isSnapshot));
  if (sink.length === 0) return { ...facts, ...stepsFrom(null, initialPath(snapshots, request)) };

  const sinkGuids = new Set(sink.map((version) => version.guid));
  const baseIndex = usable.findLastIndex((version) => sinkGuids.has(version.guid));
  const base = usable[baseIndex];
  if (base === undefined) {
    return { ...facts, kind: 'conflict', conflict: { kind: 'no_common', source: usable, sink } };
  }
  const newer = usable.slice(baseIndex + 1).filter((version) => isSnapshot(version) && isWanted(version));
  if (newer.length === 0) return { ...facts, kind: 'in_sync', version: base, discardPartial: request.resume !== null };

  const sourceGuids = new Set(usable.map((version) => version.guid));
  const sinkOnly = sink
    .slice(sink.findLastIndex((version) => version.guid === base.guid) + 1)
    .filter((version) => !sourceGuids.has(version.guid));
  if (sinkOnly.length > 0) {
    return { ...facts, kind: 'conflict', conflict: { kind: 'diverged', common: base, source: newer, sink: sinkOnly } };
  }
  return { ...facts, ...stepsFrom(base, { path: newer, ...resumeOf(newer.slice(0, 1), base.guid, request) }) };
}

/**
 * A conflict in words: what was found, and what a person may do about it. Several lines; the lists are cut after a few
 * entries, since a dataset can have thousands of versions.
 * @param filesystem the dataset, or its name as its backend's users write it
 */
export function describeConflict(filesystem: DatasetPath | string, conflict: Conflict): string {
  const name = printable(typeof filesystem === 'string' ? filesystem : formatDatasetPath(filesystem));
  if (conflict.kind === 'no_common') {
    return [
      `${name}: both sides have snapshots, but none in common, so there is nothing an incremental send could start from.`,
      `  at the source: ${listVersions(conflict.source)}`,
      `  at the target: ${listVersions(conflict.sink)}`,
      'Nothing was changed. Either replicate into another target, or move or destroy the dataset at the target to begin ' +
        'anew, or bring back a snapshot at the source that the target has.',
    ].join('\n');
  }
  return [
    `${name}: source and target have gone separate ways since their newest common version ${printable(formatVersion(conflict.common))}.`,
    `  only at the source: ${listVersions(conflict.source)}`,
    `  only at the target: ${listVersions(conflict.sink)}`,
    'Nothing was changed. Either keep what is only at the target by copying it elsewhere and then destroy these snapshots ' +
      'there, or replicate into another target.',
  ].join('\n');
}

const listedVersionsMax = 5;

function listVersions(versions: readonly FilesystemVersion[]): string {
  const shown = versions.slice(-listedVersionsMax).map((version) => {
    const creation = version.creation === null ? '' : ` of ${printable(version.creation)}`;
    return `${printable(formatVersion(version))} (guid ${version.guid.toString()}${creation})`;
  });
  const older = versions.length - shown.length;
  return (older > 0 ? `${older} older, then ` : '') + shown.join(', ');
}

/** Names come from the peer and go to a terminal. */
function printable(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, (character) => JSON.stringify(character).slice(1, -1));
}

interface PathToSend {
  readonly path: readonly FilesystemVersion[];
  readonly resumeToken: string | null;
  readonly discardPartial: boolean;
}

function initialPath(snapshots: readonly FilesystemVersion[], request: PlanRequest): PathToSend {
  if (request.policy === 'all') {
    return { path: snapshots, ...resumeOf(snapshots.slice(0, 1), null, request) };
  }
  const resume = resumeOf(snapshots, null, request);
  if (resume.resumeToken === null) return { path: snapshots.slice(-1), ...resume };
  const resumedIndex = snapshots.findIndex((version) => version.guid === request.resume?.toGuid);
  return { path: snapshots.slice(resumedIndex), ...resume };
}

/** Whether the interrupted receive leads from `fromGuid` to one of `candidates`. */
function resumeOf(
  candidates: readonly FilesystemVersion[],
  fromGuid: bigint | null,
  { resume, canResume = true }: PlanRequest,
): Omit<PathToSend, 'path'> {
  if (resume === null) return { resumeToken: null, discardPartial: false };
  const fits =
    canResume && resume.fromGuid === fromGuid && candidates.some((version) => version.guid === resume.toGuid);
  return { resumeToken: fits ? resume.token : null, discardPartial: !fits };
}

function stepsFrom(base: FilesystemVersion | null, { path, resumeToken, discardPartial }: PathToSend) {
  const [first, ...rest] = path.map((to, index) => ({
    from: path[index - 1] ?? base,
    to,
    resumeToken: index === 0 ? resumeToken : null,
    estimatedBytes: null,
  }));
  if (first === undefined) throw new RangeError('a plan of steps needs a version to send');
  const steps: [Step, ...Step[]] = [first, ...rest];
  return { kind: 'steps' as const, steps, discardPartial };
}

function isSnapshot(version: FilesystemVersion): boolean {
  return version.type === 'snapshot';
}

/** By createTXG, equal ones as they were listed. */
function inOrder(versions: readonly FilesystemVersion[]): FilesystemVersion[] {
  return versions.toSorted((a, b) => (a.createTXG < b.createTXG ? -1 : a.createTXG > b.createTXG ? 1 : 0));
}

/** The source's versions in order, each guid once, a snapshot rather than its bookmark. */
function usableVersions(source: readonly FilesystemVersion[]) {
  const ignored: IgnoredVersion[] = [];
  const chosen = new Map<bigint, FilesystemVersion>();
  const ordered = inOrder(source);
  for (const version of ordered) {
    const earlier = chosen.get(version.guid);
    if (version.type !== 'snapshot' && version.type !== 'bookmark') ignored.push({ version, reason: 'type' });
    else if (version.guid === 0n) ignored.push({ version, reason: 'guid' });
    else if (earlier === undefined) chosen.set(version.guid, version);
    else if (earlier.type === version.type) ignored.push({ version, reason: 'duplicate' });
    else if (isSnapshot(version)) chosen.set(version.guid, version);
  }
  return { usable: ordered.filter((version) => chosen.get(version.guid) === version), ignored };
}

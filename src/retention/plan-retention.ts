import { SnapferryError } from '../errors.ts';
import type { ReplicationCursor, SnapshotHold, StoredVersion, StoredVersions } from '../snapshot-destroyer.ts';
import { judgeOf } from './judge-rule.ts';
import type { Candidate, CommonVersions, Opinion } from './judge-rule.ts';
import type { RetentionRule } from './retention-rule.ts';
import { trustedTimes } from './trusted-times.ts';

export type { CommonVersions } from './judge-rule.ts';

/** What the planner is told. What `SnapshotDestroyer.list` gives fits in. */
export interface RetentionRequest extends StoredVersions {
  /** Each may keep a snapshot; one that does is enough. Never empty. */
  readonly rules: readonly RetentionRule[];
  /** What becomes of a snapshot that no rule speaks of. */
  readonly others: 'keep' | 'destroy';
  readonly now: Date;
  /** What other sides have of the dataset, as far as they told. The newest of it is never destroyed. */
  readonly common?: readonly CommonVersions[] | undefined;
  /** Which cursors `not_replicated` means. All of them protect what they stand at. Default: all. */
  readonly countsAsReplication?: ((cursor: ReplicationCursor) => boolean) | undefined;
}

/** Who has the last word on a version, beside the rules. Those from `newest` on protect what would otherwise be destroyed. */
export type Arbiter =
  RetentionRule['type'] | 'others' | 'newest' | 'held' | 'cursor' | 'common' | 'bookmark' | 'unidentified';

/** What is to become of a version, and why. */
export interface RetentionDecision {
  readonly version: StoredVersion;
  readonly verdict: 'keep' | 'destroy';
  /** Who decided it: of several rules that keep a snapshot, or speak of it in vain, the first. */
  readonly by: Arbiter;
  /** Which of the rules, from 0; null for whatever is no rule. */
  readonly ruleIndex: number | null;
  /** For people; completes "kept by last_n: " or "destroyed by last_n: ". */
  readonly reason: string;
  /** When it was made as the planner sees it, RFC 3339, which is not always what `creation` says; null when nobody knows. */
  readonly at: string | null;
}

/** What a run of retention does to one dataset. Plain data: one that was shown can be kept and carried out later. */
export interface RetentionPlan {
  /** RFC 3339 */
  readonly now: string;
  /** All versions, oldest first. */
  readonly decisions: readonly RetentionDecision[];
  /** Guids of the versions from which replication goes on. If one of these snapshots is gone, the plan is void. */
  readonly bases: readonly bigint[];
}

/**
 * Says of each version of a dataset whether it is to be kept or destroyed, and which rule decided. Pure; docs/retention.md explains
 * the rules. Never destroyed, whatever the rules say: the newest snapshot, one that is held, one that a cursor stands at, the newest
 * that another side is known to have, and the newest that was received.
 * @throws SnapferryError `INVALID_REQUEST` without rules, or for a rule that is not understood
 */
export function planRetention(request: RetentionRequest): RetentionPlan {
  const { rules, now, cursors, common = [], countsAsReplication = () => true } = request;
  if (rules.length === 0) throw new SnapferryError('INVALID_REQUEST', 'there is no rule that says what to keep');
  const judges = rules.map(judgeOf);
  const versions = inOrder(request.versions);
  const snapshots = versions.filter(({ type }) => type === 'snapshot');
  const times = trustedTimes(snapshots, now.getTime());
  const candidates = snapshots.map((version, index): Candidate => {
    return { version, atMs: null, arrivedMs: null, ...times[index] };
  });
  const facts = { nowMs: now.getTime(), cursors: cursors.filter(countsAsReplication), common };
  const opinions = judges.map((judge) => judge(candidates, facts));
  const protection = new Protection(request, snapshots);
  const decided = new Map<StoredVersion, RetentionDecision>();
  for (const [index, { version, atMs }] of candidates.entries()) {
    const said = opinions.map((of) => of[index] ?? null);
    const { verdict, by, ruleIndex, reason } = decide(version, { rules, said, protection, others: request.others });
    const at = atMs === null ? null : new Date(atMs).toISOString();
    decided.set(version, { version, verdict, by, ruleIndex, reason, at });
  }
  return {
    now: now.toISOString(),
    decisions: versions.map((version) => decided.get(version) ?? keepOther(version)),
    bases: protection.bases,
  };
}

/** The versions that a plan destroys, oldest first. */
export function destroyedBy(plan: RetentionPlan): StoredVersion[] {
  return plan.decisions.filter(({ verdict }) => verdict === 'destroy').map(({ version }) => version);
}

type Ruling = Pick<RetentionDecision, 'verdict' | 'by' | 'ruleIndex' | 'reason'>;

function decide(
  version: StoredVersion,
  {
    rules,
    said,
    protection,
    others,
  }: {
    readonly rules: readonly RetentionRule[];
    readonly said: readonly Opinion[];
    readonly protection: Protection;
    readonly others: 'keep' | 'destroy';
  },
): Ruling {
  const byRule = (ruleIndex: number, verdict: 'keep' | 'destroy'): Ruling => {
    const [rule, opinion] = [rules[ruleIndex], said[ruleIndex]];
    return { verdict, by: rule?.type ?? 'others', ruleIndex, reason: opinion?.why ?? '' };
  };
  const keeper = said.findIndex((opinion) => opinion?.keeps === true);
  if (keeper >= 0) return byRule(keeper, 'keep');
  const protector = protection.of(version);
  if (protector !== null) return { verdict: 'keep', ruleIndex: null, ...protector };
  const speaker = said.findIndex((opinion) => opinion !== null);
  if (speaker >= 0) return byRule(speaker, 'destroy');
  const reason = 'no rule speaks of it';
  return { verdict: others, by: 'others', ruleIndex: null, reason };
}

/** What is kept although no rule does. */
class Protection {
  /** Guids of snapshots that replication goes on from. */
  readonly bases: readonly bigint[];
  readonly #newest: StoredVersion | undefined;
  readonly #holds: ReadonlyMap<bigint, SnapshotHold>;
  readonly #cursors: ReadonlyMap<bigint, ReplicationCursor>;
  readonly #common = new Map<bigint, string>();

  constructor({ holds, cursors, common = [] }: RetentionRequest, snapshots: readonly StoredVersion[]) {
    this.#newest = snapshots.at(-1);
    this.#holds = new Map(holds.map((hold) => [hold.guid, hold]));
    this.#cursors = new Map(cursors.map((cursor) => [cursor.guid, cursor]));
    for (const { peer, guids } of common) {
      const newest = snapshots.findLast(({ guid }) => guids.has(guid));
      if (newest !== undefined) this.#common.set(newest.guid, peer);
    }
    const received = snapshots.findLast(({ isReceived }) => isReceived);
    if (received !== undefined && !this.#common.has(received.guid)) this.#common.set(received.guid, 'the sender');
    const present = new Set(snapshots.map(({ guid }) => guid));
    this.bases = [...new Set([...this.#cursors.keys(), ...this.#common.keys()])].filter((guid) => present.has(guid));
  }

  of(version: StoredVersion): Pick<RetentionDecision, 'by' | 'reason'> | null {
    const { guid } = version;
    if (guid === 0n) return { by: 'unidentified', reason: 'it has no guid by which to know it again' };
    if (version === this.#newest) return { by: 'newest', reason: 'the newest snapshot is never destroyed' };
    const hold = this.#holds.get(guid);
    if (hold !== undefined) return { by: 'held', reason: `held ${hold.why}` };
    const cursor = this.#cursors.get(guid);
    if (cursor !== undefined) return { by: 'cursor', reason: `the next transfer of ${cursor.owner} starts from it` };
    const peer = this.#common.get(guid);
    return peer === undefined ? null : { by: 'common', reason: `the newest that ${peer} has, too` };
  }
}

function keepOther(version: StoredVersion): RetentionDecision {
  const isBookmark = version.type === 'bookmark';
  const reason = isBookmark
    ? 'bookmarks take no space and are not pruned; replication removes its own that are superseded'
    : `a ${JSON.stringify(version.type)} is nothing that is known here`;
  return { version, verdict: 'keep', by: isBookmark ? 'bookmark' : 'unidentified', ruleIndex: null, reason, at: null };
}

/** By createTXG, equal ones as they were listed. */
function inOrder(versions: readonly StoredVersion[]): StoredVersion[] {
  return versions.toSorted((a, b) => (a.createTXG < b.createTXG ? -1 : a.createTXG > b.createTXG ? 1 : 0));
}

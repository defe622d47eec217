import { formatVersion } from '../dataset.ts';
import { spellDuration } from '../duration.ts';
import { SnapferryError } from '../errors.ts';
import { compileNamePattern } from '../name-pattern.ts';
import type { ReplicationCursor, StoredVersion } from '../snapshot-destroyer.ts';
import { parseGrid } from '../snapshot-grid.ts';
import { sieve } from './grid-sieve.ts';
import type { RetentionRule } from './retention-rule.ts';
import type { TrustedTime } from './trusted-times.ts';

/** A snapshot that rules judge. */
export interface Candidate extends TrustedTime {
  readonly version: StoredVersion;
}

/** What is known besides the snapshots themselves. */
export interface RuleFacts {
  readonly nowMs: number;
  /** How far each replication that counts has got. */
  readonly cursors: readonly ReplicationCursor[];
  /** For each other side that told, what it has. */
  readonly common: readonly CommonVersions[];
}

/** What another side has of the dataset. */
export interface CommonVersions {
  /** Which side that is, for people. */
  readonly peer: string;
  /** Of the versions it has. */
  readonly guids: ReadonlySet<bigint>;
}

/** What a rule says of a snapshot; null: it does not speak of it. */
export type Opinion = { readonly keeps: boolean; readonly why: string } | null;

/** A rule made ready: one opinion for each candidate, in their order. */
export type Judge = (candidates: readonly Candidate[], facts: RuleFacts) => Opinion[];

/**
 * Makes a rule ready to judge. Candidates are handed to it oldest first.
 * @throws SnapferryError `INVALID_REQUEST` for a count or an age that is none, a grid or regex that is not understood
 */
export function judgeOf(rule: RetentionRule): Judge {
  switch (rule.type) {
    case 'last_n':
      return judgeLast(positive(rule.count, 'last_n: count'), rule.regex);
    case 'grid':
      return judgeGrid(rule.grid, rule.regex);
    case 'regex': {
      const { negate, regex } = rule;
      const pattern = compileNamePattern(regex);
      const why = `${negate ? 'does not match' : 'matches'} ${regex}`;
      return each(({ version }) => (pattern.test(version.name) === negate ? null : { keeps: true, why }));
    }
    case 'not_replicated':
      return each(judgeReplicated);
    case 'keep_for':
      return judgeAge(positive(rule.ageMs, 'keep_for: the age in ms'), rule.regex);
  }
}

function positive(value: number, what: string): number {
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new SnapferryError('INVALID_REQUEST', `${what} must be a whole number above 0, not ${value}`);
}

function each(judge: (candidate: Candidate, facts: RuleFacts) => Opinion): Judge {
  return (candidates, facts) => candidates.map((candidate) => judge(candidate, facts));
}

/** Lets a judge see only what its regex matches; it does not speak of anything else. */
function amongMatching(regex: string | null, judge: Judge): Judge {
  if (regex === null) return judge;
  const pattern = compileNamePattern(regex);
  return (candidates, facts) => {
    const matching = candidates.filter(({ version }) => pattern.test(version.name));
    const opinions = judge(matching, facts).values();
    return candidates.map(({ version }) => (pattern.test(version.name) ? (opinions.next().value ?? null) : null));
  };
}

function judgeLast(count: number, regex: string | null): Judge {
  const which = `the newest ${count}${regex === null ? '' : ` that match ${regex}`}`;
  return amongMatching(regex, (candidates) =>
    candidates.map((_, index) => {
      const keeps = index >= candidates.length - count;
      return { keeps, why: `${keeps ? 'among' : 'not among'} ${which}` };
    }),
  );
}

function judgeGrid(text: string, regex: string | null): Judge {
  const buckets = parseGrid(text);
  return amongMatching(regex, (candidates) =>
    sieve(
      buckets,
      candidates.map(({ atMs }) => atMs),
    ).map((place): Opinion => {
      if (place.kind === 'unknown') return { keeps: true, why: 'nobody knows when it was made' };
      if (place.kind === 'newest') return { keeps: true, why: 'the newest, on which the grid hangs' };
      if (place.kind === 'beyond') return { keeps: false, why: 'older than all intervals' };
      const { bucket, number, keptInstead } = place;
      const interval = `interval ${number} of ${buckets.length} (${spellDuration(bucket.durationMs)})`;
      if (bucket.keep === 'all') return { keeps: true, why: `${interval} keeps all` };
      if (keptInstead === null) return { keeps: true, why: `among the oldest ${bucket.keep} in ${interval}` };
      const other = candidates[keptInstead];
      const name = other === undefined ? '' : `${bucket.keep === 1 ? ',' : ', up to'} ${formatVersion(other.version)}`;
      return { keeps: false, why: `${interval} keeps only its oldest ${bucket.keep}${name}` };
    }),
  );
}

function judgeReplicated({ version }: Candidate, { cursors, common }: RuleFacts): Opinion {
  if (cursors.length === 0 && common.length === 0) return { keeps: true, why: 'not known to have been replicated' };
  const behind = cursors.find(({ guid, createTXG }) => guid !== version.guid && createTXG < version.createTXG);
  if (behind !== undefined) return { keeps: true, why: `not known to have been replicated by ${behind.owner}` };
  if (cursors.length > 0) return null;
  const lacking = common.find(({ guids }) => !guids.has(version.guid));
  return lacking === undefined ? null : { keeps: true, why: `not at ${lacking.peer}` };
}

function judgeAge(ageMs: number, regex: string | null): Judge {
  return amongMatching(
    regex,
    each(({ arrivedMs }, { nowMs }) => {
      if (arrivedMs === null) return { keeps: true, why: `nobody knows whether it is ${spellDuration(ageMs)} old` };
      const until = new Date(arrivedMs + ageMs).toISOString();
      return nowMs - arrivedMs < ageMs
        ? { keeps: true, why: `kept for ${spellDuration(ageMs)}, until ${until}` }
        : null;
    }),
  );
}

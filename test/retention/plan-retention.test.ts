import { describe, expect, test } from 'vitest';
import { destroyedBy, planRetention, type RetentionRequest } from '../../src/retention/plan-retention.ts';
import type { RetentionRule } from '../../src/retention/retention-rule.ts';
import type { StoredVersion } from '../../src/snapshot-destroyer.ts';
import { nothingElse, ownSnapshot, receivedSnapshot } from './memory-destroyer.ts';

const now = new Date('2027-06-01T00:00:00Z');
const hour = 3_600_000;
const day = 24 * hour;

function ago(ms: number): number {
  return now.getTime() - ms;
}

/** Snapshots of these names, an hour apart, the last one of now. */
function hourly(...names: string[]): StoredVersion[] {
  return names.map((name, index) => ownSnapshot(name, ago((names.length - 1 - index) * hour)));
}

function plan(
  versions: readonly StoredVersion[],
  rules: readonly RetentionRule[],
  more: Partial<RetentionRequest> = {},
) {
  return planRetention({ ...nothingElse, versions, rules, others: 'keep', now, ...more });
}

/** What becomes of each version, as `name keep by rule`. */
function verdicts(...args: Parameters<typeof plan>): string[] {
  return plan(...args).decisions.map(({ version, verdict, by, ruleIndex }) => {
    return `${version.name} ${verdict} ${by}${ruleIndex === null ? '' : ` ${ruleIndex}`}`;
  });
}

const lastOne: RetentionRule = { type: 'last_n', count: 1, regex: null };

describe('rules', () => {
  test('last_n keeps the newest of those that match, and speaks of no others', () => {
    const versions = hourly('a1', 'b1', 'a2', 'b2', 'a3', 'b3');
    expect(verdicts(versions, [{ type: 'last_n', count: 2, regex: '^a' }])).toEqual([
      'a1 destroy last_n 0',
      'b1 keep others',
      'a2 keep last_n 0',
      'b2 keep others',
      'a3 keep last_n 0',
      'b3 keep newest',
    ]);
    expect(verdicts(versions, [{ type: 'last_n', count: 9, regex: null }]).every((text) => text.includes('keep'))).toBe(
      true,
    );
  });

  test('last_n goes by the order in which versions came to be, whatever clocks said', () => {
    const versions = [ownSnapshot('old', '2099-01-01T00:00:00Z'), ownSnapshot('b', ago(hour)), ownSnapshot('new', 0)];
    expect(verdicts(versions, [{ type: 'last_n', count: 2, regex: null }])).toEqual([
      'old destroy last_n 0',
      'b keep last_n 0',
      'new keep last_n 0',
    ]);
  });

  test('grid thins out those that match', () => {
    const versions = hourly('z1', 'm1', 'z2', 'z3', 'z4', 'z5', 'z6');
    expect(verdicts(versions, [{ type: 'grid', grid: '1x1h(keep=all) | 2x2h', regex: '^z' }])).toEqual([
      'z1 destroy grid 0',
      'm1 keep others',
      'z2 keep grid 0',
      'z3 destroy grid 0',
      'z4 keep grid 0',
      'z5 destroy grid 0',
      'z6 keep grid 0',
    ]);
  });

  test('regex only ever keeps', () => {
    const versions = hourly('manual_1', 'zrepl_1', 'zrepl_2');
    const manual: RetentionRule = { type: 'regex', regex: '^manual_', negate: false };
    expect(verdicts(versions, [manual])).toEqual([
      'manual_1 keep regex 0',
      'zrepl_1 keep others',
      'zrepl_2 keep newest',
    ]);
    expect(verdicts(versions, [manual], { others: 'destroy' })).toEqual([
      'manual_1 keep regex 0',
      'zrepl_1 destroy others',
      'zrepl_2 keep newest',
    ]);
    expect(verdicts(versions, [{ type: 'regex', regex: '^zrepl_', negate: true }, lastOne])).toEqual([
      'manual_1 keep regex 0',
      'zrepl_1 destroy last_n 1',
      'zrepl_2 keep last_n 1',
    ]);
  });

  test('not_replicated keeps what is newer than the cursor of any job', () => {
    const versions = hourly('a', 'b', 'c', 'd');
    const cursor = (owner: string, version: StoredVersion) => ({ ...version, owner });
    const cursors = [cursor('offsite', versions[1]!), cursor('office', versions[2]!)];
    const rules: RetentionRule[] = [{ type: 'not_replicated' }, lastOne];
    expect(verdicts(versions, rules, { cursors })).toEqual([
      'a destroy last_n 1',
      'b keep cursor',
      'c keep not_replicated 0',
      'd keep not_replicated 0',
    ]);
    expect(verdicts(versions, rules, { cursors, countsAsReplication: ({ owner }) => owner === 'office' })).toEqual([
      'a destroy last_n 1',
      'b keep cursor',
      'c keep cursor',
      'd keep not_replicated 0',
    ]);
  });

  test('not_replicated without a cursor keeps what another side has not', () => {
    const versions = hourly('a', 'b', 'c');
    const rules: RetentionRule[] = [{ type: 'not_replicated' }, lastOne];
    const common = [{ peer: 'backup', guids: new Set([versions[0]!.guid, versions[1]!.guid]) }];
    expect(verdicts(versions, rules, { common })).toEqual([
      'a destroy last_n 1',
      'b keep common',
      'c keep not_replicated 0',
    ]);
    expect(verdicts(versions, rules).filter((text) => text.includes('not_replicated'))).toHaveLength(3);
  });

  test('keep_for keeps to the millisecond, over a leap day and a change of clocks', () => {
    const leap = new Date('2028-03-27T12:00:00.000Z');
    const rules: RetentionRule[] = [{ type: 'keep_for', ageMs: 30 * day, regex: null }, lastOne];
    // Thirty times 24 hours before: the 26th of February, since 2028 has a 29th; in Europe clocks changed on the 26th of March.
    const edge = Date.parse('2028-02-26T12:00:00.000Z');
    const versions = [ownSnapshot('on time', edge), ownSnapshot('early', edge + 1), ownSnapshot('new', leap.getTime())];
    expect(verdicts(versions, rules, { now: leap })).toEqual([
      'on time destroy last_n 1',
      'early keep keep_for 0',
      'new keep keep_for 0',
    ]);
  });

  test('keep_for counts from when it was received', () => {
    const versions = [
      receivedSnapshot('long ago', ago(90 * day), ago(31 * day)),
      receivedSnapshot('old but new here', ago(90 * day), ago(hour)),
      receivedSnapshot('forged', '1999-01-01T00:00:00Z', ago(hour)),
      receivedSnapshot('newest', ago(0), ago(0)),
    ];
    expect(verdicts(versions, [lastOne, { type: 'keep_for', ageMs: 30 * day, regex: null }])).toEqual([
      'long ago destroy last_n 0',
      'old but new here keep keep_for 1',
      'forged keep keep_for 1',
      'newest keep last_n 0',
    ]);
  });

  test('the first rule that keeps is named, and the first that speaks of it in vain', () => {
    const versions = hourly('a', 'b', 'c');
    const rules: RetentionRule[] = [
      { type: 'grid', grid: '1x30m', regex: null },
      { type: 'last_n', count: 2, regex: null },
    ];
    expect(verdicts(versions, rules)).toEqual(['a destroy grid 0', 'b keep last_n 1', 'c keep grid 0']);
  });

  test.each<[RetentionRule, string]>([
    [{ type: 'last_n', count: 0, regex: null }, 'must be a whole number above 0'],
    [{ type: 'last_n', count: 1.5, regex: null }, 'must be a whole number above 0'],
    [{ type: 'keep_for', ageMs: -1, regex: null }, 'must be a whole number above 0'],
    [{ type: 'grid', grid: '1h', regex: null }, 'column 2'],
    [{ type: 'regex', regex: '(', negate: false }, 'column 1'],
    [{ type: 'last_n', count: 1, regex: '^(a+)+$' }, 'too many ways'],
  ])('%j is refused', (rule, why) => {
    expect(() => plan(hourly('a'), [rule])).toThrow(why);
  });

  test('no rules are no plan', () => {
    expect(() => plan(hourly('a'), [])).toThrow('no rule');
  });
});

describe('what is never destroyed', () => {
  const none: RetentionRule = { type: 'last_n', count: 1, regex: '^nothing-is-called-so$' };
  const versions = hourly('a', 'b', 'c', 'd', 'e');
  const [a, b, c] = versions as [StoredVersion, StoredVersion, StoredVersion];

  test('the newest, the held, the base of a cursor, the newest common', () => {
    const request = {
      others: 'destroy' as const,
      holds: [{ guid: a.guid, why: 'by zfs hold' }],
      cursors: [{ owner: 'job', guid: b.guid, createTXG: b.createTXG }],
      common: [{ peer: 'backup', guids: new Set([a.guid, c.guid]) }],
    };
    expect(verdicts(versions, [none], request)).toEqual([
      'a keep held',
      'b keep cursor',
      'c keep common',
      'd destroy others',
      'e keep newest',
    ]);
    expect(plan(versions, [none], request).bases).toEqual([b.guid, c.guid]);
  });

  test('the newest that was received, where snapshots were taken since', () => {
    const received = receivedSnapshot('r', ago(9 * hour), ago(9 * hour));
    const all = [{ ...received, createTXG: a.createTXG - 1n }, ...versions];
    expect(verdicts(all, [none], { others: 'destroy' })[0]).toBe('r keep common');
  });

  test('the base of a cursor of which only a bookmark is left is none of the snapshots', () => {
    const bookmark = { ...a, type: 'bookmark', name: 'cursor' };
    const cursors = [{ owner: 'job', guid: a.guid, createTXG: a.createTXG }];
    const made = plan([bookmark, ...versions.slice(1)], [none], { others: 'destroy', cursors });
    expect(made.bases).toEqual([]);
    expect(made.decisions[0]).toMatchObject({ verdict: 'keep', by: 'bookmark' });
  });

  test('what is no snapshot, or cannot be known again', () => {
    const odd = [{ ...a, type: 'checkpoint' }, { ...b, guid: 0n }, ...versions.slice(2)];
    expect(verdicts(odd, [none], { others: 'destroy' }).slice(0, 2)).toEqual([
      'a keep unidentified',
      'b keep unidentified',
    ]);
  });
});

describe('clocks and peers that lie', () => {
  const grid: RetentionRule = { type: 'grid', grid: '1x1h(keep=all) | 24x1h | 14x1d', regex: null };
  const weeks = Array.from({ length: 14 }, (_, index) => ownSnapshot(`day-${index}`, ago((13 - index) * day)));

  test('a snapshot of the future does not push the others off the grid', () => {
    const future = ownSnapshot('future', '2099-01-01T00:00:00Z');
    expect(destroyedBy(plan([...weeks, future], [grid]))).toEqual([]);
    const after = ownSnapshot('after', ago(0));
    expect(destroyedBy(plan([...weeks, future, after], [grid])).map(({ name }) => name)).not.toContain('day-13');
  });

  test('with a clock that stands before everything, nothing is destroyed by age', () => {
    const early = { now: new Date('1970-01-01T00:10:00Z') };
    expect(destroyedBy(plan(weeks, [grid, { type: 'keep_for', ageMs: hour, regex: null }], early))).toEqual([]);
  });

  test('forged times on a sink evict nothing that was there', () => {
    const real = Array.from({ length: 14 }, (_, index) => {
      return receivedSnapshot(`real-${index}`, ago((14 - index) * day), ago((14 - index) * day - 60_000));
    });
    const claims = ['2099-01-01T00:00:00Z', '1980-01-01T00:00:00Z', ago(13.9 * day), ago(5.01 * day), null];
    const forged = claims.flatMap((claim, index) =>
      Array.from({ length: 30 }, () => receivedSnapshot(`forged-${index}`, claim, ago(hour))),
    );
    const honest = plan([...real, receivedSnapshot('honest', ago(hour), ago(hour))], [grid]);
    const attacked = plan([...real, ...forged], [grid]);
    const lost = (made: typeof honest): string[] =>
      destroyedBy(made)
        .map(({ name }) => name)
        .filter((name) => name.startsWith('real'));
    expect(lost(attacked)).toEqual(lost(honest));
    expect(lost(honest)).toEqual([]);
  });

  test('a history that was received all at once is thinned out by the times it was made at', () => {
    const history = Array.from({ length: 20 }, (_, index) =>
      receivedSnapshot(`d${index}`, ago((20 - index) * day), ago(60_000)),
    );
    expect(destroyedBy(plan(history, [grid])).map(({ name }) => name)).toEqual(['d0', 'd1', 'd2', 'd3']);
  });
});

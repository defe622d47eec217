import fc from 'fast-check';
import { expect, test } from 'vitest';
import { executeRetention } from '../../src/retention/execute-retention.ts';
import { destroyedBy, planRetention, type RetentionPlan } from '../../src/retention/plan-retention.ts';
import type { RetentionRule } from '../../src/retention/retention-rule.ts';
import type { StoredVersion } from '../../src/snapshot-destroyer.ts';
import { MemoryDestroyer, nothingElse, ownSnapshot, receivedSnapshot } from './memory-destroyer.ts';

const hour = 3_600_000;
const now = new Date('2027-06-01T00:00:00Z');
const beforeAll = now.getTime() - 5000 * hour;
const seed = Number(process.env['SNAPFERRY_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const runs = { seed, numRuns: process.env['SNAPFERRY_FEW'] === '1' ? 50 : 1500 };

const regex = fc.constantFrom(null, '^a', '^b', '^c');
const rule = fc.oneof<fc.Arbitrary<RetentionRule>[]>(
  fc.record({ type: fc.constant('last_n' as const), count: fc.integer({ min: 1, max: 4 }), regex }),
  fc.record({
    type: fc.constant('grid' as const),
    grid: fc.constantFrom('1x1h', '1x1h(keep=all) | 6x1h', '4x2h | 2x1d', '1x1d(keep=2)'),
    regex,
  }),
  fc.record({ type: fc.constant('regex' as const), regex: fc.constantFrom('^a', '^b'), negate: fc.boolean() }),
  fc.constant({ type: 'not_replicated' as const }),
  fc.record({ type: fc.constant('keep_for' as const), ageMs: fc.integer({ min: 1, max: 30 * hour }), regex }),
);
const rules = fc.array(rule, { minLength: 1, maxLength: 2 });
const others = fc.constantFrom('keep' as const, 'destroy' as const);
const claim = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: -60, max: 0 }).map((hours) => now.getTime() + hours * hour) },
  { weight: 4, arbitrary: fc.integer({ min: -10, max: 200 }).map((hours) => beforeAll + hours * hour) },
  fc.constantFrom<string | null>(null, '2099-01-01T00:00:00Z', '1970-01-01T00:00:00Z', 'never'),
);

/** A snapshot as drawn: of what name, made when, and whether the other side has it. */
const drawn = fc.tuple(
  fc.constantFrom('a', 'b', 'c'),
  claim,
  fc.nat({ max: 3 }).map((number) => number === 0),
);

function datasetOf(items: readonly [string, number | string | null, boolean][]): {
  dataset: MemoryDestroyer;
  peerGuids: Set<bigint>;
} {
  const dataset = new MemoryDestroyer();
  dataset.versions = items.map(([letter, at], index) => ownSnapshot(`${letter}${index}`, at));
  const peerGuids = new Set(dataset.versions.filter((_, index) => items[index]![2]).map(({ guid }) => guid));
  return { dataset, peerGuids };
}

test(`whatever happens between plan and run, the newest and the newest common version stay, SNAPFERRY_SEED=${seed}`, async () => {
  const change = fc.oneof(
    fc.record({ kind: fc.constantFrom('remove', 'hold', 'cursor', 'rename', 'replace'), at: fc.nat({ max: 5 }) }),
    fc.record({ kind: fc.constant('add'), at: fc.constant(0) }),
  );
  const property = fc.asyncProperty(
    fc.array(drawn, { maxLength: 20, size: 'max' }),
    rules,
    others,
    fc.array(change, { maxLength: 3, size: 'max' }),
    async (items, drawnRules, drawnOthers, changes) => {
      const { dataset, peerGuids } = datasetOf(items);
      const common = [{ peer: 'backup', guids: new Set(peerGuids) }];
      const plan = planRetention({ ...(await dataset.list()), rules: drawnRules, others: drawnOthers, now, common });
      for (const { kind, at } of changes) disturb(dataset, peerGuids, { kind, at });
      const before = [...dataset.versions];
      await executeRetention(plan, dataset);
      checkAfter(plan, before, { dataset, peerGuids });
    },
  );
  await fc.assert(property, runs);
});

function disturb(dataset: MemoryDestroyer, peerGuids: Set<bigint>, { kind, at }: { kind: string; at: number }): void {
  // Counted from the newest, where it matters.
  const index = dataset.versions.length - 1 - at;
  const version = dataset.versions[index];
  if (kind === 'add') dataset.versions.push(ownSnapshot(`z${dataset.versions.length}`, now.getTime()));
  if (version === undefined) return;
  if (kind === 'remove') dataset.versions.splice(index, 1);
  if (kind === 'hold') dataset.holds.push({ guid: version.guid, why: 'since then' });
  if (kind === 'rename') dataset.versions[index] = { ...version, name: `renamed-${version.name}` };
  if (kind === 'replace') dataset.versions[index] = { ...version, guid: version.guid + 1_000_000n };
  const isForward = dataset.cursors.every(({ createTXG }) => createTXG < version.createTXG);
  if (kind === 'cursor' && isForward) {
    // It has been sent meanwhile.
    peerGuids.add(version.guid);
    dataset.cursors = [{ ...version, owner: 'job' }];
  }
}

function checkAfter(
  plan: RetentionPlan,
  before: readonly StoredVersion[],
  { dataset, peerGuids }: { dataset: MemoryDestroyer; peerGuids: ReadonlySet<bigint> },
): void {
  const after = new Set(dataset.versions.map(({ guid }) => guid));
  const planned = new Set(destroyedBy(plan).map(({ guid }) => guid));
  for (const { guid } of before) if (!after.has(guid)) expect(planned.has(guid)).toBe(true);
  const newest = before.at(-1);
  if (newest !== undefined) expect(after.has(newest.guid)).toBe(true);
  const common = before.findLast(({ guid }) => peerGuids.has(guid));
  if (common !== undefined) expect(after.has(common.guid)).toBe(true);
  for (const { guid } of dataset.holds) {
    if (before.some((version) => version.guid === guid)) expect(after.has(guid)).toBe(true);
  }
}

test(`a run leaves nothing to do, and its result is its plan, SNAPFERRY_SEED=${seed}`, async () => {
  const honest = fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.integer({ min: 0, max: 5 }), fc.boolean());
  const property = fc.asyncProperty(fc.array(honest), rules, others, async (items, drawnRules, drawnOthers) => {
    let ms = now.getTime() - 300 * hour;
    const { dataset, peerGuids } = datasetOf(items.map(([name, gap, isThere]) => [name, (ms += gap * hour), isThere]));
    const common = [{ peer: 'backup', guids: peerGuids }];
    const make = async (): Promise<RetentionPlan> =>
      planRetention({ ...(await dataset.list()), rules: drawnRules, others: drawnOthers, now, common });
    const plan = await make();
    const kept = plan.decisions.filter(({ verdict }) => verdict === 'keep').map(({ version }) => version);
    expect((await executeRetention(plan, dataset)).ok).toBe(true);
    expect(dataset.versions).toEqual(kept);
    expect(destroyedBy(await make())).toEqual([]);
  });
  await fc.assert(property, runs);
});

test(`on a sink a liar evicts no more than an honest sender of one snapshot, SNAPFERRY_SEED=${seed}`, () => {
  const history = fc.array(fc.tuple(fc.integer({ min: 0, max: 9 }), fc.integer({ min: 0, max: 3 })), { maxLength: 40 });
  const lies = fc.array(fc.tuple(claim, fc.integer({ min: 0, max: 9 })), { minLength: 1, maxLength: 40 });
  const grid = fc.constantFrom('1x1h(keep=all) | 24x1h | 7x1d', '10x2h(keep=2)', '6x6h | 3x7d');
  const floor = fc.integer({ min: 1, max: 100 * hour });
  const property = fc.property(history, lies, grid, floor, (real, forged, drawnGrid, ageMs) => {
    let ms = beforeAll;
    const honest = real.map(([gap, delay], index) => {
      ms += gap * hour;
      return receivedSnapshot(`real-${index}`, ms, ms + delay * 60_000);
    });
    let receivedMs = ms + hour;
    const lying = forged.map(([claimed, gap], index) =>
      receivedSnapshot(`forged-${index}`, claimed, (receivedMs += gap * hour)),
    );
    const drawnRules: RetentionRule[] = [
      { type: 'grid', grid: drawnGrid, regex: null },
      { type: 'keep_for', ageMs, regex: null },
    ];
    const lost = (versions: readonly StoredVersion[]): { names: string[]; plan: RetentionPlan } => {
      const plan = planRetention({ ...nothingElse, versions, rules: drawnRules, others: 'destroy', now });
      const names = destroyedBy(plan).map(({ name }) => name);
      return { names: names.filter((name) => name.startsWith('real')), plan };
    };
    const attacked = lost([...honest, ...lying]);
    const times = attacked.plan.decisions.map(({ at }) => Date.parse(at!));
    // An honest snapshot made when the newest of the lies is thought to have been made.
    const instead = receivedSnapshot('instead', times.at(-1)!, receivedMs);
    expect(attacked.names).toEqual(lost([...honest, instead]).names);
    expect(times.at(-1)).toBeLessThanOrEqual(receivedMs);
  });
  fc.assert(property, runs);
});

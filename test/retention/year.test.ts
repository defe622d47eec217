import { describe, expect, test } from 'vitest';
import { executeRetention } from '../../src/retention/execute-retention.ts';
import {
  destroyedBy,
  planRetention,
  type RetentionPlan,
  type RetentionRequest,
} from '../../src/retention/plan-retention.ts';
import type { StoredVersion } from '../../src/snapshot-destroyer.ts';
import { parseGrid } from '../../src/snapshot-grid.ts';
import { randomFrom, type Random } from '../support/random.ts';
import { repetitions } from '../support/repetitions.ts';
import { MemoryDestroyer } from './memory-destroyer.ts';

const hour = 3_600_000;
const day = 24 * hour;
/** A leap year; clocks in Europe change on the 26th of March and the 29th of October. */
const begin = Date.parse('2028-01-01T00:00:00Z');
const floorMs = 10 * day;
const sourceGrid = '1x1h(keep=all) | 24x1h | 14x1d';
const sinkGrid = '1x1d(keep=all) | 14x1d | 20x7d | 12x30d';

type Rules = Pick<RetentionRequest, 'rules' | 'others'>;
const sourceRules: Rules = {
  rules: [{ type: 'not_replicated' }, { type: 'grid', grid: sourceGrid, regex: '^zrepl_' }],
  others: 'keep',
};
const sinkRules: Rules = {
  rules: [
    { type: 'grid', grid: sinkGrid, regex: '^zrepl_' },
    { type: 'keep_for', ageMs: floorMs, regex: null },
    { type: 'last_n', count: 5, regex: null },
  ],
  others: 'destroy',
};

/** Names as zrepl makes them, from the local clock: an hour of October has two that differ in nothing but the offset. */
const berlin = new Intl.DateTimeFormat('sv-SE', {
  timeZone: 'Europe/Berlin',
  dateStyle: 'short',
  timeStyle: 'medium',
});
function nameOf(ms: number): string {
  return `zrepl_${berlin.format(ms).replaceAll(/\D/g, '')}_${(ms / hour) % 24}`;
}

/** A machine whose clock is wrong now and then. */
class Machine {
  readonly dataset = new MemoryDestroyer();
  readonly #random: Random;
  readonly #errors: readonly number[];
  errorMs = 0;

  constructor(random: Random, errors: readonly number[]) {
    this.#random = random;
    this.#errors = errors;
  }

  /** An hour passes: clocks fail, and are set right again. */
  tick(): void {
    if (this.errorMs !== 0 ? this.#random.chance(0.3) : this.#random.chance(0.004)) {
      this.errorMs = this.errorMs !== 0 || this.#errors.length === 0 ? 0 : this.#random.pick(this.#errors);
    }
  }

  clock(ms: number): Date {
    return new Date(ms + this.errorMs);
  }
}

/** A source that takes a snapshot every hour, a sink that gets them now and then, and both prune. */
class Year {
  readonly source: Machine;
  readonly sink: Machine;
  /** What is true of each snapshot, by guid: when it was made, and when it was received. */
  readonly made = new Map<bigint, number>();
  readonly received = new Map<bigint, number>();
  readonly #random: Random;
  #txg = 1n;
  #isDown = false;

  constructor(random: Random, { source, sink }: { source: readonly number[]; sink: readonly number[] }) {
    this.#random = random;
    this.source = new Machine(random, source);
    this.sink = new Machine(random, sink);
  }

  async run(hours: number): Promise<void> {
    for (let index = 0; index < hours; index++) {
      const ms = begin + index * hour;
      this.source.tick();
      this.sink.tick();
      if (this.#random.chance(this.#isDown ? 0.02 : 0.002)) this.#isDown = !this.#isDown;
      // Laptops sleep.
      if (!this.#random.chance(0.1)) this.#snapshot(ms, index);
      if (!this.#isDown && this.#random.chance(0.5)) this.#replicate(ms);
      if (this.#random.chance(0.1)) await this.#prune(this.source, sourceRules, ms);
      if (this.#random.chance(0.1)) await this.#prune(this.sink, sinkRules, ms);
    }
  }

  #snapshot(ms: number, index: number): void {
    const guid = BigInt(index) + 1n;
    const name = this.#random.chance(0.01) ? `manual_${index}` : nameOf(ms);
    const creation = this.source.clock(ms).toISOString();
    this.made.set(guid, ms);
    const version = {
      type: 'snapshot',
      name,
      guid,
      createTXG: this.#txg++,
      creation,
      isReceived: false,
      receivedAt: null,
    };
    this.source.dataset.versions.push(version);
    if (this.#random.chance(0.01)) this.source.dataset.holds.push({ guid, why: 'by a person' });
    if (this.#random.chance(0.01)) this.source.dataset.holds.shift();
  }

  /** Everything newer than the newest common one; sometimes it is cut off on the way. */
  #replicate(ms: number): void {
    const { source, sink } = this;
    const have = new Set(sink.dataset.versions.map(({ guid }) => guid));
    const base = source.dataset.versions.findLastIndex(({ guid }) => have.has(guid));
    expect(base >= 0 || have.size === 0, 'nothing in common is left').toBe(true);
    for (const version of source.dataset.versions.slice(base + 1)) {
      if (this.#random.chance(0.02)) return;
      this.received.set(version.guid, ms);
      const receivedAt = sink.clock(ms).toISOString();
      sink.dataset.versions.push({ ...version, createTXG: this.#txg++, isReceived: true, receivedAt });
      if (this.#random.chance(0.02)) return;
      source.dataset.cursors = [{ ...version, owner: 'job' }];
    }
  }

  async #prune(machine: Machine, rules: Rules, ms: number): Promise<void> {
    const { dataset } = machine;
    const other = machine === this.source ? this.sink : this.source;
    const guids = new Set(other.dataset.versions.map(({ guid }) => guid));
    // Sometimes the other side has told what it has, sometimes only the cursor is known.
    const common = this.#random.chance(0.5) ? [{ peer: 'the other side', guids }] : [];
    const before = [...dataset.versions];
    const now = machine.clock(ms);
    const plan = planRetention({ ...(await dataset.list()), ...rules, now, common });
    const { ok } = await executeRetention(plan, dataset);
    expect(ok).toBe(true);
    const doomed = new Set(destroyedBy(plan));
    const expected = before.filter((version) => !doomed.has(version));
    const isAsPlanned =
      expected.length === dataset.versions.length &&
      expected.every((version, index) => version === dataset.versions[index]);
    expect(isAsPlanned, 'plan and result').toBe(true);
    this.#checkPromises(machine, before, { plan, ms, guids });
  }

  /** Broken promises are collected: an assertion for each of millions of versions would take minutes. */
  #checkPromises(
    machine: Machine,
    before: readonly StoredVersion[],
    { plan, ms, guids }: { plan: RetentionPlan; ms: number; guids: ReadonlySet<bigint> },
  ): void {
    const { holds, cursors, versions } = machine.dataset;
    const left = new Set(versions.map(({ guid }) => guid));
    const broken: string[] = [];
    const promise = (version: StoredVersion | undefined, what: string): void => {
      if (version !== undefined && !left.has(version.guid)) broken.push(`${version.name}: ${what}`);
    };
    promise(before.at(-1), 'the newest');
    promise(
      before.findLast(({ guid }) => guids.has(guid)),
      'the newest common one',
    );
    const needed = new Set([...holds, ...cursors].map(({ guid }) => guid));
    for (const version of before) {
      const { guid, name } = version;
      if (needed.has(guid)) promise(version, 'held, or a cursor stands at it');
      if (machine === this.source) {
        if (!this.received.has(guid)) promise(version, 'not replicated');
        if (name.startsWith('manual_')) promise(version, 'no rule speaks of it');
      } else if (this.#isBelowFloor(version, ms)) promise(version, 'the floor');
    }
    if (machine === this.sink) for (const version of before.slice(-5)) promise(version, 'the last five');
    expect(broken).toEqual([]);
    expect(plan.decisions).toHaveLength(before.length);
  }

  /** Only where the clock is right, and was: what it noted when it was wrong is judged by its neighbours. */
  #isBelowFloor({ guid, receivedAt }: StoredVersion, ms: number): boolean {
    const receivedMs = this.received.get(guid)!;
    const isRight = this.sink.errorMs === 0 && Date.parse(receivedAt!) === receivedMs;
    return isRight && ms - receivedMs < floorMs;
  }
}

const seed = Number(process.env['SNAPFERRY_SEED'] ?? Math.floor(Math.random() * 2 ** 32));
const hours = repetitions(366, 60) * 24;

describe(`a year, SNAPFERRY_SEED=${seed}`, () => {
  const cases: [string, { source: readonly number[]; sink: readonly number[] }][] = [
    ['with clocks that are right', { source: [], sink: [] }],
    [
      'with clocks that go back, ahead and stop',
      { source: [-day, 3 * day, 1000 * day, -begin, 7 * hour, -7 * hour], sink: [-2 * day, 2 * day, -begin, hour] },
    ],
  ];
  test.each(cases)('%s', async (_, errors) => {
    await new Year(randomFrom(seed), errors).run(hours);
  });

  test('with clocks that are right, each interval that had a snapshot has one, and twice changes nothing', async () => {
    const year = new Year(randomFrom(seed), { source: [], sink: [] });
    await year.run(hours);
    const now = new Date(begin + hours * hour);
    for (const [machine, rules, grid] of [
      [year.source, sourceRules, sourceGrid],
      [year.sink, sinkRules, sinkGrid],
    ] as const) {
      const regular = (versions: readonly StoredVersion[]): StoredVersion[] =>
        versions.filter(({ name }) => name.startsWith('zrepl_'));
      const before = regular(machine.dataset.versions);
      const prune = async (): Promise<readonly unknown[]> => {
        const plan = planRetention({ ...(await machine.dataset.list()), ...rules, now });
        return (await executeRetention(plan, machine.dataset)).outcomes;
      };
      await prune();
      expect(await prune()).toEqual([]);
      const after = regular(machine.dataset.versions);
      let newerEdge = year.made.get(before.at(-1)!.guid)!;
      for (const { durationMs } of parseGrid(grid)) {
        const inside = ({ guid }: StoredVersion): boolean => {
          const ms = year.made.get(guid)!;
          return ms <= newerEdge && ms > newerEdge - durationMs;
        };
        expect(after.find(inside)?.guid).toBe(before.find(inside)?.guid);
        newerEdge -= durationMs;
      }
    }
  });
});

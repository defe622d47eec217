import { beforeEach, describe, expect, test } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import { executeRetention } from '../../src/retention/execute-retention.ts';
import { destroyedBy, planRetention, type RetentionPlan } from '../../src/retention/plan-retention.ts';
import { MemoryDestroyer, ownSnapshot } from './memory-destroyer.ts';

const hour = 3_600_000;
const now = new Date('2027-06-01T00:00:00Z');

let dataset: MemoryDestroyer;
let plan: RetentionPlan;

/** Ten snapshots, of which the plan keeps the newest two and the base of a cursor, the second. */
beforeEach(async () => {
  dataset = new MemoryDestroyer();
  dataset.versions = Array.from({ length: 10 }, (_, index) =>
    ownSnapshot(`s${index}`, now.getTime() - (9 - index) * hour),
  );
  dataset.cursors = [{ ...dataset.versions[1]!, owner: 'job' }];
  plan = planRetention({
    ...(await dataset.list()),
    rules: [{ type: 'last_n', count: 2, regex: null }],
    others: 'keep',
    now,
  });
});

const results = async (signal?: AbortSignal): Promise<string[]> => {
  const { outcomes, ok } = await executeRetention(plan, dataset, { signal });
  expect(ok).toBe(outcomes.every(({ result }) => result === 'destroyed' || result === 'gone'));
  expect(outcomes.map(({ version }) => version)).toEqual(destroyedBy(plan));
  return outcomes.map(
    ({ version, result, error }) => `${version.name} ${result}${error === null ? '' : `: ${error.message}`}`,
  );
};

const names = (): string[] => dataset.versions.map(({ name }) => name);

test('a plan is carried out exactly', async () => {
  expect(destroyedBy(plan).map(({ name }) => name)).toEqual(['s0', 's2', 's3', 's4', 's5', 's6', 's7']);
  const seen: string[] = [];
  const { ok } = await executeRetention(plan, dataset, {
    onOutcomes: (outcomes) => seen.push(...outcomes.map(({ version, result }) => `${version.name} ${result}`)),
  });
  expect(ok).toBe(true);
  expect(names()).toEqual(['s1', 's8', 's9']);
  expect(dataset.asked).toEqual(destroyedBy(plan).map(({ name }) => name));
  expect(seen).toHaveLength(7);
});

describe('what has changed since is noticed:', () => {
  const change = (index: number, to: Partial<(typeof dataset.versions)[number]>): void => {
    dataset.versions[index] = { ...dataset.versions[index]!, ...to };
  };

  test('another snapshot under the same name', async () => {
    change(3, { guid: 4711n });
    expect((await results())[2]).toMatch(/^s3 refused: @s3 was not destroyed: it is another snapshot now/);
    expect(names()).toEqual(['s1', 's3', 's8', 's9']);
  });

  test('the same snapshot under another name', async () => {
    change(3, { name: 'precious' });
    expect((await results())[2]).toMatch(/^s3 refused: .* renamed to @precious/);
    expect(names()).toContain('precious');
  });

  test('one that is gone', async () => {
    dataset.versions.splice(3, 1);
    expect((await results())[2]).toBe('s3 gone');
    expect(dataset.asked).not.toContain('s3');
  });

  test('a hold', async () => {
    dataset.holds = [{ guid: dataset.versions[3]!.guid, why: 'by a person' }];
    expect((await results())[2]).toMatch(/^s3 refused: .* held by a person/);
  });

  test('a cursor that has moved', async () => {
    dataset.cursors = [{ ...dataset.versions[3]!, owner: 'job' }];
    expect((await results())[2]).toMatch(/^s3 refused: .* the next transfer of job starts from it/);
    expect(names()).toEqual(['s1', 's3', 's8', 's9']);
  });

  test('the base is gone: then nothing at all is destroyed', async () => {
    dataset.versions.splice(1, 1);
    for (const result of await results()) expect(result).toMatch(/refused: .* from which replication goes on, is gone/);
    expect(dataset.asked).toEqual([]);
  });

  test('newer ones are gone: the last that is left stays', async () => {
    dataset.versions.splice(8);
    expect((await results()).at(-1)).toMatch(/^s7 refused: .* has become the newest/);
    expect(names()).toEqual(['s1', 's7']);
  });

  test('between two batches', async () => {
    dataset.versions = Array.from({ length: 150 }, (_, index) =>
      ownSnapshot(`t${index}`, now.getTime() - (149 - index) * hour),
    );
    dataset.cursors = [];
    const rules = [{ type: 'last_n' as const, count: 1, regex: null }];
    plan = planRetention({ ...(await dataset.list()), rules, others: 'keep', now });
    const target = dataset.versions[120]!;
    dataset.beforeList = () => {
      if (dataset.asked.length === 100) dataset.holds = [{ guid: target.guid, why: 'since a moment ago' }];
    };
    expect((await results()).filter((text) => text.includes('refused'))).toHaveLength(1);
    expect(names()).toEqual(['t120', 't149']);
  });
});

test('one that fails does not stop the others', async () => {
  dataset.stubborn.add('s3');
  expect((await results()).filter((text) => !text.endsWith('destroyed'))).toEqual(['s3 failed: @s3 has clones']);
  expect(names()).toEqual(['s1', 's3', 's8', 's9']);
});

test('a backend that cannot begin is reported for each version', async () => {
  dataset.destroy = () => Promise.reject(new SnapferryError('BUSY', 'somebody is at work'));
  expect(new Set((await results()).map((text) => text.slice(3)))).toEqual(new Set(['failed: somebody is at work']));
  dataset.list = () => Promise.reject(new Error('disk on fire'));
  expect((await results())[0]).toBe('s0 failed: disk on fire');
});

test('what a backend does not account for is no success', async () => {
  dataset.destroy = () => Promise.resolve([]);
  expect((await results())[0]).toMatch(/^s0 failed: nothing was reported about @s0/);
});

test('a run that is cancelled does not begin', async () => {
  const { outcomes } = await executeRetention(plan, dataset, { signal: AbortSignal.abort() });
  expect(new Set(outcomes.map(({ error }) => error?.code))).toEqual(new Set(['CANCELLED']));
  expect(names()).toHaveLength(10);
});

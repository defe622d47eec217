import { describe, expect, test } from 'vitest';
import type { Noise } from '../../bench/foreign-work.ts';
import type { Comparison, Contest, Sample } from '../../bench/question.ts';
import { runContest, type ContestOptions } from '../../bench/run-contest.ts';

const quiet: Noise = { foreignProcessors: 0, stolenProcessors: 0 };

/** A contender that measures what is listed, run by run. */
function scripted(name: string, samples: readonly Sample[], order: string[] = []) {
  let next = 0;
  const run = (): Promise<Sample> => {
    order.push(name);
    return Promise.resolve(samples[next++ % samples.length]!);
  };
  return { name, run };
}

const fasterThan = (against: string | null, mustReach: number | null, contender = 'ours'): Comparison => ({
  contender,
  against,
  figure: 'MB/s',
  mustReach,
});

function contest(parts: Partial<Contest>): Contest {
  return {
    subject: 'a copy',
    extent: '1 MiB',
    figures: [
      { name: 'MB/s', better: 'more', digits: 0 },
      { name: 'CPU', better: 'less', digits: 2 },
    ],
    costFigure: 'CPU',
    contenders: [],
    comparisons: [],
    ...parts,
  };
}

/** Options with which the noise of each run is scripted; nothing more to come is quiet. */
function options(rounds: number, noises: readonly Noise[] = [], more: Partial<ContestOptions> = {}): ContestOptions {
  const left = [...noises];
  return {
    ...{ rounds, judged: true, spareRounds: rounds, onRun: () => undefined },
    watch: () => () => left.shift() ?? quiet,
    ...more,
  };
}

describe('a contest', () => {
  test('compares within rounds, then takes the middle', async () => {
    const ours = scripted('ours', [
      { 'MB/s': 100, CPU: 2 },
      { 'MB/s': 300, CPU: 1 },
      { 'MB/s': 50, CPU: 3 },
    ]);
    const theirs = scripted('theirs', [
      { 'MB/s': 50, CPU: 1 },
      { 'MB/s': 300, CPU: 1 },
      { 'MB/s': 10, CPU: 1 },
    ]);
    const held = contest({ contenders: [ours, theirs], comparisons: [fasterThan('theirs', 2)] });
    const result = await runContest(held, options(3));
    expect(result.comparisons[0]).toMatchObject({
      ratio: { median: 2, lowest: 1, highest: 5 },
      costRatio: { median: 2, lowest: 1, highest: 3 },
      reached: true,
    });
    expect(result.contenders[0]!.figures['MB/s']).toEqual({ median: 100, lowest: 50, highest: 300 });
  });

  test.each([
    ['more', 1.9, true],
    ['more', 2.1, false],
    ['less', 1.9, false],
    ['less', 2.1, true],
  ] as const)('where %s is better a ratio of 2 against %d gives %s', async (better, mustReach, reached) => {
    const held = contest({
      figures: [{ name: 'MB/s', better, digits: 0 }],
      costFigure: null,
      contenders: [scripted('ours', [{ 'MB/s': 4 }]), scripted('theirs', [{ 'MB/s': 2 }])],
      comparisons: [fasterThan('theirs', mustReach)],
    });
    expect((await runContest(held, options(1))).comparisons[0]!.reached).toBe(reached);
    const unjudged = await runContest(held, options(1, [], { judged: false }));
    expect(unjudged.comparisons[0]!.reached).toBeNull();
  });

  test('holds a figure itself against what must be reached', async () => {
    const held = contest({
      figures: [{ name: 'MB/s', better: 'less', digits: 0 }],
      contenders: [scripted('ours', [{ 'MB/s': 80 }])],
      comparisons: [fasterThan(null, 90)],
    });
    const { comparisons } = await runContest(held, options(1));
    expect(comparisons[0]).toMatchObject({ ratio: { median: 80 }, costRatio: null, reached: true });
  });

  test('begins each round with another contender', async () => {
    const order: string[] = [];
    const contenders = ['a', 'b', 'c'].map((name) => scripted(name, [{ 'MB/s': 1 }], order));
    await runContest(contest({ contenders }), options(3));
    expect(order.join('')).toBe('abcbcacab');
  });

  test('leaves out comparisons with who is not here', async () => {
    const held = contest({
      contenders: [scripted('ours', [{ 'MB/s': 1 }])],
      comparisons: [fasterThan('absent', 1), fasterThan(null, 1, 'absent'), fasterThan(null, 1)],
    });
    expect((await runContest(held, options(1))).comparisons).toHaveLength(1);
  });

  test('refuses a figure that was not measured', async () => {
    const held = contest({
      contenders: [scripted('ours', [{ CPU: 1 }])],
      comparisons: [fasterThan(null, 1)],
    });
    await expect(runContest(held, options(1))).rejects.toThrow('ours did not measure MB/s');
  });
});

describe('a noisy round', () => {
  const ours = () => scripted('ours', [{ 'MB/s': 10 }, { 'MB/s': 20 }, { 'MB/s': 30 }, { 'MB/s': 40 }]);

  test.each([
    ['by other programs', { foreignProcessors: 0.3, stolenProcessors: 0 }],
    ['by the host', { foreignProcessors: 0, stolenProcessors: 0.3 }],
    ['by both together', { foreignProcessors: 0.15, stolenProcessors: 0.15 }],
  ])('is run again: %s', async (_, noise) => {
    const held = contest({ contenders: [ours()], comparisons: [fasterThan(null, 1)] });
    const result = await runContest(held, options(2, [quiet, noise]));
    expect(result.rounds.map(({ isNoisy, isCounted }) => [isNoisy, isCounted])).toEqual([
      [false, true],
      [true, false],
      [false, true],
    ]);
    expect(result.quiet).toBe(true);
    expect(result.comparisons[0]!.ratio).toEqual({ median: 20, lowest: 10, highest: 30 });
  });

  const noise: Noise = { foreignProcessors: 1, stolenProcessors: 0 };

  test('counts where there are too few others, and the result says so', async () => {
    const result = await runContest(contest({ contenders: [ours()] }), options(2, [noise, quiet, noise, noise]));
    expect(result.rounds.map(({ isCounted }) => isCounted)).toEqual([true, true, true, true]);
    expect(result.quiet).toBe(false);
  });

  test('is only marked where others work for the contenders', async () => {
    const held = contest({ contenders: [ours()], discardNoisyRounds: false });
    const result = await runContest(held, options(2, [noise, noise]));
    expect(result.rounds.map(({ isNoisy, isCounted }) => [isNoisy, isCounted])).toEqual([
      [true, true],
      [true, true],
    ]);
    expect(result.quiet).toBe(true);
  });
});

import { describe, expect, test } from 'vitest';
import { renderSummary } from '../../bench/render-summary.ts';
import type { ComparisonResult, ContestResult } from '../../bench/run-contest.ts';

const round = { foreignProcessors: 0, stolenProcessors: 0, load: 0, isNoisy: false, isCounted: true };
const comparison: ComparisonResult = {
  ...{ contender: 'ours', against: 'theirs', figure: 'MB/s', better: 'more', mustReach: 1.3, reached: true },
  ratio: { median: 1.5, lowest: 1.4, highest: 1.62 },
  costRatio: { median: 0.8, lowest: 0.8, highest: 0.8 },
};

function result(parts: Partial<ContestResult>): ContestResult {
  return {
    ...{ subject: 'a copy', extent: '1 MiB', notes: [], quiet: true, contenders: [] },
    figures: [{ name: 'MB/s', better: 'more', digits: 0 }],
    rounds: [round, round],
    comparisons: [comparison],
    ...parts,
  };
}

/** The words of the line that has `word`. */
function line(text: string, word: string): string[] {
  return (text.split('\n').find((each) => each.includes(word)) ?? '').trim().split(/\s{2,}/);
}

describe('the table', () => {
  test('has question, target, ratio, verdict and cost', () => {
    const text = renderSummary([result({})]);
    expect(line(text, 'ours')).toEqual(['ours / theirs, MB/s', '≥ 1.3', '1.50 (1.40–1.62)', 'met', '0.80']);
    expect(line(text, 'a copy')).toEqual(['a copy']);
  });

  test.each([
    [true, 'met'],
    [false, 'NOT MET'],
    [null, 'not judged'],
  ])('says of reached %s: %s', (reached, verdict) => {
    expect(line(renderSummary([result({ comparisons: [{ ...comparison, reached }] })]), 'ours')).toContain(verdict);
  });

  test('shows a figure without a counterpart with its own digits', () => {
    const alone: ComparisonResult = {
      ...{ ...comparison, against: null, better: 'less', mustReach: 90, costRatio: null },
      ratio: { median: 57.8, lowest: 57.8, highest: 57.8 },
    };
    expect(line(renderSummary([result({ comparisons: [alone] })]), 'ours')).toEqual([
      'ours, MB/s',
      '≤ 90',
      '58',
      'met',
    ]);
  });

  test('leaves out what nothing is asked of', () => {
    const text = renderSummary([result({ comparisons: [{ ...comparison, mustReach: null, reached: null }] })]);
    expect(text).not.toContain('a copy');
  });

  test.each([
    [true, 'a copy [1/2 noisy]'],
    [false, 'a copy [1/2 noisy, counted]'],
  ])('marks noisy rounds, quiet %s', (quiet, title) => {
    const text = renderSummary([result({ rounds: [round, { ...round, isNoisy: true, isCounted: !quiet }], quiet })]);
    expect(line(text, 'a copy')).toEqual([title]);
    expect(text).toContain('in n of m rounds others used the machine');
  });
});

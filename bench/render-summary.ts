import { plainTable } from './plain-table.ts';
import type { ComparisonResult, ContestResult } from './run-contest.ts';
import { spreadText } from './spread.ts';

const head = ['', 'must reach', 'measured', '', 'CPU'];

/** The table that answers the questions: what must be reached, what was, and at which cost in processor time. */
export function renderSummary(results: readonly ContestResult[]): string {
  const rows = results.flatMap((result) => {
    const wanted = result.comparisons.filter(({ mustReach }) => mustReach !== null);
    if (wanted.length === 0) return [];
    const title = [`${result.subject}${noiseMark(result)}`, '', '', '', ''];
    return [title, ...wanted.map((comparison) => row(comparison, result))];
  });
  const notes = [
    'a ratio is the middle of those of each round, lowest and highest in parentheses; CPU: of both ends together',
  ];
  if (results.some(({ rounds }) => rounds.some(({ isNoisy }) => isNoisy))) {
    notes.push(
      '[n/m noisy]: in n of m rounds others used the machine; they are counted only where too few others are left',
    );
  }
  return `${plainTable(head, rows)}\n${notes.map((note) => `  ${note}\n`).join('')}`;
}

function row(comparison: ComparisonResult, result: ContestResult): string[] {
  const { contender, against, figure, ratio, costRatio, better, mustReach, reached } = comparison;
  const figureDigits = result.figures.find(({ name }) => name === figure)?.digits ?? 2;
  return [
    `  ${contender}${against === null ? '' : ` / ${against}`}, ${figure}`,
    `${better === 'more' ? '≥' : '≤'} ${mustReach ?? ''}`,
    spreadText(ratio, against === null ? figureDigits : 2),
    reached === null ? 'not judged' : reached ? 'met' : 'NOT MET',
    costRatio === null ? '' : spreadText(costRatio, 2),
  ];
}

function noiseMark({ rounds, quiet }: ContestResult): string {
  const noisy = rounds.filter(({ isNoisy }) => isNoisy).length;
  if (noisy === 0) return '';
  return ` [${noisy}/${rounds.length} noisy${quiet ? '' : ', counted'}]`;
}

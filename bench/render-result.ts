import Table from 'cli-table3';
import type { ComparisonResult, ContestResult, Spread } from './run-contest.ts';

const noBorders = {
  ...{ top: '', 'top-mid': '', 'top-left': '', 'top-right': '' },
  ...{ bottom: '', 'bottom-mid': '', 'bottom-left': '', 'bottom-right': '' },
  ...{ left: '', 'left-mid': '', mid: '', 'mid-mid': '' },
  ...{ right: '', 'right-mid': '', middle: '  ' },
};

/** A contest as text: what each contender did, and the ratios. */
export function renderResult(result: ContestResult): string {
  const rows = result.contenders.map(({ name, figures }) => [
    name,
    ...result.figures.map((figure) => spreadText(figures[figure.name], figure.digits)),
  ]);
  const parts = [
    `${result.title} · ${roundsText(result)}`,
    ...result.notes.map((note) => `  ${note}`),
    table(['', ...result.figures.map((figure) => figure.name)], rows),
  ];
  if (result.comparisons.length > 0) {
    const head = ['ratio, round by round', '', 'must reach', ''];
    parts.push(table(head, result.comparisons.map(comparisonRow)));
  }
  return `${parts.join('\n')}\n`;
}

function comparisonRow(comparison: ComparisonResult): string[] {
  const { contender, against, figure, ratio, better, mustReach, reached } = comparison;
  const wanted = mustReach === null ? '' : `${better === 'more' ? 'at least' : 'at most'} ${mustReach}`;
  const verdict = reached === null ? '' : reached ? 'reached' : 'NOT reached';
  return [`${contender} / ${against}, ${figure}`, spreadText(ratio, 2), wanted, verdict];
}

function roundsText({ rounds, discardedRounds, quiet, foreignProcessorsMax }: ContestResult): string {
  const discarded = discardedRounds === 0 ? '' : `, ${discardedRounds} noisy ones thrown away`;
  const noise = `other programs used up to ${foreignProcessorsMax.toFixed(2)} processors`;
  return `${rounds} ${rounds === 1 ? 'round' : 'rounds'}${discarded} · ${noise}${quiet ? '' : ': NOT A QUIET MACHINE, read with care'}`;
}

function spreadText(spread: Spread | undefined, digits: number): string {
  if (spread === undefined) return '';
  const { median, lowest, highest } = spread;
  if (lowest === highest) return median.toFixed(digits);
  return `${median.toFixed(digits)} (${lowest.toFixed(digits)}–${highest.toFixed(digits)})`;
}

function table(head: string[], rows: readonly string[][]): string {
  const made = new Table({
    head,
    colAligns: head.map((_, index) => (index === 0 ? 'left' : 'right')),
    chars: noBorders,
    style: { head: [], border: [], 'padding-left': 1, 'padding-right': 0 },
  });
  made.push(...rows);
  return made.toString();
}

import { plainTable } from './plain-table.ts';
import type { ContestResult } from './run-contest.ts';
import { spreadText } from './spread.ts';

/** A contest as text: what each contender did. */
export function renderResult(result: ContestResult): string {
  const rows = result.contenders.map(({ name, figures }) => [
    name,
    ...result.figures.map(({ name: figure, digits }) => {
      const spread = figures[figure];
      return spread === undefined ? '' : spreadText(spread, digits);
    }),
  ]);
  return [
    `${result.subject}, ${result.extent} · ${roundsText(result)}`,
    ...result.notes.map((note) => `  ${note}`),
    plainTable(['', ...result.figures.map((figure) => figure.name)], rows),
    '',
  ].join('\n');
}

function roundsText({ rounds, quiet }: ContestResult): string {
  const counted = rounds.filter(({ isCounted }) => isCounted);
  const discarded = rounds.length - counted.length;
  const most = (of: 'foreignProcessors' | 'stolenProcessors'): string =>
    Math.max(...counted.map((round) => round[of])).toFixed(2);
  return [
    `${counted.length} ${counted.length === 1 ? 'round' : 'rounds'}`,
    discarded === 0 ? '' : `, ${discarded} noisy ones thrown away`,
    ` · others used up to ${most('foreignProcessors')} processors, the host up to ${most('stolenProcessors')}`,
    quiet ? '' : ': NOT A QUIET MACHINE, read with care',
  ].join('');
}

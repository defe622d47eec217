import { printable, printableLines } from '../format.ts';
import type { StatusLine } from '../status-lines.ts';
import type { Examination } from './examine.ts';
import type { Cure, Finding } from './finding.ts';

/** What was found, for people. Pure. */
export function renderExamination({ name, what, findings }: Examination): StatusLine[] {
  const head: StatusLine = [
    [printable(name), 'bold'],
    [what === '' ? '' : `  ${what}`, 'dim'],
  ];
  if (findings.length === 0) return [[...head, ['  nothing is wrong', 'good']]];
  return [head, ...findings.flatMap(findingLines)];
}

function findingLines({ check, severity, subject, message, cures }: Finding): StatusLine[] {
  const [first = '', ...rest] = printableLines(message).split('\n');
  const word = severity === 'problem' ? (['problem', 'bad'] as const) : (['notice', 'warning'] as const);
  return [
    ['  ', word, ` ${printable(subject)}: ${first}`, [` [${check}]`, 'dim']],
    ...rest.map((line): StatusLine => [`      ${line}`]),
    ...cures.flatMap(cureLines),
  ];
}

function cureLines({ what, command, host }: Cure): StatusLine[] {
  const where = host === null ? '' : `on ${printable(host)}: `;
  const text = `    ${where}${printable(what)}`;
  return command === null ? [[text]] : [[`${text}:`], [['      ' + printable(command), 'bold']]];
}

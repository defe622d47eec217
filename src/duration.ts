import { SnapferryError } from './errors.ts';

const unitMs = {
  w: 7 * 24 * 3_600_000,
  d: 24 * 3_600_000,
  h: 3_600_000,
  m: 60_000,
  s: 1000,
  ms: 1,
} as const;

type Unit = keyof typeof unitMs;

// From the largest on: the order in which they may follow each other.
const units = Object.keys(unitMs) as Unit[];

/** The longest duration there is, in ms: a thousand years. Sums and differences of it with any date stay exact. */
export const durationMsMax = 1000 * 365 * unitMs.d;

const partPattern = /\s*(\d+(?:[.,]\d+)?)?\s*([^\s\d.,]+)?/y;
const exampleText = 'write for example "90s", "10m", "1h30m", "14d" or "2w"';

/**
 * Reads a duration as it is written in configuration: whole numbers with `ms`, `s`, `m` (minutes), `h`, `d` (24 hours) or `w`
 * (7 days), the larger unit first: `10m`, `1h30m`, `14d`. There is no unit for months or years, which have no one length, and no
 * bare number. Always more than zero.
 * @returns ms
 * @throws SnapferryError `INVALID_REQUEST` with what is wrong and how to write it
 */
export function parseDuration(text: string): number {
  const refuse = (why: string): never => {
    throw new SnapferryError('INVALID_REQUEST', `duration ${JSON.stringify(text)} ${why}; ${exampleText}`);
  };
  const trimmed = text.trim();
  if (trimmed === '') refuse('is empty');
  let totalMs = 0;
  let nextUnit = 0;
  for (partPattern.lastIndex = 0; partPattern.lastIndex < trimmed.length;) {
    const [whole = '', digits, unit] = partPattern.exec(trimmed) ?? [];
    if (digits === undefined || whole === '') return refuse('does not begin with a number');
    if (/[.,]/.test(digits)) return refuse(`has the fraction ${digits}; numbers are whole, use a smaller unit`);
    if (unit === undefined) return refuse(`has no unit after ${digits}`);
    const order = units.indexOf(unit as Unit);
    if (order < 0) return refuse(unknownUnit(unit));
    if (order < nextUnit) return refuse(`has "${unit}" out of order; the larger unit comes first, and each only once`);
    nextUnit = order + 1;
    totalMs += Number(digits) * unitMs[unit as Unit];
  }
  if (totalMs === 0) refuse('is zero');
  if (totalMs > durationMsMax) refuse('is longer than a thousand years');
  return totalMs;
}

function unknownUnit(unit: string): string {
  if (unit === 'M') return 'has the unit "M", which could be minutes or months: "m" is minutes, and a month is "30d"';
  if (/^(mo|mon|months?)$/i.test(unit)) return `has the unit "${unit}"; months differ in length, "30d" does not`;
  if (/^(y|yr|years?)$/i.test(unit)) return `has the unit "${unit}"; years differ in length, "365d" does not`;
  const close = units.find((known) => known === unit.toLowerCase());
  if (close !== undefined) return `has the unit "${unit}"; units are in lower case: "${close}"`;
  return `has the unknown unit "${unit}"; there are ${units.join(', ')}`;
}

/**
 * A duration as {@link parseDuration} reads it, in the fewest parts: `90m` is `1h30m`, `14d` is `2w`.
 * @param ms whole, not negative; 0 is `0s`
 */
export function spellDuration(ms: number): string {
  let rest = ms;
  let text = '';
  for (const unit of units) {
    const count = Math.floor(rest / unitMs[unit]);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * unitMs[unit];
  }
  return text === '' ? '0s' : text;
}

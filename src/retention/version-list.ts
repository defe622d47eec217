import { checkVersionName } from '../dataset.ts';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import type { StoredVersion } from '../snapshot-destroyer.ts';
import { parseTime } from './trusted-times.ts';

/**
 * Reads a list of snapshots to try rules on: a name and a date on each line, with blanks between. A dataset and `@` before the name
 * are passed over, and the date is RFC 3339, a day, or seconds since 1970, so what `zfs list -Hp -o name,creation` prints will do. Empty
 * lines and those that begin with `#` are passed over. Guids are made up.
 * @returns oldest first
 * @throws SnapferryError `INVALID_REQUEST` naming the line
 */
export function parseVersionList(text: string): StoredVersion[] {
  const seen = new Set<string>();
  const entries = text.split(/\r?\n/).flatMap((line, index) => {
    if (line.trim() === '' || line.startsWith('#')) return [];
    const entry = parseLine(line, index + 1);
    if (seen.has(entry.name))
      throw invalid(index + 1, `there is a snapshot ${JSON.stringify(entry.name)} above already`);
    seen.add(entry.name);
    return [entry];
  });
  entries.sort((a, b) => a.ms - b.ms);
  return entries.map(({ name, ms }, index) => ({
    type: 'snapshot',
    name,
    guid: BigInt(index + 1),
    createTXG: BigInt(index + 1),
    creation: new Date(ms).toISOString(),
    isReceived: false,
    receivedAt: null,
  }));
}

function parseLine(line: string, number: number): { name: string; ms: number } {
  const [, fullName = '', date = ''] = /^\s*(\S.*?)\s+(\S+)\s*$/.exec(line) ?? [];
  if (date === '') throw invalid(number, 'expected a name and a date, as in "daily-1 2026-01-31T00:00:00Z"');
  const name = fullName.slice(fullName.lastIndexOf('@') + 1);
  try {
    checkVersionName(name);
  } catch (error) {
    throw invalid(number, toSnapferryError(error).message);
  }
  const ms = parseDate(date);
  if (ms === null)
    throw invalid(number, `${JSON.stringify(date)} is no date such as 2026-01-31T00:00:00Z or 1769817600`);
  return { name, ms };
}

function parseDate(text: string): number | null {
  if (/^\d{1,12}$/.test(text)) return Number(text) * 1000;
  return parseTime(/^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00:00Z` : text);
}

function invalid(line: number, why: string): SnapferryError {
  return new SnapferryError('INVALID_REQUEST', `line ${line} of the list of snapshots: ${why}`);
}

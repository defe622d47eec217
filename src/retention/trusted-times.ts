import type { StoredVersion } from '../snapshot-destroyer.ts';

/** How old a version is as far as that can be said, in ms since 1970. */
export interface TrustedTime {
  /** When it was made. Never falls from one version to the next; null when nobody knows. */
  readonly atMs: number | null;
  /** When it came to be on this machine, for minimum ages; null when nobody knows. */
  readonly arrivedMs: number | null;
}

/**
 * Works out when versions were made, where clocks may have been wrong and peers may lie. The order in which versions came to be here
 * (`createTXG`) is known for certain, so times that contradict it are wrong.
 *
 * This machine's own records (`creation` of what was made here, `receivedAt` of what was received) are believed unless they lie in the
 * future, or before there was anything to replicate; of those that contradict the order as few as possible are set aside. A version without a believable record is placed evenly
 * between its neighbours. Without neighbours on both sides nobody knows.
 *
 * What a peer says is believed within what is known: not before the version that was here before it, and not after it was received. So
 * whatever a peer claims, a version that was here first is never younger than one that came later, and no claim changes the time of
 * what was here before it.
 * @param versions in order
 */
export function trustedTimes(versions: readonly StoredVersion[], nowMs: number): TrustedTime[] {
  const noted = versions.map(({ isReceived, receivedAt, creation }) => {
    const ms = believableTime(isReceived ? receivedAt : creation);
    return ms !== null && ms <= nowMs ? ms : null;
  });
  const kept = longestRun(noted);
  const records = noted.map((ms, index) => (kept.has(index) ? ms : null));
  const nextRecords = fromTheRight(records);
  const at: (number | null)[] = [];
  let latest = -Infinity;
  for (const [index, version] of versions.entries()) {
    const record = records[index] ?? null;
    const found = version.isReceived
      ? claimedTime(version, { record, latest, boundMs: nextRecords[index] ?? nowMs })
      : record;
    if (found !== null) latest = found;
    at.push(found);
  }
  const spread = betweenNeighbours(at);
  return versions.map(({ isReceived }, index) => {
    const atMs = spread[index] ?? null;
    // A record that was set aside may have been the right one. Of two answers the later one keeps longer.
    return { atMs, arrivedMs: latestOf(noted[index] ?? null, isReceived ? (nextRecords[index] ?? atMs) : atMs) };
  });
}

const timePattern = /^(\d{4})-(\d\d)-(\d\d)[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)$/;

/** An RFC 3339 time in ms since 1970; null for anything else, such as the 30th of February. */
export function parseTime(text: string | null): number | null {
  const [, year, month, day] = timePattern.exec(text ?? '') ?? [];
  if (text === null || day === undefined) return null;
  const isDay = new Date(Date.UTC(Number(year), Number(month) - 1, Number(day))).getUTCDate() === Number(day);
  const ms = Date.parse(text);
  return Number.isNaN(ms) || !isDay ? null : ms;
}

/** Before there was any file system with snapshots to be replicated: the clock of a machine whose battery is empty. */
const believableMsMin = Date.UTC(2005, 9, 31);

function believableTime(text: string | null): number | null {
  const ms = parseTime(text);
  return ms === null || ms < believableMsMin ? null : ms;
}

/** Indexes of a longest selection of times that never falls: all of them, unless a clock went back. */
function longestRun(times: readonly (number | null)[]): Set<number> {
  // For each length, the run of that length that ends earliest: its last index; and for each index the one before it in its run.
  const ends: number[] = [];
  const before: number[] = [];
  const timeOf = (length: number): number => times[ends[length] ?? -1] ?? Infinity;
  for (const [index, ms] of times.entries()) {
    if (ms === null) continue;
    let [low, high] = [0, ends.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (timeOf(middle) <= ms) low = middle + 1;
      else high = middle;
    }
    before[index] = low === 0 ? -1 : (ends[low - 1] ?? -1);
    ends[low] = index;
  }
  const run = new Set<number>();
  for (let index = ends.at(-1) ?? -1; index >= 0; index = before[index] ?? -1) run.add(index);
  return run;
}

/** For each the first value that is known from there on. */
function fromTheRight(values: readonly (number | null)[]): (number | null)[] {
  const found = [...values];
  for (let index = found.length - 2; index >= 0; index--) found[index] ??= found[index + 1] ?? null;
  return found;
}

function claimedTime(
  { creation }: StoredVersion,
  { record, latest, boundMs }: { readonly record: number | null; readonly latest: number; readonly boundMs: number },
): number | null {
  const claimed = believableTime(creation);
  if (claimed === null || claimed > boundMs) return record;
  return Math.max(claimed, latest);
}

function latestOf(a: number | null, b: number | null): number | null {
  return a === null || b === null ? (a ?? b) : Math.max(a, b);
}

function betweenNeighbours(times: readonly (number | null)[]): (number | null)[] {
  const spread = [...times];
  let left = -1;
  for (const [right, ms] of times.entries()) {
    if (ms === null) continue;
    const leftMs = times[left] ?? null;
    for (let index = left + 1; leftMs !== null && index < right; index++) {
      spread[index] = leftMs + Math.floor(((ms - leftMs) * (index - left)) / (right - left));
    }
    left = right;
  }
  return spread;
}

import { parseDuration, spellDuration } from './duration.ts';
import { SnapferryError, toSnapferryError } from './errors.ts';

/** One interval of a retention grid. */
export interface GridBucket {
  /** Length, in ms. */
  readonly durationMs: number;
  /** How many of the snapshots in it are kept, the oldest ones. */
  readonly keep: number | 'all';
}

/** Far more than anybody can mean, and few enough to be walked through. */
const bucketsMax = 100_000;
const keepMax = 1_000_000;

/**
 * Reads a retention grid as zrepl writes it: `1x1h(keep=all) | 24x1h | 14x1d`. Each part is how often an interval is repeated, `x`,
 * its length, and how many snapshots in it are kept, one by default. The first interval is the youngest. Lengths may not shrink
 * towards older intervals, unless all intervals before keep everything.
 * @returns the intervals with repetitions spelled out, youngest first
 * @throws SnapferryError `INVALID_REQUEST` with the column and what is expected there
 */
export function parseGrid(text: string): readonly [GridBucket, ...GridBucket[]] {
  const buckets: GridBucket[] = [];
  let start = 0;
  for (const part of text.split('|')) {
    const { count, bucket } = new PartReader(text, start, start + part.length).read();
    if (buckets.length + count > bucketsMax) refuse(text, start, `there are over ${bucketsMax} intervals`);
    checkGrowth(text, start, buckets, bucket);
    for (let repetition = 0; repetition < count; repetition++) buckets.push(bucket);
    start += part.length + 1;
  }
  return buckets as [GridBucket, ...GridBucket[]];
}

/** A grid as {@link parseGrid} reads it, equal neighbours put together. */
export function spellGrid(buckets: readonly GridBucket[]): string {
  const parts: { bucket: GridBucket; count: number }[] = [];
  for (const bucket of buckets) {
    const last = parts.at(-1);
    const isSame = last?.bucket.durationMs === bucket.durationMs && last.bucket.keep === bucket.keep;
    if (isSame) last.count++;
    else parts.push({ bucket, count: 1 });
  }
  return parts
    .map(({ bucket: { durationMs, keep }, count }) => {
      return `${count}x${spellDuration(durationMs)}${keep === 1 ? '' : `(keep=${keep})`}`;
    })
    .join(' | ');
}

function refuse(text: string, position: number, why: string): never {
  throw new SnapferryError('INVALID_REQUEST', `grid ${JSON.stringify(text)}, column ${position + 1}: ${why}`);
}

function checkGrowth(text: string, start: number, before: readonly GridBucket[], bucket: GridBucket): void {
  const last = before.at(-1);
  const shrinks = last !== undefined && bucket.durationMs < last.durationMs;
  if (!shrinks || before.every(({ keep }) => keep === 'all')) return;
  const [here, there] = [bucket, last].map(({ durationMs }) => spellDuration(durationMs));
  const position = start + (/\S/.exec(text.slice(start))?.index ?? 0);
  refuse(text, position, `an interval of ${here} stands behind one of ${there}; older intervals must not be shorter`);
}

/** Reads what stands between two bars. */
class PartReader {
  readonly #text: string;
  readonly #end: number;
  #position: number;

  constructor(text: string, start: number, end: number) {
    this.#text = text;
    this.#position = start;
    this.#end = end;
  }

  read(): { count: number; bucket: GridBucket } {
    const isEmpty = this.#rest().trim() === '';
    if (isEmpty) this.#refuse('an interval is missing; write for example "24x1h"');
    const countAt = this.#skipBlanks();
    const digits = this.#take(/\d+/y) ?? this.#refuse('expected how often the interval repeats, as in "24x1h"');
    const count = Number(digits);
    if (count === 0) refuse(this.#text, countAt, 'an interval cannot be repeated 0 times; leave it out');
    if (count > bucketsMax) refuse(this.#text, countAt, `${digits} repetitions are more than ${bucketsMax}`);
    this.#skipBlanks();
    if (this.#take(/x/y) === null) this.#refuse(`expected "x" after ${digits}, as in "${digits}x1h"`);
    this.#skipBlanks();
    const durationMs = this.#duration();
    const keep = this.#keep();
    this.#skipBlanks();
    if (this.#position < this.#end) this.#refuse('expected "|" before the next interval, or the end');
    return { count, bucket: { durationMs, keep } };
  }

  #duration(): number {
    const at = this.#position;
    const text = this.#take(/[^(|]+/y) ?? this.#refuse('expected the length of the interval, as in "24x1h"');
    try {
      return parseDuration(text);
    } catch (error) {
      return refuse(this.#text, at, toSnapferryError(error).message);
    }
  }

  #keep(): number | 'all' {
    if (this.#take(/\(/y) === null) return 1;
    this.#skipBlanks();
    if (this.#take(/keep\s*=/y) === null) this.#refuse('expected "keep=", as in "(keep=all)"');
    const at = this.#skipBlanks();
    const value = this.#take(/[^\s)]+/y) ?? this.#refuse('expected how many to keep: a number or "all"');
    if (value !== 'all' && !/^\d+$/.test(value)) {
      refuse(this.#text, at, `${JSON.stringify(value)} is neither a number nor "all"`);
    }
    const keep = value === 'all' ? value : Number(value);
    if (keep === 0) refuse(this.#text, at, 'an interval that keeps 0 keeps nothing; leave it out');
    if (keep !== 'all' && keep > keepMax) refuse(this.#text, at, `${value} is more than ${keepMax}; write "all"`);
    this.#skipBlanks();
    if (this.#take(/\)/y) === null) this.#refuse('expected ")"');
    return keep;
  }

  #rest(): string {
    return this.#text.slice(this.#position, this.#end);
  }

  #skipBlanks(): number {
    this.#take(/\s+/y);
    return this.#position;
  }

  #take(pattern: RegExp): string | null {
    pattern.lastIndex = this.#position;
    const [found = null] = pattern.exec(this.#text.slice(0, this.#end)) ?? [];
    if (found !== null) this.#position += found.length;
    return found;
  }

  #refuse(why: string): never {
    return refuse(this.#text, this.#position, why);
  }
}

import { SnapferryError } from '../errors.ts';
import type { TimestampFormat } from './snapshotting.ts';

/** Named layouts, as zrepl names them. */
const layouts: Readonly<Record<string, string>> = {
  dense: '20060102_150405_000',
  human: '2006-01-02_15:04:05',
  'iso-8601': '2006-01-02T15:04:05.000Z07:00',
};

/** These say nothing of the time zone, so that in any but UTC two moments could have one name. */
const formatsOfUTC = ['dense', 'human', 'unix-seconds'];

/** Parts of the reference time that stand for a part of the real one; the longer before the shorter. */
const elements = [
  '2006',
  '01',
  '02',
  '15',
  '04',
  '05',
  '.000',
  '_000',
  'Z07:00',
  '-07:00',
  'Z0700',
  '-0700',
  'Jan',
  'Mon',
  '06',
] as const;
type Element = (typeof elements)[number];
/** Without one of each, two snapshots of different minutes would have one name. */
const needed = [
  ['2006', '06'],
  ['01', 'Jan'],
  ['02'],
  ['15'],
  ['04'],
] as const satisfies readonly (readonly Element[])[];

const elementPattern = new RegExp(elements.map((element) => element.replaceAll('.', '\\.')).join('|'), 'g');

/**
 * Refuses a format that could not give every snapshot a name of its own.
 * @throws SnapferryError `INVALID_REQUEST`
 */
export function checkTimestampFormat({ format, location }: TimestampFormat): void {
  const refuse = (why: string): never => {
    throw new SnapferryError('INVALID_REQUEST', why);
  };
  if (location !== 'UTC' && location !== 'Local') checkLocation(location, refuse);
  const name = format.toLowerCase();
  if (formatsOfUTC.includes(name)) {
    if (location === 'UTC') return;
    refuse(
      `timestamp_format "${name}" does not say its time zone, so timestamp_location has to be UTC; use "iso-8601"`,
    );
  }
  if (Object.hasOwn(layouts, name)) return;
  const found: readonly string[] = format.match(elementPattern) ?? [];
  const missing = needed.filter((choice) => !choice.some((element) => found.includes(element))).map(([first]) => first);
  if (missing.length > 0) {
    const known = 'dense, human, iso-8601, unix-seconds or a layout such as 2006-01-02_15:04:05';
    refuse(`timestamp_format "${format}" has no ${missing.join(', ')}, so that names would repeat; expected ${known}`);
  }
  if (location !== 'UTC' && !found.some((element) => element.includes('07'))) {
    refuse(`timestamp_format "${format}" has no time zone (Z07:00), so timestamp_location has to be UTC`);
  }
  const literal = format.replaceAll(elementPattern, '');
  const odd = /[^A-Za-z0-9_.:-]/.exec(literal);
  if (odd !== null)
    refuse(`timestamp_format "${format}" has ${JSON.stringify(odd[0])}, which a snapshot's name cannot have`);
  if (/\d/.test(literal)) {
    refuse(`timestamp_format "${format}" has digits that are no part of the reference time 2006-01-02 15:04:05.000`);
  }
}

function checkLocation(location: string, refuse: (why: string) => never): void {
  try {
    Intl.DateTimeFormat('en-US', { timeZone: location });
  } catch {
    refuse(`timestamp_location "${location}" is not known; expected UTC, Local or a name such as Europe/Prague`);
  }
}

/**
 * The time as it stands in the name of a snapshot. A `+`, which ZFS does not allow there, becomes `_`.
 * @param timestamp checked by {@link checkTimestampFormat}
 */
export function formatTimestamp({ format, location }: TimestampFormat, time: Date): string {
  const name = format.toLowerCase();
  if (name === 'unix-seconds') return String(Math.floor(time.getTime() / 1000));
  const parts = partsOf(time, location);
  const text = (layouts[name] ?? format).replaceAll(elementPattern, (element) => parts[element as Element]);
  return text.replaceAll('+', '_');
}

function partsOf(time: Date, location: string): Readonly<Record<Element, string>> {
  const zone = location === 'Local' ? {} : { timeZone: location };
  const formatter = new Intl.DateTimeFormat('en-US', {
    ...zone,
    calendar: 'iso8601',
    hourCycle: 'h23',
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    timeZoneName: 'longOffset',
  });
  const found = new Map(formatter.formatToParts(time).map(({ type, value }) => [type, value]));
  const part = (type: Intl.DateTimeFormatPartTypes) => found.get(type) ?? '';
  const word = (options: Intl.DateTimeFormatOptions) =>
    new Intl.DateTimeFormat('en-US', { ...zone, ...options }).format(time);
  // "GMT+02:00", and for UTC only "GMT".
  const offset = part('timeZoneName').replace('GMT', '') || '+00:00';
  const offsetOrZ = offset === '+00:00' ? 'Z' : offset;
  const milliseconds = String(time.getUTCMilliseconds()).padStart(3, '0');
  return {
    '2006': part('year').padStart(4, '0'),
    '06': part('year').slice(-2),
    '01': part('month'),
    '02': part('day'),
    '15': part('hour'),
    '04': part('minute'),
    '05': part('second'),
    '.000': `.${milliseconds}`,
    _000: `_${milliseconds}`,
    Jan: word({ month: 'short' }),
    Mon: word({ weekday: 'short' }),
    'Z07:00': offsetOrZ,
    '-07:00': offset,
    Z0700: offsetOrZ.replace(':', ''),
    '-0700': offset.replace(':', ''),
  };
}

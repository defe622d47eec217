const binaryUnits = ['KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** `12 B`, `12.3 KiB`, `1.0 GiB`: binary units, three digits or one behind the point. */
export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${Math.round(bytes)} B`;
  let value = bytes;
  let unit = 'B';
  for (const next of binaryUnits) {
    // 1023.95 and more would round to 1024.0 of the smaller unit.
    if (value < 1023.95 && unit !== 'B') break;
    value /= 1024;
    unit = next;
  }
  return `${value.toFixed(1)} ${unit}`;
}

/** `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`. */
export function formatDuration(durationMs: number): string {
  if (durationMs < 9950) return `${(durationMs / 1000).toFixed(1)} s`;
  const seconds = Math.round(durationMs / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.floor(minutes / 1440)} d ${Math.floor((minutes % 1440) / 60)} h`;
}

/** `1 file`, `3 files`; another plural where an `s` does not do. */
export function formatCount(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** What a new snapshot holds that the one before it did not. Null is unknown: only directories count files. */
export interface ChangeCounts {
  readonly added: number | null;
  readonly changed: number | null;
  readonly removed: number | null;
  /** Of the added and changed files, or of all that was written. */
  readonly bytes: number | null;
}

/** `3 added, 1 changed, 2 removed, 12.0 KiB`, or as much of it as is known. */
export function formatChanges({ added, changed, removed, bytes }: ChangeCounts): string {
  const counts = added === null ? [] : [`${added} added`, `${changed ?? 0} changed`, `${removed ?? 0} removed`];
  const size = bytes === null ? [] : [formatBytes(bytes)];
  const known = [...counts, ...size];
  return known.length === 0 ? 'changes unknown' : known.join(', ');
}

/** RFC 3339 as a table shows it: without fractions and the `T`; `unknown` for null. */
export function formatCreation(creation: string | null): string {
  if (creation === null) return 'unknown';
  return printable(creation.replace(/\.\d+(?=Z|[+-])/, '').replace(/^(\d{4}-\d\d-\d\d)T/, '$1 '));
}

/** Control characters and those that turn the direction of writing. */
const unprintable = /[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

/** A text that came from a peer or a file name, made harmless for a terminal. One line. */
export function printable(text: string): string {
  return text.replace(unprintable, escapeCharacter);
}

/** {@link printable} for a text of several lines. */
export function printableLines(text: string): string {
  return text.split(/\r?\n/).map(printable).join('\n');
}

function escapeCharacter(character: string): string {
  if (character === '\n') return '\\n';
  if (character === '\t') return '\\t';
  const number = character.charCodeAt(0);
  return number < 256 ? `\\x${number.toString(16).padStart(2, '0')}` : `\\u${number.toString(16)}`;
}

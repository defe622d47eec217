import { randomBytes } from 'node:crypto';
import type { FilesystemVersion } from '../dataset.ts';
import type { ChangeCounts } from './format.ts';

/** Type of a version that does not exist yet: what `serve --snapshot-dry-run` appends to the list. */
export const plannedType = 'planned';

/** The version a run would make, as it travels: its counts are in its name, where a version has room for text. */
export function plannedVersion(counts: ChangeCounts, existing: readonly FilesystemVersion[]): FilesystemVersion {
  const newest = existing.reduce((max, { createTXG }) => (createTXG > max ? createTXG : max), 0n);
  return {
    type: plannedType,
    name: `added=${text(counts.added)} changed=${text(counts.changed)} removed=${text(counts.removed)} bytes=${text(counts.bytes)}`,
    guid: randomBytes(8).readBigUInt64LE() | 1n,
    createTXG: newest + 1n,
    creation: null,
  };
}

/** The counts of a planned version; null for any other, and for a name that says something else. */
export function plannedCounts(version: FilesystemVersion): ChangeCounts | null {
  if (version.type !== plannedType) return null;
  const count = String.raw`(\d{1,15}|\?)`;
  const match = new RegExp(`^added=${count} changed=${count} removed=${count} bytes=${count}$`).exec(version.name);
  if (match === null) return null;
  const [added = null, changed = null, removed = null, bytes = null] = match
    .slice(1)
    .map((figure) => (figure === '?' ? null : Number(figure)));
  return { added, changed, removed, bytes };
}

function text(figure: number | null): string {
  return figure === null ? '?' : String(figure);
}

import { randomBytes } from 'node:crypto';
import type { FilesystemVersion } from '../dataset.ts';
import type { ChangeCounts } from './format.ts';

/** Type of a version that does not exist yet: what `serve --snapshot-dry-run` appends to the list. */
export const plannedType = 'planned';

/** The version a run would make, as it travels: its counts are in its name, where a version has room for text. */
export function plannedVersion(counts: ChangeCounts, existing: readonly FilesystemVersion[]): FilesystemVersion {
  const { added, changed, removed, bytes } = counts;
  const newest = existing.reduce((max, { createTXG }) => (createTXG > max ? createTXG : max), 0n);
  return {
    type: plannedType,
    name: `added=${added} changed=${changed} removed=${removed} bytes=${bytes}`,
    guid: randomBytes(8).readBigUInt64LE() | 1n,
    createTXG: newest + 1n,
    creation: null,
  };
}

/** The counts of a planned version; null for any other, and for a name that says something else. */
export function plannedCounts(version: FilesystemVersion): ChangeCounts | null {
  if (version.type !== plannedType) return null;
  const match = /^added=(\d{1,15}) changed=(\d{1,15}) removed=(\d{1,15}) bytes=(\d{1,15})$/.exec(version.name);
  if (match === null) return null;
  const [added = 0, changed = 0, removed = 0, bytes = 0] = match.slice(1).map(Number);
  return { added, changed, removed, bytes };
}

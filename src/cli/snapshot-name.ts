import type { SnapshotChoices } from './choices.ts';

/** What the names of snapshots begin with unless something else is asked for. */
const prefixDefault = 'snapferry_';

/** The name of a snapshot taken at `at`: the one asked for, or prefix and time, `snapferry_20261121_013300_123`, UTC. */
export function snapshotName({ name, prefix }: Pick<SnapshotChoices, 'name' | 'prefix'>, at: Date): string {
  return name ?? `${prefix ?? prefixDefault}${timestamp(at)}`;
}

function timestamp(date: Date): string {
  return date.toISOString().replaceAll(/[-:]/g, '').replace('T', '_').replace('.', '_').replace('Z', '');
}

import { SnapferryError } from '../../errors.ts';
import type { ZfsArguments } from './commands.ts';
import { placeholderProperty } from './names-ours.ts';
import { checkDatasetName, versionName } from './names.ts';

/** A dataset, as far as it matters whether a snapshot of it is due. */
export interface DueDataset {
  readonly name: string;
  /** Bytes written since the newest snapshot, as of the last time the pool was synced; all of them if there is none. */
  readonly writtenBytes: number;
  readonly isReadOnly: boolean;
  /** Whether it was only made to have children. */
  readonly isPlaceholder: boolean;
  /** Whether a receive into it was interrupted, so that it has nothing to be kept yet. */
  readonly isPartial: boolean;
}

const properties = ['written', 'readonly', 'receive_resume_token', placeholderProperty] as const;

/** Filesystems and volumes at, or at and below, a root, with what {@link DueDataset} says of them. */
export function listDueArguments(root: string, isRecursive: boolean): ZfsArguments {
  checkDatasetName(root);
  const depth = isRecursive ? ['-r'] : [];
  const columns = 'name,property,value,source';
  return ['get', '-Hp', ...depth, '-t', 'filesystem,volume', '-o', columns, properties.join(','), root];
}

/**
 * What {@link listDueArguments} prints, parents before children.
 * @throws SnapferryError `SOURCE_FAILED` if it is not understood
 */
export function parseDue(stdout: Buffer): DueDataset[] {
  const found = new Map<string, Map<string, { readonly value: string; readonly source: string }>>();
  for (const line of stdout.toString('utf8').split('\n').filter(Boolean)) {
    const [name, property, value, source] = line.split('\t');
    if (name === undefined || property === undefined || value === undefined || source === undefined) {
      throw new SnapferryError(
        'SOURCE_FAILED',
        `zfs printed a line that we do not understand: ${JSON.stringify(line)}`,
      );
    }
    const known = found.get(name) ?? new Map<string, { value: string; source: string }>();
    found.set(name, known.set(property, { value, source }));
  }
  return Array.from(found, ([name, known]) => {
    const written = known.get('written')?.value ?? '';
    const placeholder = known.get(placeholderProperty);
    return {
      name,
      // A dataset that does not say is one of which a snapshot is due.
      writtenBytes: /^\d+$/.test(written) ? Number(written) : Infinity,
      isReadOnly: known.get('readonly')?.value === 'on',
      isPlaceholder: placeholder?.value === 'on' && placeholder.source === 'local',
      isPartial: !['', '-', undefined].includes(known.get('receive_resume_token')?.value),
    };
  });
}

/** Snapshots of one name, all taken at the same moment, or none. */
export function snapshotArguments(datasets: readonly string[], name: string): ZfsArguments {
  return ['snapshot', ...datasets.map((dataset) => versionName(dataset, { type: 'snapshot', name }))];
}

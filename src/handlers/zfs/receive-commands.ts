import type { ZfsArguments } from './commands.ts';
import { checkDatasetName, splitVersionName, versionName } from './names.ts';
import { placeholderProperty } from './names-ours.ts';
import type { ReceiveProperties } from './receive-properties.ts';

function checkedDataset(dataset: string): string {
  checkDatasetName(dataset);
  return dataset;
}

function checkedSnapshot(fullName: string): string {
  const parts = splitVersionName(fullName);
  if (parts?.type !== 'snapshot') throw new RangeError(`not the name of a snapshot: ${fullName}`);
  return versionName(parts.dataset, parts);
}

/**
 * Receives the stream on stdin as this snapshot, unmounted, so that an interrupted one can be resumed.
 * @param isForced `-F`: in the place of a dataset that is there. Only ever for an empty placeholder of ours: it would roll back
 *   any other.
 */
export function receiveArguments(
  snapshot: string,
  { override, exclude }: ReceiveProperties,
  { isForced }: { readonly isForced: boolean },
): ZfsArguments {
  return [
    'recv',
    '-s',
    '-u',
    ...(isForced ? ['-F'] : []),
    ...override.flatMap(([name, value]) => ['-o', `${name}=${value}`]),
    ...exclude.flatMap((name) => ['-x', name]),
    checkedSnapshot(snapshot),
  ];
}

/** Discards what an interrupted receive left. Fails if there is nothing, and while a receive runs. */
export function abortReceiveArguments(dataset: string): ZfsArguments {
  return ['recv', '-A', checkedDataset(dataset)];
}

/** Columns of {@link datasetStateArguments}. */
export const stateProperties = [
  'type',
  'receive_resume_token',
  'inconsistent',
  'encryption',
  'canmount',
  'mounted',
  'referenced',
  placeholderProperty,
] as const;

/** What a sink must know of a dataset before it receives into it, one property a line. */
export function datasetStateArguments(dataset: string): ZfsArguments {
  return ['get', '-Hp', '-o', 'property,value,source', stateProperties.join(','), checkedDataset(dataset)];
}

/** The interrupted receive of a dataset, or `-`. */
export function resumeTokenArguments(dataset: string): ZfsArguments {
  return ['get', '-Hp', '-o', 'value', 'receive_resume_token', checkedDataset(dataset)];
}

/**
 * A dataset that holds nothing and is never mounted, so that another one has a parent.
 * @param isUnencrypted `encryption=off`, below an encrypted dataset; otherwise encryption is inherited
 */
export function createPlaceholderArguments(
  dataset: string,
  { isUnencrypted }: { readonly isUnencrypted: boolean },
): ZfsArguments {
  return [
    'create',
    ...['-o', 'canmount=off'],
    ...['-o', 'mountpoint=none'],
    ...['-o', 'readonly=on'],
    ...['-o', `${placeholderProperty}=on`],
    ...(isUnencrypted ? ['-o', 'encryption=off'] : []),
    checkedDataset(dataset),
  ];
}

/** Never mounted by itself, only by hand; the children decide for themselves. */
export function setNeverMountedArguments(dataset: string): ZfsArguments {
  return ['set', 'canmount=noauto', checkedDataset(dataset)];
}

/** Takes back a property that is set on this dataset. */
export function inheritArguments(property: string, dataset: string): ZfsArguments {
  return ['inherit', property, checkedDataset(dataset)];
}

/** Filesystems and volumes directly below a dataset, after itself. */
export function listChildrenArguments(dataset: string): ZfsArguments {
  return ['list', '-Hp', '-o', 'name', '-t', 'filesystem,volume', '-d', '1', checkedDataset(dataset)];
}

/** Destroys a dataset that has neither snapshots nor children; ZFS refuses every other. */
export function destroyEmptyArguments(dataset: string): ZfsArguments {
  return ['destroy', checkedDataset(dataset)];
}

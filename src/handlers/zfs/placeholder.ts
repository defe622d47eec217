import { SnapferryError } from '../../errors.ts';
import type { ZfsTool } from './commands-tool.ts';
import { placeholderProperty } from './names-ours.ts';
import { zfsCause } from './output-failure.ts';
import {
  createPlaceholderArguments,
  destroyEmptyArguments,
  inheritArguments,
  listChildrenArguments,
  setNeverMountedArguments,
} from './receive-commands.ts';
import type { StreamHead } from './receive-stream.ts';
import { readState } from './sink-state.ts';
import type { DatasetState } from './sink-state.ts';

/** How placeholders are made. */
export interface PlaceholderOptions {
  /**
   * Whether a placeholder below an encrypted dataset is encrypted with its key, and with it, by default, what is received
   * below that. Without a choice, none is made there.
   */
  readonly encryption?: 'inherit' | 'off' | undefined;
}

/** What making placeholders takes. */
export interface PlaceholderContext {
  readonly tool: ZfsTool;
  readonly options: PlaceholderOptions;
}

/**
 * Makes the missing parents of a dataset, the highest first: filesystems that hold nothing and are never mounted, marked as ours.
 * What is there stays as it is.
 * @throws SnapferryError `DATASET_NOT_FOUND` if the pool is not there, `INVALID_REQUEST` if encryption has to be chosen or a
 *   parent cannot have children, and as `ZfsTool.run` does
 */
export async function createMissingParents(context: PlaceholderContext, dataset: string): Promise<void> {
  const components = dataset.split('/').slice(0, -1);
  const parents = components.map((_, index) => components.slice(0, index + 1).join('/'));
  const missing: string[] = [];
  let present: DatasetState | null = null;
  while (present === null && parents.length > 0) {
    const parent = parents.pop() ?? '';
    present = await readState(context.tool, parent);
    if (present === null) missing.unshift(parent);
  }
  if (present === null) {
    const pool = components[0] ?? dataset;
    throw new SnapferryError('DATASET_NOT_FOUND', `there is no pool "${pool}"; import it ("zpool import ${pool}")`);
  }
  if (missing.length === 0) return;
  if (present.kind === 'volume') {
    throw new SnapferryError('INVALID_REQUEST', `a parent of ${dataset} is a volume, which has no place for others`);
  }
  const { encryption } = context.options;
  if (present.isEncrypted && encryption === undefined) {
    throw new SnapferryError(
      'INVALID_REQUEST',
      `${missing.join(' and ')} would have to be made below an encrypted dataset: choose whether placeholders there are ` +
        'encrypted as well (placeholder encryption "inherit": then plain streams are received encrypted, with the same key) or ' +
        'not ("off"), or create it yourself',
    );
  }
  for (const placeholder of missing) {
    await createPlaceholder(context.tool, placeholder, { isUnencrypted: present.isEncrypted && encryption === 'off' });
  }
}

/** A user who may create but not mount sees `zfs create` fail after it has created: what is there decides. */
async function createPlaceholder(
  tool: ZfsTool,
  dataset: string,
  options: { readonly isUnencrypted: boolean },
): Promise<void> {
  const doing = `creating ${dataset} so that another dataset has a parent`;
  try {
    await tool.run(createPlaceholderArguments(dataset, options), {
      doing,
      fallback: 'INTERNAL',
      // Somebody else was faster.
      accepts: (stderr) => zfsCause(stderr) === 'dataset_exists',
    });
  } catch (error) {
    const made = await readState(tool, dataset).catch(() => null);
    if (made === null) throw error;
  }
}

/** What has to be done about a dataset that is already there before a first stream can be received in its place. */
export type Replacement =
  /** Nothing is there. */
  | 'none'
  /** A placeholder, in whose place `zfs recv -F` can put the stream; its children stay. */
  | 'force'
  /** A placeholder without children, for which `zfs recv -F` would not do. */
  | 'destroy';

/**
 * Whether a dataset without snapshots is an empty placeholder of ours, which may give way to the real one.
 * @param snapshots how many it has
 */
export function isEmptyPlaceholder(state: DatasetState, snapshots: number): boolean {
  return snapshots === 0 && state.isMarked && state.usedBy === null && !state.isInconsistent;
}

/**
 * How a placeholder gives way to a stream. ZFS replaces neither an encrypted filesystem nor one by an encrypted or a volume: then
 * it has to be destroyed first, which is only done if nothing is below it.
 * @throws SnapferryError `INVALID_REQUEST` saying what to do if neither is possible, and as `ZfsTool.run` does
 */
export async function replacementFor(
  tool: ZfsTool,
  { dataset, state, head }: { readonly dataset: string; readonly state: DatasetState; readonly head: StreamHead },
): Promise<Replacement> {
  if (!state.isEncrypted && !head.isRaw && head.kind === 'filesystem') return 'force';
  const { stdout } = await tool.run(listChildrenArguments(dataset), {
    doing: `looking for datasets below the placeholder ${dataset}`,
    fallback: 'INTERNAL',
  });
  const children = stdout.toString('utf8').split('\n').slice(1, -1);
  if (children.length === 0) return 'destroy';
  const what = head.kind === 'volume' ? 'a volume' : head.isRaw ? 'an encrypted dataset' : 'another dataset';
  throw new SnapferryError(
    'INVALID_REQUEST',
    `${dataset} is ${state.isEncrypted ? 'an encrypted' : 'a'} placeholder with other datasets below it (${children[0] ?? ''}), ` +
      `and ZFS cannot put ${what} in its place. Nothing was changed. Rename what is below it to another place ` +
      `("zfs rename"), destroy the empty ${dataset}, and run again; then rename it back`,
  );
}

/** Destroys a placeholder; ZFS refuses if it has got a child or a snapshot meanwhile. */
export async function destroyPlaceholder(tool: ZfsTool, dataset: string): Promise<void> {
  const doing = `destroying the empty placeholder ${dataset} to receive into its place`;
  await tool.run(destroyEmptyArguments(dataset), { doing, fallback: 'INTERNAL' });
}

/**
 * Takes away what made a dataset a placeholder, after it was replaced. It is not mounted by that: it may from now on, by hand.
 * @param kept properties that were asked for with the receive
 */
export async function unmarkPlaceholder(
  tool: ZfsTool,
  dataset: string,
  { kind, kept }: { readonly kind: StreamHead['kind']; readonly kept: ReadonlySet<string> },
): Promise<void> {
  const doing = `making ${dataset} no placeholder any more`;
  if (kind === 'filesystem') {
    if (!kept.has('canmount')) await tool.run(setNeverMountedArguments(dataset), { doing, fallback: 'INTERNAL' });
    if (!kept.has('mountpoint'))
      await tool.run(inheritArguments('mountpoint', dataset), { doing, fallback: 'INTERNAL' });
  }
  // Last: until then, whoever finds it marked does the rest.
  await tool.run(inheritArguments(placeholderProperty, dataset), { doing, fallback: 'INTERNAL' });
}

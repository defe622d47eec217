import { SnapferryError } from '../../errors.ts';
import type { ZfsTool } from './commands-tool.ts';
import { placeholderProperty } from './names-ours.ts';
import { zfsCause } from './output-failure.ts';
import { datasetStateArguments, stateProperties } from './receive-commands.ts';

/** What a sink must know of a dataset before it receives into it. */
export interface DatasetState {
  readonly kind: 'filesystem' | 'volume' | 'other';
  /** Of a receive that was interrupted, or that is under way: ZFS shows both alike. */
  readonly resumeToken: string | null;
  /** Whether all there is of it is the beginning of a first receive. */
  readonly isInconsistent: boolean;
  readonly isEncrypted: boolean;
  /** Whether it says of itself that it is a placeholder of ours. What it inherits does not count. */
  readonly isMarked: boolean;
  /** Why it can be no placeholder any more, whatever it says of itself; null if it may be one. */
  readonly usedBy: string | null;
}

/** More than an empty dataset takes on any layout of disks. */
const emptyBytesMax = 1024 * 1024;

/** What is there of a dataset; null if nothing. @throws SnapferryError as `ZfsTool.run` does */
export async function readState(tool: ZfsTool, dataset: string, signal?: AbortSignal): Promise<DatasetState | null> {
  const { stdout } = await tool.run(datasetStateArguments(dataset), {
    doing: `looking at ${dataset}`,
    signal,
    fallback: 'INTERNAL',
    accepts: (stderr) => zfsCause(stderr) === 'dataset_not_found',
  });
  return stdout.length === 0 ? null : parseDatasetState(stdout);
}

/**
 * What `datasetStateArguments` prints.
 * @throws SnapferryError `INTERNAL` if it is not understood
 */
export function parseDatasetState(stdout: Buffer): DatasetState {
  const found = new Map<string, { readonly value: string; readonly source: string }>();
  for (const line of stdout.toString('utf8').split('\n')) {
    const [property = '', value, source] = line.split('\t');
    if (value !== undefined && source !== undefined) found.set(property, { value, source });
  }
  const valueOf = (property: string): string => found.get(property)?.value ?? '-';
  const missing = stateProperties.find((property) => !found.has(property));
  if (missing !== undefined) {
    throw new SnapferryError(
      'INTERNAL',
      `zfs did not print the property "${missing}", which this version of it should know`,
    );
  }
  const type = valueOf('type');
  const token = valueOf('receive_resume_token');
  const mark = found.get(placeholderProperty);
  return {
    kind: type === 'filesystem' || type === 'volume' ? type : 'other',
    resumeToken: token === '-' || token === '' ? null : token,
    isInconsistent: valueOf('inconsistent') === '1',
    isEncrypted: !['off', '-'].includes(valueOf('encryption')),
    isMarked: mark?.value === 'on' && mark.source === 'local',
    usedBy: useOf(valueOf),
  };
}

function useOf(valueOf: (property: string) => string): string | null {
  if (valueOf('type') !== 'filesystem') return 'it is no filesystem';
  if (valueOf('canmount') !== 'off') return `its property canmount is "${valueOf('canmount')}"`;
  if (valueOf('mounted') !== 'no') return 'it is mounted';
  if (Number(valueOf('referenced')) > emptyBytesMax) return 'it holds data';
  return null;
}

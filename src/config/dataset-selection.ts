import type { DatasetFilter } from '../dataset-filter.ts';

/** Which datasets are meant: `filesystems` of a job. */
export interface DatasetSelection {
  /** Pattern to whether it is meant, as written, without the leading slash that directories may be written with. */
  readonly rules: Readonly<Record<string, boolean>>;
  /** The same, ready to be asked. A directory is named by the components of its absolute path. */
  readonly filter: DatasetFilter;
}

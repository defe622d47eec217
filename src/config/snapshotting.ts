import type { DatasetSelection } from './dataset-selection.ts';

/** How a job takes snapshots. */
export type Snapshotting =
  | ({ readonly type: 'periodic'; readonly intervalMs: number } & SnapshotNaming)
  | ({
      readonly type: 'cron';
      /** In the syntax of cron (five fields, or six with seconds first), in the time zone of the machine; checked by croner. */
      readonly cron: string;
    } & SnapshotNaming)
  /** It takes none; others do. */
  | { readonly type: 'manual' };

/** What snapshots are called, and what is run around taking them. */
export interface SnapshotNaming {
  /** What the name begins with: by it the snapshots of this job are known again. */
  readonly prefix: string;
  /** What follows the prefix; `formatTimestamp` writes it. */
  readonly timestamp: TimestampFormat;
  /** Run before in this order, afterwards in the opposite one. */
  readonly hooks: readonly SnapshotHook[];
}

/** How the time in the name of a snapshot is written. */
export interface TimestampFormat {
  /** `dense`, `human`, `iso-8601`, `unix-seconds`, or a layout of the reference time `2006-01-02 15:04:05`, as Go has it. */
  readonly format: string;
  /** `UTC`, `Local` (the machine's) or an IANA name such as `Europe/Prague`. */
  readonly location: string;
}

/** A program that is run for each dataset before and after its snapshot is taken. */
export interface SnapshotHook {
  readonly type: 'command';
  /** Absolute. Takes no arguments; what it is run for is in its environment. */
  readonly path: string;
  readonly timeoutMs: number;
  /** Whether no snapshot is taken of a dataset when it fails before. */
  readonly errIsFatal: boolean;
  /** Which datasets it is run for. */
  readonly filesystems: DatasetSelection;
}

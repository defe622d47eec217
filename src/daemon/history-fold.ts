import type { BegunRun, HistoryRecord } from './history-record.ts';
import { emptyJobRecord, recordRun } from './job-record.ts';
import type { JobRecord } from './job-record.ts';

/** What the lines of a history say together. */
export interface HistoryFold {
  /** By name, of every job that the history speaks of. */
  readonly jobs: Map<string, JobRecord>;
  /** Runs without a result, by their ids, in the order in which they began. */
  readonly begun: Map<string, BegunRun>;
}

/** The history of nothing. */
export function emptyHistoryFold(): HistoryFold {
  return { jobs: new Map(), begun: new Map() };
}

/** Adds a record that is newer than all before. */
export function foldHistory({ jobs, begun }: HistoryFold, record: HistoryRecord): void {
  if ('began' in record) {
    begun.set(record.began.run, record.began);
    return;
  }
  const { ended } = record;
  begun.delete(ended.run);
  let job = jobs.get(ended.job);
  if (job === undefined) jobs.set(ended.job, (job = emptyJobRecord(ended.job)));
  recordRun(job, ended);
}

import type { Configuration } from '../config/configuration.ts';
import type { JobStatus } from './daemon-status.ts';
import { foldHistory } from './history-fold.ts';
import { interruptedResult } from './interrupted-run.ts';
import { JobBoard } from './job-board.ts';
import { readHistory } from './read-history.ts';

/** What can be told of the jobs while no daemon runs. */
export interface OfflineStatus {
  /** In the order of the configuration. None is ever running, and none runs next. */
  readonly jobs: readonly JobStatus[];
  /** What of the history could not be read. */
  readonly notices: readonly string[];
}

/**
 * The status of all jobs from the history alone, which is only read.
 * @throws SnapferryError `ACCESS_DENIED` or `INTERNAL` when it cannot be
 */
export async function offlineStatus(configuration: Configuration, nowMs: number): Promise<OfflineStatus> {
  const { fold, notices } = await readHistory(configuration.global.stateDir);
  for (const begun of [...fold.begun.values()]) foldHistory(fold, { ended: interruptedResult(begun) });
  const board = new JobBoard(fold, nowMs);
  const jobs = configuration.jobs.map((job) => board.status(job, { state: 'idle', nextRunMs: null }, nowMs));
  return { jobs, notices };
}

import type { RunResult } from '../jobs/run-result.ts';
import type { BegunRun } from './history-record.ts';

/** The result of a run whose end nobody lived to see. When it ended, and what it had done, is not known. Pure. */
export function interruptedResult({ run, job, cause, identity, beganMs }: BegunRun): RunResult {
  const message =
    'snapferry was killed, or the machine went down, during this run; what had arrived is kept, and the next run goes on';
  return {
    ...{ run, job, cause, identity, beganMs },
    endedMs: beganMs,
    durationMs: 0,
    outcome: 'failed',
    error: { code: 'CANCELLED', message },
    datasets: [],
    bytes: 0,
    retries: 0,
  };
}

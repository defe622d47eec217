import type { DatasetResult, RunResult, RunVersion } from '../../src/jobs/run-result.ts';

/** A snapshot of that time. */
export function runVersion(name: string, creation: string): RunVersion {
  return { name, guid: String(name.length * 1001), creation };
}

/** What a run did with a dataset: everything, unless told otherwise. */
export function datasetResult(dataset: string, other: Partial<DatasetResult> = {}): DatasetResult {
  return {
    dataset,
    target: `backup/${dataset}`,
    error: null,
    steps: 1,
    bytes: 100,
    newest: null,
    snapshot: null,
    pruned: 0,
    notices: [],
    ...other,
  };
}

/** A run that went well, of a second, unless told otherwise. */
export function runResult(run: string, beganMs: number, other: Partial<RunResult> = {}): RunResult {
  return {
    run,
    job: 'web1',
    cause: 'schedule',
    identity: null,
    beganMs,
    endedMs: beganMs + 1000,
    durationMs: 1000,
    outcome: 'ok',
    error: null,
    datasets: [],
    bytes: 0,
    retries: 0,
    ...other,
  };
}

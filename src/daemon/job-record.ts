import type { DatasetResult, RunError, RunResult, RunVersion } from '../jobs/run-result.ts';

/** Something that is wrong, and since when. */
export interface Trouble {
  readonly error: RunError;
  /** Wall clock, ms since 1970. */
  readonly sinceMs: number;
  /** The run in which it began. */
  readonly run: string;
}

/** What is known of a dataset from the runs that are over. */
export interface DatasetRecord {
  readonly dataset: string;
  /** The client it belongs to, of a `sink`; else null. */
  readonly identity: string | null;
  target: string | null;
  newest: RunVersion | null;
  newestAtMs: number | null;
  lastSuccessMs: number | null;
  trouble: Trouble | null;
  /** When a run last spoke of it. */
  mentionedMs: number;
  /** The runs without which this would not be known, for whoever shortens the history. */
  readonly runs: { mentioned: string; succeeded: string | null; arrived: string | null };
}

/** What is known of a job from the runs that are over: the history, folded. */
export interface JobRecord {
  readonly job: string;
  /** When the first run that is known began; null: none is. */
  knownSinceMs: number | null;
  lastRun: RunResult | null;
  /** When a run last began that no client caused. */
  lastBeganMs: number | null;
  lastSuccessMs: number | null;
  /** By what tells datasets of different clients apart; see `datasetKey`. */
  readonly datasets: Map<string, DatasetRecord>;
  /** Of runs as a whole, by the identity of the client; an empty text when there is none. */
  readonly troubles: Map<string, Trouble>;
  /** The runs without which this would not be known. */
  readonly runs: { succeeded: string | null; began: string | null };
}

/** After so long without a word of it in runs that worked, a dataset is forgotten: it is no longer there, or no longer wanted. */
export const forgetAfterMs = 30 * 24 * 3_600_000;

/** A job of which nothing is known yet. */
export function emptyJobRecord(job: string): JobRecord {
  return {
    job,
    knownSinceMs: null,
    lastRun: null,
    lastBeganMs: null,
    lastSuccessMs: null,
    datasets: new Map(),
    troubles: new Map(),
    runs: { succeeded: null, began: null },
  };
}

/** The key of a dataset: two clients of a sink may have datasets of one name. */
export function datasetKey(identity: string | null, dataset: string): string {
  return JSON.stringify([identity, dataset]);
}

/** Adds the result of a run that is newer than all before. */
export function recordRun(record: JobRecord, result: RunResult): void {
  record.knownSinceMs ??= result.beganMs;
  record.lastRun = result;
  if (result.cause !== 'peer') {
    record.lastBeganMs = result.beganMs;
    record.runs.began = result.run;
  }
  if (result.outcome === 'ok') {
    record.lastSuccessMs = result.endedMs;
    record.runs.succeeded = result.run;
  }
  const key = result.identity ?? '';
  // Who cancels a run has found out nothing about what was wrong before.
  if (result.outcome !== 'cancelled') {
    const trouble = troubleAfter(record.troubles.get(key) ?? null, result.error, result.run, result.endedMs);
    if (trouble === null) record.troubles.delete(key);
    else record.troubles.set(key, trouble);
  }
  for (const dataset of result.datasets) recordDataset(record, dataset, result, result.endedMs);
  if (result.error === null && result.outcome !== 'cancelled') forgetTheLost(record, result);
}

/** Adds what a run did with a dataset, also before the run is over. The same again changes nothing. */
export function recordDataset(
  record: JobRecord,
  result: DatasetResult,
  { run, identity }: Pick<RunResult, 'run' | 'identity'>,
  atMs: number,
): void {
  const dataset = datasetOf(record, result.dataset, identity, run, atMs);
  dataset.target = result.target ?? dataset.target;
  dataset.mentionedMs = atMs;
  dataset.runs.mentioned = run;
  if (result.error === null) {
    dataset.lastSuccessMs = atMs;
    dataset.runs.succeeded = run;
  }
  if (result.error?.code !== 'CANCELLED') dataset.trouble = troubleAfter(dataset.trouble, result.error, run, atMs);
  const newest = result.newest ?? takenBy(result, atMs);
  if (newest !== null) recordNewest(dataset, newest, run, atMs);
}

/** Adds that a snapshot has arrived. */
export function recordArrival(
  record: JobRecord,
  name: string,
  { run, identity }: Pick<RunResult, 'run' | 'identity'>,
  version: RunVersion,
  atMs: number,
): void {
  recordNewest(datasetOf(record, name, identity, run, atMs), version, run, atMs);
}

function recordNewest(dataset: DatasetRecord, newest: RunVersion, run: string, atMs: number): void {
  dataset.newest = newest;
  dataset.newestAtMs = atMs;
  dataset.runs.arrived = run;
}

function datasetOf(
  record: JobRecord,
  dataset: string,
  identity: string | null,
  run: string,
  atMs: number,
): DatasetRecord {
  const key = datasetKey(identity, dataset);
  let found = record.datasets.get(key);
  if (found === undefined) {
    found = {
      dataset,
      identity,
      target: null,
      newest: null,
      newestAtMs: null,
      lastSuccessMs: null,
      trouble: null,
      mentionedMs: atMs,
      runs: { mentioned: run, succeeded: null, arrived: null },
    };
    record.datasets.set(key, found);
  }
  return found;
}

/** Of a job that only takes snapshots, nothing arrives anywhere: what it took is the newest there is. */
function takenBy({ snapshot, target }: DatasetResult, atMs: number): RunVersion | null {
  if (snapshot === null || target !== null) return null;
  return { name: snapshot, guid: '', creation: new Date(atMs).toISOString() };
}

function troubleAfter(before: Trouble | null, error: RunError | null, run: string, atMs: number): Trouble | null {
  if (error === null) return null;
  return before?.error.code === error.code ? { ...before, error } : { error, sinceMs: atMs, run };
}

function forgetTheLost(record: JobRecord, { identity, endedMs }: RunResult): void {
  for (const [key, dataset] of record.datasets) {
    if (dataset.identity === identity && endedMs - dataset.mentionedMs > forgetAfterMs) record.datasets.delete(key);
  }
}

/** The runs that a shortened history has to keep, so that it still says the same. */
export function runsBehind(record: JobRecord): Set<string> {
  const runs: (string | null)[] = Object.values(record.runs);
  for (const { run } of record.troubles.values()) runs.push(run);
  for (const dataset of record.datasets.values()) {
    runs.push(...Object.values(dataset.runs), dataset.trouble?.run ?? null);
  }
  return new Set(runs.filter((run) => run !== null));
}

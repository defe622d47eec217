import { randomUUID } from 'node:crypto';
import type { FilesystemVersion } from '../dataset.ts';
import type { Clock } from './clock.ts';
import type { JobEvent, JobEventListener, RunEvent } from './job-events.ts';
import type { DatasetResult, RunCause, RunError, RunResult, RunVersion } from './run-result.ts';

/** Entries of a list in a result: it is stored, and shown on a screen. */
const noticesMax = 100;

type Distributed<T> = T extends unknown ? Omit<T, 'atMs' | 'job' | 'run'> : never;
/** An event of a run without what the ledger knows. */
export type RunNews = Distributed<Extract<JobEvent, RunEvent>>;

/** What has become of one dataset so far. Changed by whoever works on it. */
export interface DatasetRecord {
  readonly dataset: string;
  target: string | null;
  steps: number;
  bytes: number;
  newest: RunVersion | null;
  snapshot: string | null;
  pruned: number;
}

interface Entry extends DatasetRecord {
  error: RunError | null;
  readonly notices: string[];
  isDone: boolean;
}

/** What a ledger begins with. */
export interface RunLedgerOptions {
  readonly job: string;
  readonly cause: RunCause;
  /** Of the client, for the cause `peer`. */
  readonly identity: string | null;
  readonly clock: Clock;
  readonly onEvent: JobEventListener;
}

/** Keeps the account of one run: its events in order, and what becomes its result. */
export class RunLedger {
  readonly run = randomUUID();
  readonly #options: RunLedgerOptions;
  readonly #beganMs: number;
  readonly #beganMonotonicMs: number;
  readonly #entries = new Map<string, Entry>();
  #retries = 0;

  /** Tells `runBegan`. */
  constructor(options: RunLedgerOptions) {
    this.#options = options;
    this.#beganMs = options.clock.nowMs();
    this.#beganMonotonicMs = options.clock.monotonicMs();
    this.tell({ kind: 'runBegan', cause: options.cause, identity: options.identity });
  }

  /** Tells an event. */
  tell(news: RunNews): void {
    if (news.kind === 'retrying') this.#retries += 1;
    const { job, clock, onEvent } = this.#options;
    onEvent({ atMs: clock.nowMs(), job, run: this.run, ...news });
  }

  /** The record of a dataset, by its name at the source. The first time, tells `datasetBegan`. */
  dataset(name: string): DatasetRecord {
    return this.#entry(name);
  }

  /** The datasets that have begun, in that order. */
  names(): string[] {
    return [...this.#entries.keys()];
  }

  /** Something of a dataset has not been done. The first failure counts; the others become notices. */
  fail(name: string, error: RunError): void {
    const entry = this.#entry(name);
    if (entry.error === null) entry.error = error;
    else if (entry.error.message !== error.message) this.notice(name, `${error.message} (${error.code})`);
  }

  /** Something a person should know of a dataset. */
  notice(name: string, text: string): void {
    const { notices } = this.#entry(name);
    if (notices.length < noticesMax) notices.push(text);
    else if (notices.length === noticesMax) notices.push(`and more, left out after ${noticesMax}`);
  }

  /** Nothing more comes of a dataset. Tells `datasetDone` once. */
  done(name: string): void {
    const entry = this.#entry(name);
    if (entry.isDone) return;
    entry.isDone = true;
    this.tell({ kind: 'datasetDone', result: resultOf(entry) });
  }

  /**
   * Ends the run: tells `datasetDone` of what is not done yet, and `runEnded`.
   * @param error of the run as a whole
   * @param wasStopped whether what has not been done was stopped on purpose. Default: whether an error says so
   */
  end(error: RunError | null, wasStopped?: boolean): RunResult {
    for (const name of this.names()) this.done(name);
    const { job, cause, identity, clock } = this.#options;
    const datasets = [...this.#entries.values()].map(resultOf);
    const errors = [error, ...datasets.map((result) => result.error)].filter((one) => one !== null);
    const isCancelled = wasStopped ?? errors.some(({ code }) => code === 'CANCELLED');
    const result: RunResult = {
      run: this.run,
      job,
      cause,
      identity,
      beganMs: this.#beganMs,
      endedMs: clock.nowMs(),
      durationMs: clock.monotonicMs() - this.#beganMonotonicMs,
      outcome: errors.length === 0 ? 'ok' : isCancelled ? 'cancelled' : 'failed',
      error,
      datasets,
      bytes: datasets.reduce((sum, { bytes }) => sum + bytes, 0),
      retries: this.#retries,
    };
    this.tell({ kind: 'runEnded', result });
    return result;
  }

  #entry(name: string): Entry {
    let entry = this.#entries.get(name);
    if (entry === undefined) {
      const nothing = { target: null, error: null, newest: null, snapshot: null };
      entry = { dataset: name, ...nothing, steps: 0, bytes: 0, pruned: 0, notices: [], isDone: false };
      this.#entries.set(name, entry);
      this.tell({ kind: 'datasetBegan', dataset: name });
    }
    return entry;
  }
}

function resultOf({ isDone: _, ...entry }: Entry): DatasetResult {
  return { ...entry, notices: [...entry.notices] };
}

/** A version as plain data. */
export function runVersion({ name, guid, creation }: FilesystemVersion): RunVersion {
  return { name, guid: String(guid), creation: creation ?? '' };
}

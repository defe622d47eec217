import type { TransferProgress } from '../replication/progress.ts';
import type { JobEvent } from '../jobs/job-events.ts';
import type { RunCause, RunError } from '../jobs/run-result.ts';
import type { SessionStatus } from './daemon-status.ts';
import { datasetKey, recordArrival, recordDataset, recordRun } from './job-record.ts';
import type { JobRecord } from './job-record.ts';

/** A dataset in a run that is going on. */
export interface LiveDataset {
  readonly dataset: string;
  step: { from: string | null; to: string; stepIndex: number; stepCount: number } | null;
  progress: TransferProgress | null;
  /** What it waits for before it is tried again. */
  waiting: Waiting | null;
}

/** A wait before something is tried again. */
export interface Waiting {
  readonly error: RunError;
  readonly untilMs: number;
}

/** A run that is going on. */
export interface LiveRun {
  readonly run: string;
  readonly cause: RunCause;
  readonly identity: string | null;
  readonly beganMs: number;
  total: TransferProgress | null;
  datasetsTotal: number | null;
  readonly done: Set<string>;
  /** Datasets that have begun and are not done, by {@link datasetKey}. */
  readonly datasets: Map<string, LiveDataset>;
  retries: number;
  waiting: Waiting | null;
}

/** What a job does at this moment, beside its record. */
export interface LiveJob {
  readonly runs: Map<string, LiveRun>;
  readonly sessions: Map<string, SessionStatus>;
  /** Why it could not be reached, since when, and when last; null: it can be, as far as is known. */
  listening: { readonly error: RunError; readonly sinceMs: number; readonly lastMs: number } | null;
}

/** A job that does nothing. */
export function idleJob(): LiveJob {
  return { runs: new Map(), sessions: new Map(), listening: null };
}

/** Adds an event to what is known of its job. Depends on nothing else; events of runs that are not known to go on are left out. */
export function applyEvent(live: LiveJob, record: JobRecord, event: JobEvent): void {
  switch (event.kind) {
    case 'runBegan':
      live.runs.set(event.run, liveRun(event));
      record.knownSinceMs ??= event.atMs;
      return;
    case 'runEnded':
      live.runs.delete(event.run);
      recordRun(record, event.result);
      return;
    case 'sessionBegan':
    case 'sessionEnded':
    case 'requestDone':
    case 'listenFailed':
      applySessionEvent(live, event);
      return;
    default: {
      const run = live.runs.get(event.run);
      if (run !== undefined) applyRunEvent(run, record, event);
    }
  }
}

type EventOf<Kind extends JobEvent['kind']> = Extract<JobEvent, { readonly kind: Kind }>;

function liveRun({ run, cause, identity, atMs }: EventOf<'runBegan'>): LiveRun {
  return {
    ...{ run, cause, identity, beganMs: atMs },
    ...{ total: null, datasetsTotal: null, retries: 0, waiting: null },
    done: new Set(),
    datasets: new Map(),
  };
}

type EventInRun = Exclude<JobEvent, SessionNews | EventOf<'runBegan' | 'runEnded'>>;

function applyRunEvent(run: LiveRun, record: JobRecord, event: EventInRun): void {
  // Whatever happens, a wait of the run as a whole is over with it.
  run.waiting = null;
  switch (event.kind) {
    case 'snapshotTaken':
    case 'pruned':
      return;
    case 'planned':
      // After a reconnect, what is done already is not in the plan.
      run.datasetsTotal = new Set([...run.done, ...event.datasets.map(({ dataset }) => dataset)]).size;
      return;
    case 'datasetBegan':
      datasetIn(run, event.dataset).waiting = null;
      return;
    case 'stepBegan': {
      const { from, to, stepIndex, stepCount } = event;
      const dataset = datasetIn(run, event.dataset);
      Object.assign(dataset, { step: { from, to, stepIndex, stepCount }, progress: null, waiting: null });
      return;
    }
    case 'bytes':
      datasetIn(run, event.dataset).progress = event.step;
      run.total = event.total;
      return;
    case 'stepDone':
      Object.assign(datasetIn(run, event.dataset), { step: null, progress: null });
      recordArrival(record, event.dataset, run, event.to, event.atMs);
      return;
    case 'retrying': {
      run.retries++;
      const waiting = { error: event.error, untilMs: event.atMs + event.waitMs };
      if (event.dataset === null) run.waiting = waiting;
      else Object.assign(datasetIn(run, event.dataset), { waiting, step: null, progress: null });
      return;
    }
    case 'datasetDone':
      run.datasets.delete(datasetKey(run.identity, event.result.dataset));
      run.done.add(event.result.dataset);
      recordDataset(record, event.result, run, event.atMs);
  }
}

function datasetIn(run: LiveRun, dataset: string): LiveDataset {
  const key = datasetKey(run.identity, dataset);
  let found = run.datasets.get(key);
  if (found === undefined) run.datasets.set(key, (found = { dataset, step: null, progress: null, waiting: null }));
  return found;
}

/** A job tries to listen each minute; one that has failed and says no more of it has succeeded. */
const silenceMsMax = 150_000;

/** Since when a job cannot be reached; null: it can, as far as is known. */
export function stillFailing({ listening }: LiveJob, nowMs: number): number | null {
  if (listening === null) return null;
  return nowMs - listening.lastMs > silenceMsMax ? null : listening.sinceMs;
}

type SessionNews = EventOf<'sessionBegan' | 'sessionEnded' | 'requestDone' | 'listenFailed'>;

function applySessionEvent(live: LiveJob, event: SessionNews): void {
  switch (event.kind) {
    case 'sessionBegan': {
      const { session, identity, address, atMs } = event;
      live.sessions.set(session, { session, identity, address, sinceMs: atMs, request: null, bytes: 0 });
      live.listening = null;
      return;
    }
    case 'sessionEnded':
      live.sessions.delete(event.session);
      return;
    case 'requestDone': {
      const session = live.sessions.get(event.session);
      if (session === undefined) return;
      live.sessions.set(event.session, {
        ...session,
        request: event.request,
        bytes: session.bytes + event.bytes,
      });
      return;
    }
    case 'listenFailed': {
      const { error, atMs } = event;
      live.listening = { error, sinceMs: stillFailing(live, atMs) ?? atMs, lastMs: atMs };
    }
  }
}

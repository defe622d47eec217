import type { Job } from '../config/job.ts';
import { spellDuration } from '../duration.ts';
import type { RunError } from '../jobs/run-result.ts';
import { adviceFor, problemCodes } from './advice.ts';
import type { Problem } from './daemon-status.ts';
import type { DatasetRecord, JobRecord } from './job-record.ts';
import { stillFailing } from './live-job.ts';
import type { LiveJob } from './live-job.ts';

/** What problems are made of. */
export interface ProblemSources {
  readonly job: Job;
  readonly record: JobRecord;
  readonly live: LiveJob;
  /** Since when this job is watched at all: a job that has never run is not stale before its time. */
  readonly watchedSinceMs: number;
  readonly nowMs: number;
}

/** What a person should do something about, the worst first. Pure. */
export function problemsOf(sources: ProblemSources): Problem[] {
  const { job, record, live, nowMs } = sources;
  const found: Problem[] = [];
  const add = (about: Pick<Problem, 'dataset' | 'identity' | 'sinceMs'>, { code, message }: RunError): void => {
    const line = message.split('\n', 1)[0] ?? '';
    found.push({ code, ...about, message: line, advice: adviceFor(code, job) });
  };
  const asAWhole = { dataset: null, identity: null };
  const unreachableMs = stillFailing(live, nowMs);
  if (live.listening !== null && unreachableMs !== null)
    add({ ...asAWhole, sinceMs: unreachableMs }, live.listening.error);
  for (const [identity, { error, sinceMs }] of record.troubles) {
    add({ dataset: null, identity: identity === '' ? null : identity, sinceMs }, error);
  }
  for (const dataset of record.datasets.values()) {
    const about = { dataset: dataset.dataset, identity: dataset.identity };
    if (dataset.trouble !== null) add({ ...about, sinceMs: dataset.trouble.sinceMs }, dataset.trouble.error);
    const stale = staleness(dataset, sources);
    if (stale !== null) add({ ...about, sinceMs: stale.sinceMs }, { code: 'STALE', message: stale.message });
  }
  const stale = stalenessOfAll(sources);
  if (stale !== null) add({ ...asAWhole, sinceMs: stale.sinceMs }, { code: 'STALE', message: stale.message });
  return found.sort((a, b) => rank(a.code) - rank(b.code) || a.sinceMs - b.sinceMs);
}

/** What may have harmed data comes first, then broken promises, then what needs a person, then what may pass. */
const worst: readonly string[] = ['INTERNAL', 'DIGEST_MISMATCH', 'SOURCE_FAILED', 'STALE', 'CONFLICT'];
const mayPass: readonly string[] = [
  ...['CONNECT_FAILED', 'CONNECTION_LOST', 'STREAM_TRUNCATED', 'PEER_SILENT', 'TIMEOUT', 'VERSION_NOT_FOUND'],
  ...['RESUME_TOKEN_INVALID', 'BUSY', 'GOODBYE', 'CANCELLED'],
];
const order = [
  ...worst,
  ...problemCodes.filter((code) => !worst.includes(code) && !mayPass.includes(code)),
  ...mayPass,
];

function rank(code: string): number {
  const found = order.indexOf(code);
  return found < 0 ? worst.length : found;
}

interface Staleness {
  readonly sinceMs: number;
  readonly message: string;
}

/** Whether the newest snapshot of a dataset is older than it may be. */
export function staleness(
  dataset: Pick<DatasetRecord, 'newest' | 'newestAtMs'>,
  { job, watchedSinceMs, record, nowMs }: ProblemSources,
): Staleness | null {
  if (job.staleAfterMs === null) return null;
  const ofMs = timeOf(dataset);
  const sinceMs = (ofMs ?? record.knownSinceMs ?? watchedSinceMs) + job.staleAfterMs;
  if (nowMs <= sinceMs) return null;
  const allowed = `may be ${spellDuration(job.staleAfterMs)} old`;
  if (ofMs === null) return { sinceMs, message: `no snapshot has ever arrived; the newest one ${allowed}` };
  const age = spellDuration(Math.floor((nowMs - ofMs) / 60_000) * 60_000);
  return { sinceMs, message: `the newest snapshot, ${dataset.newest?.name ?? ''}, is ${age} old, and ${allowed}` };
}

/** A job of which no dataset is known brings nothing at all. */
function stalenessOfAll(sources: ProblemSources): Staleness | null {
  if (sources.record.datasets.size > 0) return null;
  return staleness({ newest: null, newestAtMs: null }, sources);
}

/** As its machine claims, but never later than it was seen here: clocks are wrong, and peers may lie. */
function timeOf({ newest, newestAtMs }: Pick<DatasetRecord, 'newest' | 'newestAtMs'>): number | null {
  if (newest === null || newestAtMs === null) return null;
  const claimedMs = Date.parse(newest.creation);
  return Number.isNaN(claimedMs) ? newestAtMs : Math.min(claimedMs, newestAtMs);
}

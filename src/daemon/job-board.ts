import type { Job } from '../config/job.ts';
import type { JobEvent } from '../jobs/job-events.ts';
import type { JobStatus } from './daemon-status.ts';
import type { HistoryFold } from './history-fold.ts';
import { emptyJobRecord } from './job-record.ts';
import type { JobRecord } from './job-record.ts';
import { applyEvent, idleJob } from './live-job.ts';
import type { LiveJob } from './live-job.ts';
import { statusOf } from './status-of.ts';

/** What is known of all jobs: the history, and what has happened since. */
export class JobBoard {
  readonly #records: Map<string, JobRecord>;
  readonly #live = new Map<string, LiveJob>();
  readonly #watchedSinceMs: number;

  /** @param found taken over, and changed from then on */
  constructor(found: HistoryFold, watchedSinceMs: number) {
    this.#records = found.jobs;
    this.#watchedSinceMs = watchedSinceMs;
  }

  /** Adds what has happened. */
  apply(event: JobEvent): void {
    applyEvent(this.#liveOf(event.job), this.record(event.job), event);
  }

  /** Takes note that a job can be reached. */
  listens(job: string): void {
    this.#liveOf(job).listening = null;
  }

  /** What the runs of a job that are over say. */
  record(job: string): JobRecord {
    let found = this.#records.get(job);
    if (found === undefined) this.#records.set(job, (found = emptyJobRecord(job)));
    return found;
  }

  /** Forgets what jobs do that are none any more; what they did is remembered, for they may come back. */
  forgetLive(jobs: ReadonlySet<string>): void {
    for (const job of this.#live.keys()) if (!jobs.has(job)) this.#live.delete(job);
  }

  /** The status of a job. */
  status(job: Job, at: Pick<JobStatus, 'state' | 'nextRunMs'>, nowMs: number): JobStatus {
    const { state, nextRunMs } = at;
    const live = this.#liveOf(job.name);
    const record = this.record(job.name);
    return statusOf({ job, record, live, watchedSinceMs: this.#watchedSinceMs, nowMs, state, nextRunMs });
  }

  #liveOf(job: string): LiveJob {
    let found = this.#live.get(job);
    if (found === undefined) this.#live.set(job, (found = idleJob()));
    return found;
  }
}

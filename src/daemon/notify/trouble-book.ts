import type { RunError, RunResult } from '../../jobs/run-result.ts';
import { subjectKey, tellableTrouble } from './trouble.ts';
import type { Trouble, TroubleSubject } from './trouble.ts';

/** Finds the next thing to do about a trouble. */
export type Advise = (about: TroubleSubject, code: string) => string | null;

const troublesPerJobMax = 1000;

/** Which troubles there are at this moment. Pure: no clock, no files. */
export class TroubleBook {
  readonly #troubles = new Map<string, Trouble>();

  constructor(troubles: Iterable<Trouble> = []) {
    for (const trouble of troubles) this.#troubles.set(subjectKey(trouble), trouble);
  }

  /** All of them, by {@link subjectKey}, oldest first. */
  get troubles(): ReadonlyMap<string, Trouble> {
    return this.#troubles;
  }

  /**
   * Learns from a run that is over. One that went well ends all that was wrong with its job (of a client: with that client's
   * pushes). One that failed says which of its datasets did, and so which did not; when it failed as a whole, those it did not
   * come to stay as they were. One that was cancelled shows nothing about what it did not come to.
   * @returns how many troubles began
   */
  applyRun(result: RunResult, advise: Advise): number {
    const { job, identity, endedMs } = result;
    const failures = new Map<string | null, RunError>();
    const fine = new Set<string>();
    // A run that was killed says so with an error of that code, too; a run that was cancelled is nothing to tell of.
    if (result.error !== null && result.outcome === 'failed') failures.set(null, result.error);
    for (const { dataset, error } of result.datasets) {
      if (error === null) fine.add(dataset);
      else if (error.code !== 'CANCELLED') failures.set(dataset, error);
    }
    const isWhole = result.outcome !== 'cancelled' && result.error === null;
    for (const [key, trouble] of this.#troubles) {
      if (trouble.kind !== 'run' || trouble.job !== job || trouble.identity !== identity) continue;
      if (failures.has(trouble.dataset)) continue;
      if (isWhole || (trouble.dataset !== null && fine.has(trouble.dataset))) this.#troubles.delete(key);
    }
    let began = 0;
    for (const [dataset, { code, message }] of failures) {
      const subject = { kind: 'run', job, identity, dataset } as const;
      if (this.#set({ ...subject, code, message, advice: advise(subject, code), sinceMs: endedMs })) began += 1;
    }
    return began;
  }

  /** A job that serves could not listen. @returns how many troubles began */
  applyListenFailure(job: string, error: RunError, atMs: number, advise: Advise): number {
    const { code, message } = error;
    const subject = listeningOf(job);
    return this.#set({ ...subject, code, message, advice: advise(subject, code), sinceMs: atMs }) ? 1 : 0;
  }

  /** A job that serves is being reached again. @returns whether it was not */
  endListenFailure(job: string): boolean {
    return this.#troubles.delete(subjectKey(listeningOf(job)));
  }

  /** What of these jobs is stale now: what is not among it is so no longer. */
  applyStale(jobs: ReadonlySet<string>, stale: readonly Trouble[]): void {
    const keys = new Set(stale.map(subjectKey));
    for (const [key, { kind, job }] of this.#troubles) {
      if (kind === 'stale' && jobs.has(job) && !keys.has(key)) this.#troubles.delete(key);
    }
    for (const trouble of stale) this.#set(trouble);
  }

  /** Forgets jobs that are not among these. */
  keepJobs(jobs: ReadonlySet<string>): void {
    for (const [key, { job }] of this.#troubles) if (!jobs.has(job)) this.#troubles.delete(key);
  }

  /** True if it is new, or has become another one. */
  #set(trouble: Trouble): boolean {
    const key = subjectKey(trouble);
    const before = this.#troubles.get(key);
    if (before === undefined && this.#countOf(trouble.job) >= troublesPerJobMax) return false;
    // Since when something has been failing matters more than since when it has been failing in this way.
    this.#troubles.set(key, tellableTrouble({ ...trouble, sinceMs: before?.sinceMs ?? trouble.sinceMs }));
    return before?.code !== trouble.code;
  }

  #countOf(job: string): number {
    let count = 0;
    for (const trouble of this.#troubles.values()) if (trouble.job === job) count += 1;
    return count;
  }
}

function listeningOf(job: string): TroubleSubject {
  return { kind: 'listen', job, identity: null, dataset: null };
}

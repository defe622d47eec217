import type { Job } from './job.ts';
import type { ValuePath, YamlSource } from './yaml-source.ts';

/** A job, and where it is written. */
export interface LocatedJob {
  readonly source: YamlSource;
  /** Among the jobs of its file. */
  readonly index: number;
  /** As it is written. */
  readonly written: unknown;
  /** Null if it cannot be used. */
  readonly job: Job | null;
}

/** A job that can be used. */
export type SoundJob = LocatedJob & { readonly job: Job };

/** Those that can be used. */
export function soundJobs(jobs: readonly LocatedJob[]): SoundJob[] {
  return jobs.filter((located): located is SoundJob => located.job !== null);
}

/** Where something of a job is written. */
export function jobPath({ index }: LocatedJob, ...path: ValuePath): ValuePath {
  return ['jobs', index, ...path];
}

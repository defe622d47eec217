import { jobWarnings } from './check-warnings-of-job.ts';
import type { Warn } from './check-warnings-of-job.ts';
import { pairWarnings } from './check-warnings-of-pair.ts';
import type { ConfigurationWarning } from './configuration.ts';
import { jobPath, soundJobs } from './located-job.ts';
import type { LocatedJob } from './located-job.ts';
import type { MainFile } from './main-file.ts';
import { formatPath } from './schema-problems.ts';

/** What a configuration without mistakes may still not be meant to say. */
export function configurationWarnings(jobs: readonly LocatedJob[], main: MainFile): ConfigurationWarning[] {
  const sound = soundJobs(jobs);
  if (sound.length === 0) {
    const message = 'there are no jobs, so there is nothing to do';
    return [{ code: 'no_jobs', job: null, message, text: main.source.at(['jobs'], message).text }];
  }
  const isWatched = (main.data?.global.notifications ?? []).some(({ on }) => on.includes('stale'));
  const warnings: ConfigurationWarning[] = [];
  for (const [index, located] of sound.entries()) {
    const warn: Warn = (code, path, message) => {
      const whole = jobPath(located, ...path);
      return { code, job: located.job.name, message, text: located.source.at(whole, formatPath(whole) + message).text };
    };
    warnings.push(...jobWarnings(located, warn, isWatched));
    for (const other of sound.slice(0, index)) warnings.push(...pairWarnings(located.job, other.job, warn));
  }
  return warnings;
}

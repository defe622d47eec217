import type { Configuration } from '../config/configuration.ts';
import type { Job } from '../config/job.ts';
import { loadConfiguration } from '../config/load-configuration.ts';
import { nearest } from '../config/nearest.ts';
import { systemClock } from '../jobs/clock.ts';
import { createJob } from '../jobs/create-job.ts';
import type { JobEventListener } from '../jobs/job-events.ts';
import { LocalListeners } from '../jobs/local-listeners.ts';
import type { JobDependencies } from '../jobs/runnable-job.ts';
import type { Run } from './run.ts';
import { UsageError } from './usage-error.ts';

/** A job of the configuration, and what it is part of. */
export interface ConfiguredJob {
  readonly job: Job;
  readonly configuration: Configuration;
  readonly dependencies: JobDependencies;
}

/**
 * Finds a job by its name.
 * @throws ConfigurationError for a configuration that cannot be used; UsageError if there is no such job
 */
export function configuredJob(
  { logger }: Pick<Run, 'logger'>,
  { name, file, onEvent = () => undefined }: { name: string; file: string; onEvent?: JobEventListener },
): ConfiguredJob {
  const configuration = loadConfiguration(file);
  const { jobs, global } = configuration;
  const job = jobs.find((one) => one.name === name);
  const localListeners = new LocalListeners();
  if (job !== undefined) {
    return { job, configuration, dependencies: { global, logger, clock: systemClock, onEvent, localListeners } };
  }
  const names = jobs.map((one) => one.name);
  const near = nearest(name, names);
  const hint = near === null ? `there are: ${names.join(', ') || 'none'}` : `did you mean "${near}"?`;
  throw new UsageError(`there is no job "${name}" in ${file}; ${hint}`);
}

/** While work is done, serves the job that this one reaches within the process (`connect: { type: local }`), if it does. */
export async function besideLocalPeer<T>(
  { job, configuration, dependencies }: ConfiguredJob,
  work: () => Promise<T>,
): Promise<T> {
  const connect = 'connect' in job ? job.connect : null;
  const peer = configuration.jobs.find(
    (one) => connect?.type === 'local' && 'serve' in one && isServedBy(one.serve, connect.listenerName),
  );
  const service =
    peer === undefined ? undefined : createJob(peer, { ...dependencies, onEvent: () => undefined }).serve?.();
  try {
    await service?.listening;
    return await work();
  } finally {
    // What it has still to do after the last request, such as pruning what was pushed, belongs to the run.
    await service?.stop(leaveMsMax);
  }
}

/** How long such a job may take to finish. */
const leaveMsMax = 10 * 60_000;

function isServedBy(serve: Extract<Job, { serve: unknown }>['serve'], listenerName: string): boolean {
  return serve.type === 'local' && serve.listenerName === listenerName;
}

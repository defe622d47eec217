import type { Configuration } from '../../config/configuration.ts';
import type { Job } from '../../config/job.ts';
import { createJob } from '../../jobs/create-job.ts';
import { systemClock } from '../../jobs/clock.ts';
import { LocalListeners } from '../../jobs/local-listeners.ts';
import { besideLocalPeer } from '../configured-job.ts';
import type { Machine, SeenError } from './patient.ts';

/** What is rehearsed. */
export interface RehearsalRequest {
  readonly job: Job;
  readonly configuration: Configuration;
  readonly machine: Machine;
}

/** What came of a rehearsal. */
export interface Rehearsal {
  readonly errors: readonly SeenError[];
  /** Whether it got so far that everything it did not find is not there. */
  readonly isWhole: boolean;
}

const rehearsalMsMax = 90_000;

/** Goes through all that a run of the job would do, and changes nothing: the other side is asked what it has. Never rejects. */
export async function rehearse({ job, configuration, machine }: RehearsalRequest): Promise<Rehearsal> {
  const { logger, signal } = machine;
  const { global } = configuration;
  const dependencies = {
    ...{ global, logger, clock: systemClock, onEvent: () => undefined },
    localListeners: new LocalListeners(),
  };
  const limit = AbortSignal.any([signal, AbortSignal.timeout(rehearsalMsMax)]);
  const configured = { job, configuration, dependencies };
  const rehearsed = createJob(job, dependencies);
  const result = await besideLocalPeer(configured, () => rehearsed.run({ cause: 'once', signal: limit, dryRun: true }));
  const errors: SeenError[] = [];
  if (result.error !== null && result.outcome !== 'cancelled') {
    errors.push({ ...result.error, dataset: null, target: null, when: 'now' });
  }
  for (const { dataset, target, error } of result.datasets) {
    if (error !== null && error.code !== 'CANCELLED') errors.push({ ...error, dataset, target, when: 'now' });
  }
  if (limit.aborted && !signal.aborted) {
    const message = `going through the job took more than ${rehearsalMsMax / 1000} s: the other side, or a disk, hardly answers`;
    errors.push({ code: 'TIMEOUT', message, dataset: null, target: null, when: 'now' });
  }
  return { errors, isWhole: result.error === null && result.outcome !== 'cancelled' };
}

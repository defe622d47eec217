import type { Job } from '../config/job.ts';
import { backendOf } from './backend-of.ts';
import type { JobWork } from './job-work.ts';
import { LocalWork } from './local-work.ts';
import { PullWork } from './pull-work.ts';
import { PushWork } from './push-work.ts';
import type { JobDependencies } from './runnable-job.ts';
import { SinkWork } from './sink-work.ts';
import { SnapWork } from './snap-work.ts';
import { SourceWork } from './source-work.ts';
import type { ServingOptions } from './source-work.ts';

/** What a job of that type does. */
export function workOf(
  job: Job,
  dependencies: JobDependencies,
  serving: Pick<ServingOptions, 'runOfPeer' | 'acquireLock'>,
): JobWork {
  const { global, logger, clock } = dependencies;
  const backend = backendOf(job.backend, { tools: global.tools, logger, clock });
  switch (job.type) {
    case 'pull':
      return new PullWork(job, backend, dependencies);
    case 'push':
      return new PushWork(job, backend, dependencies);
    case 'local':
      return new LocalWork(job, backend, dependencies);
    case 'snap':
      return new SnapWork(job, backend, dependencies);
    case 'source':
      return new SourceWork(job, backend, { dependencies, ...serving });
    case 'sink':
      return new SinkWork(job, backend, { dependencies, ...serving });
  }
}

import type { Configuration } from '../config/configuration.ts';
import type { Job } from '../config/job.ts';
import type { Clock } from '../jobs/clock.ts';
import type { JobDependencies, RunnableJob } from '../jobs/runnable-job.ts';
import type { Logger } from '../rpc/interfaces.ts';
import type { InheritedSocket } from '../transport/inherited-sockets.ts';
import type { ConfiguredJobs } from './configured-jobs.ts';
import type { DaemonExtensions } from './daemon-extension.ts';

/** What a daemon is made of. */
export interface DaemonOptions {
  /** Reads the configuration, now and at each reload. What it throws is why it cannot be used. */
  readonly load: () => Configuration;
  /** Makes a configured job one that can be carried out. */
  readonly createJob: (job: Job, dependencies: JobDependencies) => RunnableJob;
  /** Of snapferry, for the status. */
  readonly version: string;
  readonly logger: Logger;
  /** Default: the machine's. */
  readonly clock?: Clock | undefined;
  readonly extensions?: DaemonExtensions | undefined;
  /** What systemd has opened for this process. */
  readonly inheritedSockets?: readonly InheritedSocket[] | undefined;
}

/** What a reload came to. */
export interface ReloadOutcome extends Omit<ConfiguredJobs, 'jobs'> {
  /** What is allowed but probably not meant, as `snapferry configcheck` says it. */
  readonly warnings: readonly string[];
}

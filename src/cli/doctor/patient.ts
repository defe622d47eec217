import type { GlobalSettings } from '../../config/global-settings.ts';
import type { Backend, Job } from '../../config/job.ts';
import type { JobStatus } from '../../daemon/daemon-status.ts';
import type { Logger } from '../../rpc/interfaces.ts';
import type { SeenStatus } from '../status-source.ts';
import type { Finding } from './finding.ts';

/** What the doctor knows of this machine. */
export interface Machine {
  /** Null: there is no configuration; then nothing of a daemon is known either. */
  readonly seen: SeenStatus | null;
  readonly stateDir: string | null;
  /** Of the configuration; null without one. */
  readonly jobNames: readonly string[] | null;
  readonly tools: GlobalSettings['tools'];
  /** Who looks. */
  readonly user: { readonly name: string; readonly isRoot: boolean };
  /** `/proc/locks`, or nothing where there is no such thing. */
  readonly readLocks: () => Promise<string>;
  readonly nowMs: number;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

/** Where data of a patient is on this machine. */
export interface StoragePlace {
  readonly backend: Backend;
  /** A ZFS dataset, or an absolute directory. */
  readonly path: string;
  /** `source`: what is taken snapshots of; `target`: below which copies are stored; `either`: not known. */
  readonly role: 'source' | 'target' | 'either';
  /** Whether what is below it is meant, too. */
  readonly isRecursive: boolean;
}

/** An error of a job, and whence it is known. */
export interface SeenError {
  readonly code: string;
  readonly message: string;
  /** Null: of the job as a whole. */
  readonly dataset: string | null;
  /** Where its copy is, as far as known. */
  readonly target: string | null;
  /** `now`: the job was rehearsed, and failed. */
  readonly when: 'now' | 'earlier';
}

/** What is examined: a job, or a place on this machine. */
export interface Patient {
  /** Of the job, or the place as it was given. */
  readonly name: string;
  readonly job: Job | null;
  readonly status: JobStatus | null;
  readonly places: readonly StoragePlace[];
  readonly errors: readonly SeenError[];
  /** Where it can be told: copies that are known, as their backend writes them. */
  readonly copies: readonly string[];
  readonly machine: Machine;
}

/** One kind of trouble the doctor can find. A new one is a module with one of these, and a line in `checks.ts`. */
export interface DoctorCheck {
  readonly name: string;
  /** Changes nothing. What it throws is shown as something that could not be examined. */
  readonly examine: (patient: Patient) => Promise<readonly Finding[]> | readonly Finding[];
}

/** Whether the job is at work at this moment, as far as a daemon tells. */
export function isAtWork({ status }: Patient): boolean {
  return status !== null && status.runs.length > 0;
}

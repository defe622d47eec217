import type { GlobalSettings } from './global-settings.ts';
import type { Job } from './job.ts';

/** Where the configuration is unless told otherwise. */
export const configurationFileDefault = '/etc/snapferry/snapferry.yml';

/**
 * A configuration that was read, checked as a whole, and has every default filled in. Nothing in it is undefined: what is not set is
 * null. Durations are in ms, sizes in bytes. Made by `loadConfiguration` and `readConfiguration`.
 */
export interface Configuration {
  /** The main file, as it was named. */
  readonly file: string;
  /** The main file and every included one, absolute, in the order read: what has to be watched for changes. */
  readonly files: readonly string[];
  readonly global: GlobalSettings;
  /** In the order of the files; names are unique. */
  readonly jobs: readonly Job[];
  /** What is allowed but probably not meant. */
  readonly warnings: readonly ConfigurationWarning[];
}

/** Something that works, but that a person should look at before relying on it. */
export interface ConfigurationWarning {
  readonly code: WarningCode;
  /** Of the job it is about; null when it is about no single one. */
  readonly job: string | null;
  /** What it is, and what to do. One line. */
  readonly message: string;
  /** The message with `file:line:column:` before it, the line itself and a mark below the place. Several lines. */
  readonly text: string;
}

/**
 * Stable names of warnings.
 * - `no_pruning`: snapshots are taken or received, and nothing here ever removes one.
 * - `prunes_unreplicated`: the sending side may remove snapshots that were never replicated.
 * - `prunes_last_common`: the last snapshot that both sides have may be removed, and nothing marks it.
 * - `pruned_twice`: two jobs prune the same datasets by different rules.
 * - `shared_target`: two jobs may store into the same place.
 * - `sink_in_source`: a job takes snapshots of the copies that another one stores.
 * - `never_runs`: nothing but a wakeup ever starts the job.
 * - `never_stale`: nobody would be told that the job has stopped bringing new snapshots, though others are watched.
 * - `no_jobs`: there is nothing to do.
 */
export type WarningCode =
  | 'no_pruning'
  | 'prunes_unreplicated'
  | 'prunes_last_common'
  | 'pruned_twice'
  | 'shared_target'
  | 'sink_in_source'
  | 'never_runs'
  | 'never_stale'
  | 'no_jobs';

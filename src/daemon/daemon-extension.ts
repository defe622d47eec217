import type { Configuration } from '../config/configuration.ts';
import type { Clock } from '../jobs/clock.ts';
import type { JobEventListener } from '../jobs/job-events.ts';
import type { Logger } from '../rpc/interfaces.ts';
import type { DaemonStatus } from './daemon-status.ts';

/** What an extension sees of the daemon it belongs to. Usable until the extension is disposed of. */
export interface DaemonExtensionContext {
  /** The configuration at work; another one after a reload. */
  readonly configuration: () => Configuration;
  /** Calls after each reload that changed the configuration, until the returned function is called. */
  readonly onReload: (listener: (configuration: Configuration) => void) => () => void;
  /**
   * Subscribes to the events of every job, until the returned function is called. When a listener is called, `status()` already
   * knows of the event. One that throws is logged, and the others are called none the less.
   */
  readonly subscribe: (listener: JobEventListener) => () => void;
  /** Everything as it is at this moment, also what earlier daemons left in the history. */
  readonly status: () => DaemonStatus;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Something that is told what the daemon does, and changes nothing of it: metrics, notifications. */
export interface DaemonExtension {
  /** For the log. */
  readonly name: string;
  /**
   * Begins, before any job has run. One that rejects is logged as an error, and the daemon goes on without it: copies matter more
   * than what is told of them. What it resolves with is disposed of once when the daemon stops, after the last event; the daemon
   * waits for that, at most for ten seconds.
   */
  readonly start: (context: DaemonExtensionContext) => Promise<AsyncDisposable>;
}

/** All of them, in the order in which they begin; they end in the opposite one. */
export type DaemonExtensions = readonly DaemonExtension[];

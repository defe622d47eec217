import type { ConnectSettings, ServeSettings } from './connection-settings.ts';
import type { DatasetSelection } from './dataset-selection.ts';
import type { PruningSettings } from './pruning-settings.ts';
import type { Schedule } from './schedule.ts';
import type { Snapshotting } from './snapshotting.ts';
import type { InitialReplication, ReceiveSettings, ReplicationSettings, SendSettings } from './transfer-settings.ts';

/** What stores the datasets of a job on this machine. */
export type Backend = 'zfs' | 'btrfs' | 'directory';

/** One configured job. Branch on `type`. */
export type Job = PullJob | PushJob | SourceJob | SinkJob | SnapJob | LocalJob;

/** What every job has. */
export interface JobCore {
  /**
   * Unique. Letters, digits, `_`, `.`, `:` and `-`, beginning with a letter or digit, at most 100: it is part of the names of holds
   * and cursors, so that a job that is renamed begins without any.
   */
  readonly name: string;
  readonly backend: Backend;
  /** How old the newest snapshot that has arrived (or, of a `snap` or `source` job, was taken) may be, in ms; null: not watched. */
  readonly staleAfterMs: number | null;
  /** `sender`: what this job removes of its own snapshots; `receiver`: what it removes of the copies it stores. */
  readonly pruning: PruningSettings;
}

/** A job that has datasets of this machine: `push`, `source`, `snap` and `local`. */
export interface SendingJob extends JobCore {
  readonly filesystems: DatasetSelection;
  readonly snapshotting: Snapshotting;
  /** Backend `directory`: what is left out of every snapshot, in the syntax of `.gitignore`. Else empty. */
  readonly exclude: readonly string[];
  /** Backend `btrfs`: the folder for snapshots, by name beside the subvolume or absolute; null: the backend's own choice. */
  readonly snapshotFolder: string | null;
}

/** A job that stores copies on this machine: `pull`, `sink` and `local`. */
export interface ReceivingJob extends JobCore {
  /**
   * Below which everything is stored: a ZFS dataset (`backup/web1`), or with another backend an absolute directory. `pull` and
   * `local`: in `rootFs/PATH`; `sink`: in `rootFs/IDENTITY/PATH`, with PATH the name of the dataset at its source.
   */
  readonly rootFs: string;
  readonly recv: ReceiveSettings;
}

/** A job that runs replications: `pull`, `push` and `local`. */
export interface ActiveJob extends JobCore {
  /** When it runs by itself. A job that takes snapshots also runs after each time it has taken some. */
  readonly schedule: Schedule;
  readonly replication: ReplicationSettings;
  readonly initialReplication: InitialReplication;
}

/** Fetches from a `source` on another machine. */
export interface PullJob extends ReceivingJob, ActiveJob {
  readonly type: 'pull';
  readonly connect: ConnectSettings;
  /** Which of the datasets on offer are wanted, by their names at the source. */
  readonly filesystems: DatasetSelection;
}

/** Sends to a `sink` on another machine. */
export interface PushJob extends SendingJob, ActiveJob {
  readonly type: 'push';
  readonly connect: ConnectSettings;
  readonly send: SendSettings;
}

/** Offers datasets to a `pull` on another machine. */
export interface SourceJob extends SendingJob {
  readonly type: 'source';
  readonly serve: ServeSettings;
  readonly send: SendSettings;
  /** Only `protection` can be set for a source; the rest has its defaults. */
  readonly replication: ReplicationSettings;
}

/** Stores what the `push` of another machine sends. */
export interface SinkJob extends ReceivingJob {
  readonly type: 'sink';
  readonly serve: ServeSettings;
}

/** Takes and removes snapshots, and replicates nothing. */
export interface SnapJob extends SendingJob {
  readonly type: 'snap';
}

/** Source and sink in one: copies between two places of this machine. */
export interface LocalJob extends SendingJob, ReceivingJob, ActiveJob {
  readonly type: 'local';
  readonly send: SendSettings;
}

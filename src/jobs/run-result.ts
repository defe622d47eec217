/** Why a run began: by its schedule, because somebody asked, because snapshots were taken, or (a sink) because a client pushes. */
export type RunCause = 'schedule' | 'wakeup' | 'snapshots' | 'once' | 'peer';

/** What went wrong, as plain data. */
export interface RunError {
  /** A `SnapferryError` code, or `CONFLICT`. */
  readonly code: string;
  readonly message: string;
}

/** A snapshot, as plain data. */
export interface RunVersion {
  readonly name: string;
  /** Decimal, for it does not fit into a number. */
  readonly guid: string;
  /** RFC 3339, as its machine claims; empty when unknown. */
  readonly creation: string;
}

/** What a run did with one dataset. */
export interface DatasetResult {
  /** Its name at the source, for people: as its backend writes it. */
  readonly dataset: string;
  /** Where its copy is; null for a run that only takes or removes snapshots. */
  readonly target: string | null;
  /** Null: everything was done. */
  readonly error: RunError | null;
  /** Snapshots that arrived. */
  readonly steps: number;
  /** Payload bytes. */
  readonly bytes: number;
  /** The newest snapshot that source and target have in common after the run; null when unknown or none. */
  readonly newest: RunVersion | null;
  /** Name of the snapshot this run took; null for none. */
  readonly snapshot: string | null;
  /** Snapshots removed by retention on this machine, of both sides. */
  readonly pruned: number;
  /** What a person should know although nothing failed: files that could not be read, datasets left out. */
  readonly notices: readonly string[];
}

/** A run that is over: one line of the history. Plain data, may be stored and sent as JSON. */
export interface RunResult {
  /** Unique. */
  readonly run: string;
  readonly job: string;
  readonly cause: RunCause;
  /** Identity of the client, for cause `peer`; else null. */
  readonly identity: string | null;
  /** Wall clock, ms since 1970. */
  readonly beganMs: number;
  readonly endedMs: number;
  /** By a clock that does not jump. */
  readonly durationMs: number;
  /** `failed`: of the run as a whole, or at least one dataset. `cancelled`: somebody stopped it; what had arrived is kept. */
  readonly outcome: 'ok' | 'failed' | 'cancelled';
  /** Of the run as a whole, such as a connection that did not come about. Null: see the datasets. */
  readonly error: RunError | null;
  readonly datasets: readonly DatasetResult[];
  readonly bytes: number;
  /** How often something was tried again. */
  readonly retries: number;
}

import type { RunLedger } from './run-ledger.ts';
import type { RunCause, RunResult } from './run-result.ts';
import type { JobService } from './runnable-job.ts';
import type { RunContext } from './sending-side.ts';

/** What a type of job does. */
export interface JobWork {
  /** Does once what the job is there for. What fails with one dataset is in the ledger. @throws SnapferryError what fails as a whole */
  run(cause: RunCause, context: RunContext): Promise<void>;
  /** As `RunnableJob.nextSnapshotMs`. */
  nextSnapshotMs(signal: AbortSignal): Promise<number | null>;
  /** Reads what other runs have left, once the lock of the job was taken. */
  load(): Promise<void>;
  serve?(): JobService;
}

/** A run that a client causes. */
export interface PeerRun {
  readonly work: JobWork;
  readonly body: (ledger: RunLedger) => Promise<void>;
}

/** Keeps the account of such a run. Never rejects. */
export type RunOfPeer = (identity: string, run: PeerRun) => Promise<RunResult>;

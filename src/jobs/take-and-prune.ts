import { assertNotCancelled } from './prune-dataset.ts';
import type { RunCause } from './run-result.ts';
import type { RunContext, SendingSide } from './sending-side.ts';

/** Whether a run takes snapshots: the schedule of an active job is that of replication only. */
export function takesSnapshots(cause: RunCause): boolean {
  return cause !== 'schedule' && cause !== 'peer';
}

/** A run of a job that only looks after its own snapshots. @throws SnapferryError what fails as a whole */
export async function takeAndPrune(sending: SendingSide, cause: RunCause, context: RunContext): Promise<void> {
  const datasets = await sending.datasets(context.signal);
  if (takesSnapshots(cause)) await sending.takeSnapshots(datasets, context);
  assertNotCancelled(context.signal, 'the run');
  await sending.prune(datasets, new Map(), context);
  assertNotCancelled(context.signal, 'the run');
}

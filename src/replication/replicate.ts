import pLimit from 'p-limit';
import { createEventQueue } from './event-queue.ts';
import { failureOf } from './failure.ts';
import { linkedSignal } from './linked-signal.ts';
import { planWith } from './plan-replication.ts';
import type { Replication, ReplicateOptions } from './replication.ts';
import { runFilesystem } from './run-filesystem.ts';
import type { Run } from './run-filesystem.ts';
import { createRunProgress } from './run-progress.ts';
import type { PullReport } from '../rpc/interfaces.ts';

/**
 * Brings the sink up to date with the source: plans everything first, exactly as `planReplication` does, then runs it,
 * dataset by dataset. A dataset that fails does not stop the others, unless the connection to the source is dead: then
 * the rest fail with what killed it. What was committed stays committed, and what was interrupted can be resumed by the
 * next run where the backends can. Begins at once; see {@link Replication} for how to look and how to wait.
 */
export function replicate(options: ReplicateOptions): Replication {
  const queue = createEventQueue();
  const now = options.now ?? (() => performance.now());
  const progress = createRunProgress(now);
  const { signal, unlink } = linkedSignal(options.signal);
  const run: Run = { options: { ...options, signal }, now, progress, emit: (event) => queue.push(event), lost: null };
  const report = execute(run)
    .finally(unlink)
    .then(
      (result) => {
        queue.end();
        return result;
      },
      (error: unknown) => {
        const failure = failureOf(error, 'replicating', options.signal);
        queue.end(failure);
        throw failure;
      },
    );
  // Whoever only iterates gets the same error there.
  report.catch(() => {});
  return { report, progress: () => progress.read(), [Symbol.asyncIterator]: () => queue.events };
}

async function execute(run: Run): Promise<PullReport> {
  const { options, emit } = run;
  const plan = await planWith(options, (filesystem, error) => emit({ kind: 'retrying', filesystem, error }));
  run.progress.planned(plan);
  emit({ kind: 'planned', plan });
  const limit = pLimit(options.concurrency ?? 1);
  const filesystems = await Promise.all(plan.filesystems.map((planned) => limit(() => runFilesystem(run, planned))));
  return { filesystems };
}

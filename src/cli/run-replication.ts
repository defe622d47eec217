import { quoteForShell } from '../transport/ssh.ts';
import { plan } from './plan.ts';
import { pull } from './pull.ts';
import { push } from './push.ts';
import { tellOutcome } from './replication-outcome.ts';
import { replicationRequest } from './replication-request.ts';
import type { ReplicationFlags } from './replication-request.ts';
import { runCommand } from './run.ts';

/** Runs `pull` or `push`, or their plan for `--dry-run`. */
export function runReplication(
  direction: 'pull' | 'push',
  source: string,
  target: string,
  flags: ReplicationFlags,
): Promise<void> {
  return runCommand({
    output: flags,
    doing: `${direction} ${source} to ${target}`,
    async body(run) {
      const request = replicationRequest(direction, source, target, flags);
      if (flags.dryRun === true) return plan(run, request);
      const outcome = await (direction === 'pull' ? pull : push)(run, request);
      const isWhole = outcome.report?.filesystems.every((result) => result.ok) ?? true;
      if (!isWhole) run.signal.throwIfAborted();
      return tellOutcome(run, request, outcome);
    },
    onInterrupted: () =>
      `what has arrived whole at ${target} is kept and not sent again; to go on, run the same command:\n` +
      `  snapferry ${process.argv.slice(2).map(quoteForShell).join(' ')}`,
  });
}

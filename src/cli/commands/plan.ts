import type { Command } from 'commander';
import { parseLocation } from '../location.ts';
import { addExamples } from '../options.ts';
import { plan } from '../plan.ts';
import { addReplicationOptions, replicationRequest } from '../replication-request.ts';
import type { ReplicationFlags } from '../replication-request.ts';
import { runCommand } from '../run.ts';

/** `snapferry plan SOURCE TARGET`. */
export function configure(command: Command): void {
  addReplicationOptions(command)
    .option('--push', 'plan a push; default when only the target is on another machine')
    .action((source: string, target: string) => {
      const flags = command.opts<ReplicationFlags & { push?: boolean }>();
      return runCommand({
        output: flags,
        doing: `plan ${source} to ${target}`,
        body(run) {
          const isPush = flags.push === true || parseLocation(target).kind === 'remote';
          return plan(run, replicationRequest(isPush ? 'push' : 'pull', source, target, flags));
        },
      });
    });
  addExamples(command, [
    ['web1:/srv/data /backup/web1', 'what would a pull fetch?'],
    ['/srv/data vault:/backup/web1', 'what would a push send?'],
    ['--json --initial all ./work ./backup', 'for a program to read'],
  ]);
}

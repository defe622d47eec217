import type { Command } from 'commander';
import { addExamples } from '../options.ts';
import { addReplicationOptions } from '../replication-request.ts';
import type { ReplicationFlags } from '../replication-request.ts';

/** `snapferry push SOURCE TARGET`. */
export function configure(command: Command): void {
  addReplicationOptions(command)
    .option('-n, --dry-run', 'only show what would be done, as plan does')
    .action(async (source: string, target: string) => {
      const { runReplication } = await import('../run-replication.ts');
      return runReplication('push', source, target, command.opts<ReplicationFlags>());
    });
  addExamples(command, [
    ['/srv/data backup@vault:web1', 'send a directory to another machine'],
    ['--ssh-port 2222 -i ~/.ssh/backup_key /srv/data vault:/backup/web1', 'with a key and a port of its own'],
    ['--dry-run /srv/data vault:/backup/web1', 'see first what would be sent'],
  ]);
}

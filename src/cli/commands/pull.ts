import type { Command } from 'commander';
import { addExamples } from '../options.ts';
import { addReplicationOptions } from '../replication-request.ts';
import type { ReplicationFlags } from '../replication-request.ts';

/** `snapferry pull SOURCE TARGET`. */
export function configure(command: Command): void {
  addReplicationOptions(command)
    .option('-n, --dry-run', 'only show what would be done, as plan does')
    .action(async (source: string, target: string) => {
      const { runReplication } = await import('../run-replication.ts');
      return runReplication('pull', source, target, command.opts<ReplicationFlags>());
    });
  addExamples(command, [
    ['./some-directory ./backup', 'back up a directory of this machine'],
    ['web1:/srv/data /backup/web1', 'fetch one from another machine'],
    ["--exclude '*.tmp' --exclude /cache/ ~/work /backup/work", 'leave out what is not worth keeping'],
    ['-r web1:zfs:tank/home zfs:backup/web1', 'a ZFS dataset with all below it'],
    ['/backup/web1 /mnt/usb/web1', 'copy a copy, with what is new in it'],
  ]);
}

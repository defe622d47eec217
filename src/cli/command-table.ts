import type { Command } from 'commander';

/** What the module of a command exports: it adds arguments, options, examples and the action. */
export interface CommandModule {
  readonly configure: (command: Command) => void;
}

/** A command as the overview shows it; the rest is loaded when it is asked for. */
export interface CommandEntry {
  readonly name: string;
  readonly group: string;
  readonly summary: string;
  /** Its arguments, as commander writes them. */
  readonly usage: string;
  readonly load: () => Promise<CommandModule>;
}

const replication = 'Replication:';
const snapshots = 'Snapshots:';
const servers = 'The other end:';
const jobs = 'Jobs:';
const configuration = 'Configuration:';

/** All commands, in the order of the overview. */
export const commandTable: readonly CommandEntry[] = [
  {
    name: 'pull',
    group: replication,
    summary: 'bring a TARGET on this machine up to date with SOURCE',
    usage: '[options] <source> <target>',
    load: () => import('./commands/pull.ts'),
  },
  {
    name: 'push',
    group: replication,
    summary: 'bring TARGET up to date with a SOURCE on this machine',
    usage: '[options] <source> <target>',
    load: () => import('./commands/push.ts'),
  },
  {
    name: 'plan',
    group: replication,
    summary: 'show what pull or push would do, changing nothing',
    usage: '[options] <source> <target>',
    load: () => import('./commands/plan.ts'),
  },
  {
    name: 'snapshot',
    group: snapshots,
    summary: 'take a snapshot of a directory or dataset, if anything has changed',
    usage: '[options] <location>',
    load: () => import('./commands/snapshot.ts'),
  },
  {
    name: 'list',
    group: snapshots,
    summary: 'list the snapshots and bookmarks of a directory or dataset, or of a copy',
    usage: '[options] <location>',
    load: () => import('./commands/list.ts'),
  },
  {
    name: 'restore',
    group: snapshots,
    summary: 'get files, or a whole dataset, back out of a snapshot',
    usage: '[options] <location[@snapshot]> [path...]',
    load: () => import('./commands/restore.ts'),
  },
  {
    name: 'verify',
    group: snapshots,
    summary: 'read a whole snapshot of a directory and compare it with its manifest',
    usage: '[options] <location[@snapshot]>',
    load: () => import('./commands/verify.ts'),
  },
  {
    name: 'holds',
    group: snapshots,
    summary: 'list the holds and replication cursors that snapferry keeps',
    usage: '[options] [location]',
    load: () => import('./commands/holds.ts'),
  },
  {
    name: 'release',
    group: snapshots,
    summary: 'remove them, of a job that is over',
    usage: '[options] <location>',
    load: () => import('./commands/release.ts'),
  },
  {
    name: 'serve',
    group: servers,
    summary: 'answer one connection over stdin and stdout; what ssh runs',
    usage: '--stdio [options] <location>',
    load: () => import('./commands/serve.ts'),
  },
  {
    name: 'stdinserver',
    group: servers,
    summary: 'the same within limits, as a forced command in authorized_keys',
    usage: '[options] <identity>',
    load: () => import('./commands/stdinserver.ts'),
  },
  {
    name: 'run',
    group: jobs,
    summary: 'run a job of the configuration once, without the daemon',
    usage: '[options] <job>',
    load: () => import('./commands/run.ts'),
  },
  {
    name: 'test',
    group: jobs,
    summary: 'show which datasets a job means, or what it would keep',
    usage: 'filesystems | retention [options] <job>',
    load: () => import('./commands/test.ts'),
  },
  {
    name: 'daemon',
    group: jobs,
    summary: 'run the jobs of the configuration, in the foreground',
    usage: '[options]',
    load: () => import('./commands/daemon.ts'),
  },
  {
    name: 'status',
    group: jobs,
    summary: 'show what the jobs do, what is wrong, and what to do about it',
    usage: '[options] [job]',
    load: () => import('./commands/status.ts'),
  },
  {
    name: 'doctor',
    group: jobs,
    summary: 'explain what is stuck, with the commands that cure it',
    usage: '[options] [job|location]',
    load: () => import('./commands/doctor.ts'),
  },
  {
    name: 'check',
    group: jobs,
    summary: 'say in one line whether all is well, for monitoring and cron',
    usage: '[options] [job]',
    load: () => import('./commands/check.ts'),
  },
  {
    name: 'signal',
    group: jobs,
    summary: 'have the daemon run, cancel or reset a job',
    usage: '[options] <job> wakeup | cancel | reset',
    load: () => import('./commands/signal.ts'),
  },
  {
    name: 'reload',
    group: jobs,
    summary: 'have the daemon go over to the configuration as it is now',
    usage: '[options]',
    load: () => import('./commands/reload.ts'),
  },
  {
    name: 'configcheck',
    group: configuration,
    summary: 'say whether the configuration is right, and what is wrong with it',
    usage: '[options]',
    load: () => import('./commands/configcheck.ts'),
  },
  {
    name: 'config',
    group: configuration,
    summary: 'print the schema of the configuration, or import one of zrepl',
    usage: 'schema | import [options] <zrepl.yml>',
    load: () => import('./commands/config.ts'),
  },
  {
    name: 'completion',
    group: configuration,
    summary: 'print what a shell needs to complete command lines',
    usage: 'bash | zsh | fish',
    load: () => import('./commands/completion.ts'),
  },
];

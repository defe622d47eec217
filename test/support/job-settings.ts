import { readConfiguration } from '../../src/config/load-configuration.ts';
import type { Configuration } from '../../src/config/configuration.ts';
import type { Job } from '../../src/config/job.ts';

/** A configuration, written as people write it. */
export function configurationOf(text: string, file = '/etc/snapferry/test.yml'): Configuration {
  return readConfiguration(text, file);
}

/** The first job of a configuration. */
export function jobOf(text: string): Job {
  const [job] = configurationOf(`jobs:\n${text}`).jobs;
  if (job === undefined) throw new Error('no job in it');
  return job;
}

/** A job that pulls from another machine, on that schedule. */
export function pullJob(name: string, schedule = 'interval: 1h', more = ''): Job {
  return jobOf(pullText(name, schedule, more));
}

/** The same, to be put below `jobs:`. */
export function pullText(name: string, schedule = 'interval: 1h', more = ''): string {
  return `
  - name: ${name}
    type: pull
    backend: directory
    connect: { type: unix, path: /run/${name} }
    root_fs: /backup/${name}
    ${schedule}
    pruning: { keep_receiver: [{ type: regex, regex: '.*' }] }
    ${more}
`;
}

/** A job that takes snapshots, so written below `jobs:`. */
export function snapText(name: string, snapshotting: string): string {
  return `
  - name: ${name}
    type: snap
    backend: directory
    filesystems: { /srv/${name}: true }
    snapshotting: ${snapshotting}
    pruning: { keep: [{ type: last_n, count: 10 }] }
`;
}

/** A job that stores what others push, so written below `jobs:`. */
export function sinkText(name: string): string {
  return `
  - name: ${name}
    type: sink
    backend: directory
    serve: { type: unix, path: /run/${name}, client_identity: ${name} }
    root_fs: /backup/${name}
    pruning: { keep: [{ type: last_n, count: 10 }] }
`;
}

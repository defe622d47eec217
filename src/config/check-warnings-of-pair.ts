import { pathOf } from './check-jobs.ts';
import { isReceiving, isSending, keepsEverything, lastCommon, protectsNothing } from './check-warnings-of-job.ts';
import type { Warn } from './check-warnings-of-job.ts';
import type { ConfigurationWarning } from './configuration.ts';
import type { ServeSettings } from './connection-settings.ts';
import type { Job, ReceivingJob, SendingJob } from './job.ts';
import { selectionOverlap } from './selection-overlap.ts';
import type { ValuePath } from './yaml-source.ts';

/** What may not be meant of two jobs together. Said of the first. */
export function pairWarnings(job: Job, other: Job, warn: Warn): ConfigurationWarning[] {
  if (job.backend !== other.backend) return [];
  const warnings: ConfigurationWarning[] = [];
  if (isSending(job) && isSending(other)) warnings.push(...sendersWarnings(job, other, warn));
  if (isReceiving(job) && isReceiving(other) && !areApart(job, other)) {
    warnings.push(
      warn(
        'shared_target',
        ['root_fs'],
        `"${job.rootFs}" and "${other.rootFs}" of the job "${other.name}" lie in one another, so that both may store a dataset in the same place`,
      ),
    );
  }
  warnings.push(...copiesWarnings(job, other, (path, message) => warn('sink_in_source', path, message)));
  return warnings;
}

function sendersWarnings(job: Job & SendingJob, other: Job & SendingJob, warn: Warn): ConfigurationWarning[] {
  const common = selectionOverlap(job.filesystems, other.filesystems);
  if (common === null) return [];
  const place = common.length === 0 ? 'any dataset' : common.join('/');
  const warnings: ConfigurationWarning[] = [];
  const [one, two] = [job, other].map((each) =>
    each.pruning.sender === null || keepsEverything(each.pruning.sender) ? null : each.pruning.sender,
  );
  if (one && two) {
    warnings.push(
      warn(
        'pruned_twice',
        ['pruning'],
        `the job "${other.name}" also removes snapshots of ${place}: what one keeps the other may remove; let one of them do it`,
      ),
    );
  }
  const [pruner, replicator] =
    one && protectsNothing(other) ? [job, other] : two && protectsNothing(job) ? [other, job] : [];
  if (pruner && replicator) {
    warnings.push(
      warn(
        'prunes_last_common',
        ['pruning'],
        `the job "${pruner.name}" removes snapshots of ${place} without regard to "${replicator.name}", which protects nothing: ${lastCommon}`,
      ),
    );
  }
  if (job.type === 'push' && other.type === 'push' && JSON.stringify(job.connect) === JSON.stringify(other.connect)) {
    warnings.push(
      warn('shared_target', ['connect'], `goes to the same place as the job "${other.name}", and both send ${place}`),
    );
  }
  return warnings;
}

/** Whether two jobs can never store into the same dataset. */
function areApart(one: Job & ReceivingJob, other: Job & ReceivingJob): boolean {
  const [here, there] = [one, other].map(({ rootFs }) => pathOf(rootFs)) as [readonly string[], readonly string[]];
  const common = Math.min(here.length, there.length);
  if (here.slice(0, common).some((component, index) => component !== there[index])) return true;
  if (one.type !== 'sink' || other.type !== 'sink' || here.length !== there.length) return false;
  const identities = identitiesOf(one.serve);
  return identities !== null && identitiesOf(other.serve)?.some((name) => identities.includes(name)) === false;
}

/** Who may connect; null when that is not said here. */
function identitiesOf(serve: ServeSettings): readonly string[] | null {
  switch (serve.type) {
    case 'tcp':
      return Object.values(serve.clients);
    case 'tls':
      return serve.clientCNs;
    case 'stdinserver':
      return serve.clientIdentities;
    case 'unix':
      return [serve.clientIdentity];
    case 'local':
      return null;
  }
}

/** Snapshots taken of a copy stop the next one from being received. */
function copiesWarnings(
  job: Job,
  other: Job,
  warn: (path: ValuePath, message: string) => ConfigurationWarning,
): ConfigurationWarning[] {
  const danger = 'so that it takes snapshots of copies, after which nothing more can be received there';
  const takes = (sender: Job, receiver: Job) =>
    isSending(sender) &&
    isReceiving(receiver) &&
    sender.snapshotting.type !== 'manual' &&
    sender.filesystems.filter.matches([...pathOf(receiver.rootFs), 'copy']);
  if (isReceiving(other) && takes(job, other)) {
    return [
      warn(
        ['filesystems'],
        `means "${other.rootFs}", where the job "${other.name}" stores copies, ${danger}; add "${other.rootFs}<": false`,
      ),
    ];
  }
  if (isReceiving(job) && takes(other, job)) {
    return [
      warn(
        ['root_fs'],
        `"${job.rootFs}" is among the filesystems of the job "${other.name}", ${danger}; add "${job.rootFs}<": false there`,
      ),
    ];
  }
  return [];
}

import { compileNamePattern } from '../name-pattern.ts';
import type { ConfigurationWarning, WarningCode } from './configuration.ts';
import type { Job, ReceivingJob, SendingJob } from './job.ts';
import type { SoundJob } from './located-job.ts';
import type { KeepRule, Retention } from './pruning-settings.ts';
import { formatTimestamp } from './timestamp-format.ts';
import type { ValuePath } from './yaml-source.ts';

/** Makes a warning about a place in a job. */
export type Warn = (code: WarningCode, path: ValuePath, message: string) => ConfigurationWarning;

/** Whether it has datasets of this machine. */
export function isSending(job: Job): job is Job & SendingJob {
  return 'snapshotting' in job;
}

/** Whether it stores copies on this machine. */
export function isReceiving(job: Job): job is Job & ReceivingJob {
  return 'rootFs' in job;
}

/**
 * What may not be meant of one job.
 * @param isWatched whether anybody is told of jobs that are stale
 */
export function jobWarnings({ job, written }: SoundJob, warn: Warn, isWatched: boolean): ConfigurationWarning[] {
  const warnings: ConfigurationWarning[] = [];
  if (isSending(job)) warnings.push(...senderWarnings(job, warn));
  if (isReceiving(job) && job.pruning.receiver === null) {
    const place = job.type === 'sink' ? 'keep' : 'keep_receiver';
    warnings.push(
      warn(
        'no_pruning',
        ['pruning'],
        `nothing ever removes a copy; add "pruning: { ${place}: … }", or a rule that keeps all (regex ".*") if that is meant`,
      ),
    );
  }
  if ((job.type === 'push' || job.type === 'local') && job.snapshotting.type === 'manual') {
    const isSaid = ['interval', 'cron'].some((key) => Object.hasOwn(written as object, key));
    if (!isSaid)
      warnings.push(
        warn(
          'never_runs',
          [],
          'takes no snapshots and has neither interval nor cron, so it only runs when woken; write "interval: manual" if that is meant',
        ),
      );
  }
  if (isWatched && 'schedule' in job && job.staleAfterMs === null) {
    warnings.push(
      warn(
        'never_stale',
        [],
        'has no stale_after, so nobody is told when it has quietly stopped bringing new snapshots',
      ),
    );
  }
  return warnings;
}

function senderWarnings(job: Job & SendingJob, warn: Warn): ConfigurationWarning[] {
  const { sender } = job.pruning;
  const sample = sampleName(job);
  const place = job.type === 'push' || job.type === 'local' ? 'keep_sender' : 'keep';
  if (sender === null) {
    if (sample === null) return [];
    return [
      warn(
        'no_pruning',
        ['pruning'],
        `nothing ever removes the snapshots it takes; add "pruning: { ${place}: … }", or a rule that keeps all (regex ".*") if that is meant`,
      ),
    ];
  }
  const warnings: ConfigurationWarning[] = [];
  if (sample !== null && sender.others === 'keep' && !sender.keep.some((rule) => speaksOf(rule, sample))) {
    warnings.push(
      warn(
        'no_pruning',
        ['pruning', place],
        `no rule speaks of the snapshots it takes (${sample}), so none of them is ever removed; look at the regular expressions`,
      ),
    );
  }
  if (job.type !== 'snap' && !keepsUnreplicated(sender)) {
    warnings.push(
      warn(
        'prunes_unreplicated',
        ['pruning', place],
        'may remove snapshots that were never replicated; add a rule of type not_replicated',
      ),
    );
    if (protectsNothing(job)) warnings.push(warn('prunes_last_common', ['pruning', place], lastCommon));
  }
  return warnings;
}

/** What is wrong where the last common version may go. */
export const lastCommon =
  'may remove the last snapshot that both sides have, after which everything must be sent again; ' +
  'do not use guarantee_nothing, or add a rule of type not_replicated';

/** Whether nothing marks what the next transfer starts from. */
export function protectsNothing(job: Job): boolean {
  if (!('replication' in job)) return false;
  const { initial, incremental } = job.replication.protection;
  return initial === 'nothing' || incremental === 'nothing';
}

/** What a snapshot taken by the job is called; null if it takes none. */
function sampleName({ snapshotting }: SendingJob): string | null {
  if (snapshotting.type === 'manual') return null;
  return snapshotting.prefix + formatTimestamp(snapshotting.timestamp, new Date(0));
}

function speaksOf(rule: KeepRule, name: string): boolean {
  if (rule.type === 'not_replicated') return false;
  if (rule.type === 'regex') return compileNamePattern(rule.regex).test(name) !== rule.negate;
  return rule.regex === null || compileNamePattern(rule.regex).test(name);
}

function keepsUnreplicated(retention: Retention): boolean {
  return keepsEverything(retention) || retention.keep.some((rule) => rule.type === 'not_replicated');
}

/** Whether a rule says that all is to be kept: then whoever else removes something is not interfered with. */
export function keepsEverything({ keep }: Retention): boolean {
  return keep.some((rule) => rule.type === 'regex' && !rule.negate && ['', '.*', '^.*$', '^'].includes(rule.regex));
}

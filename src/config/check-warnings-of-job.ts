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

/** What is wrong where the last common version may go. */
export const lastCommon =
  'may remove the last snapshot that both sides have, after which everything must be sent again; ' +
  'do not use guarantee_nothing, or add a rule of type not_replicated';

const ifMeant = 'or a rule that keeps all (regex ".*") if that is meant';
const neverRuns =
  'takes no snapshots and has neither interval nor cron, so it only runs when woken; write "interval: manual" if that is meant';
const neverStale = 'has no stale_after, so nobody is told when it has quietly stopped bringing new snapshots';
const unreplicated = 'may remove snapshots that were never replicated; add a rule of type not_replicated';

/**
 * What may not be meant of one job.
 * @param isWatched whether anybody is told of jobs that are stale
 */
export function jobWarnings({ job, written }: SoundJob, warn: Warn, isWatched: boolean): ConfigurationWarning[] {
  const warnings: ConfigurationWarning[] = [];
  if (isSending(job)) warnings.push(...senderWarnings(job, warn));
  if (isReceiving(job)) warnings.push(...receiverWarnings(job, warn));
  if ((job.type === 'push' || job.type === 'local') && job.snapshotting.type === 'manual') {
    const isSaid = ['interval', 'cron'].some((key) => Object.hasOwn(written as object, key));
    if (!isSaid) warnings.push(warn('never_runs', [], neverRuns));
  }
  if (isWatched && 'schedule' in job && job.staleAfterMs === null) warnings.push(warn('never_stale', [], neverStale));
  return warnings;
}

function receiverWarnings(job: Job & ReceivingJob, warn: Warn): ConfigurationWarning[] {
  const { receiver } = job.pruning;
  const place = job.type === 'sink' ? 'keep' : 'keep_receiver';
  if (receiver === null) {
    return [warn('no_pruning', ['pruning'], `nothing ever removes a copy; add "pruning: { ${place}: … }", ${ifMeant}`)];
  }
  const isHarmless =
    receiver.others === 'keep' && !receiver.keep.some(({ type }) => type === 'last_n' || type === 'grid');
  if (!isHarmless || keepsEverything(receiver)) return [];
  return [
    warn(
      'no_pruning',
      ['pruning', place],
      `no rule here ever removes a copy; add one of type grid or last_n, ${ifMeant}`,
    ),
  ];
}

function senderWarnings(job: Job & SendingJob, warn: Warn): ConfigurationWarning[] {
  const { sender } = job.pruning;
  const sample = sampleName(job);
  const place = job.type === 'push' || job.type === 'local' ? 'keep_sender' : 'keep';
  if (sender === null) {
    const message = `nothing ever removes the snapshots it takes; add "pruning: { ${place}: … }", ${ifMeant}`;
    return sample === null ? [] : [warn('no_pruning', ['pruning'], message)];
  }
  const warnings: ConfigurationWarning[] = [];
  if (sample !== null && sender.others === 'keep' && !sender.keep.some((rule) => speaksOf(rule, sample))) {
    const message = `no rule removes the snapshots it takes (${sample}); add one of type grid or last_n, or look at the regular expressions`;
    warnings.push(warn('no_pruning', ['pruning', place], message));
  }
  if (job.type !== 'snap' && !keepsUnreplicated(sender)) {
    warnings.push(warn('prunes_unreplicated', ['pruning', place], unreplicated));
    if (protectsNothing(job)) warnings.push(warn('prunes_last_common', ['pruning', place], lastCommon));
  }
  return warnings;
}

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
  // These two keep a snapshot or leave it to the other rules.
  if (rule.type === 'not_replicated' || rule.type === 'keep_for') return false;
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

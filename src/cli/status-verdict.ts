import type { JobStatus, Problem } from '../daemon/daemon-status.ts';
import { formatCount, formatDuration, printable } from './format.ts';
import type { SeenStatus } from './status-source.ts';

/** How bad it is, as monitoring plugins say it: their exit codes are 0, 1, 2. */
export type VerdictLevel = 'ok' | 'warning' | 'critical';

/** What a status comes to. */
export interface Verdict {
  readonly level: VerdictLevel;
  /** One line, without the name of the service. */
  readonly summary: string;
  /** Everything that is not well, the worst first, one line each. */
  readonly troubles: readonly Trouble[];
  /** Seconds since the last success of each job that had one, with the limit where there is one. */
  readonly ages: readonly { readonly job: string; readonly seconds: number; readonly limitSeconds: number | null }[];
}

/** Something that is not well. */
export interface Trouble {
  readonly level: Exclude<VerdictLevel, 'ok'>;
  readonly job: string | null;
  readonly message: string;
}

/** What may be chosen about {@link judgeStatus}. */
export interface JudgeOptions {
  /** A trouble that may pass is only a warning until it has lasted so long, in ms. */
  readonly criticalAfterMs: number;
  /** False: that no daemon runs is meant, and runs are begun by something else. */
  readonly wantsDaemon: boolean;
}

/** Errors that often pass by themselves. What they keep from arriving becomes `STALE` in time, which does not. */
const mayPass: ReadonlySet<string> = new Set([
  ...['CONNECT_FAILED', 'CONNECTION_LOST', 'STREAM_TRUNCATED', 'PEER_SILENT', 'TIMEOUT', 'BUSY', 'GOODBYE'],
  ...['CANCELLED', 'VERSION_NOT_FOUND', 'RESUME_TOKEN_INVALID'],
]);

/** What a status comes to, for cron and monitoring. Pure. */
export function judgeStatus(status: SeenStatus, options: JudgeOptions): Verdict {
  const troubles = [
    ...troublesOfDaemon(status, options),
    ...status.jobs.flatMap((job) => troublesOf(job, status, options)),
  ];
  troubles.sort((a, b) => weight(b) - weight(a));
  const worst = troubles[0];
  return {
    level: worst?.level ?? 'ok',
    summary: worst === undefined ? allIsWell(status) : described(troubles, worst),
    troubles,
    ages: status.jobs.flatMap(({ name, lastSuccessMs, staleAfterMs }) => {
      if (lastSuccessMs === null) return [];
      const seconds = Math.max(0, Math.round((status.nowMs - lastSuccessMs) / 1000));
      return [{ job: name, seconds, limitSeconds: staleAfterMs === null ? null : Math.round(staleAfterMs / 1000) }];
    }),
  };
}

/** The one line that a monitoring plugin prints: verdict, words, and after a bar what can be drawn. */
export function pluginLine({ level, summary, ages }: Verdict): string {
  const drawn = ages.map(({ job, seconds, limitSeconds }) => `'${job}'=${seconds}s;;${limitSeconds ?? ''};0`);
  // A bar begins what is to be drawn.
  const words = `SNAPFERRY ${level.toUpperCase()} - ${printable(summary).replaceAll('|', '/')}`;
  return drawn.length === 0 ? words : `${words} | ${drawn.join(' ')}`;
}

function troublesOfDaemon({ daemon, configuration, notices }: SeenStatus, { wantsDaemon }: JudgeOptions): Trouble[] {
  const troubles: Trouble[] = [];
  const add = (level: Trouble['level'], message: string): void => void troubles.push({ level, job: null, message });
  if (!daemon.isRunning && wantsDaemon) add('critical', `no daemon runs: ${daemon.reason ?? 'it does not answer'}`);
  if (configuration.reloadError !== null)
    add('warning', 'the last reload was refused, an older configuration is at work');
  for (const notice of notices) add('warning', notice);
  return troubles;
}

function troublesOf(job: JobStatus, { nowMs, daemon }: SeenStatus, { criticalAfterMs }: JudgeOptions): Trouble[] {
  const troubles = job.problems.map((problem): Trouble => {
    const isYoung = nowMs - problem.sinceMs < criticalAfterMs;
    const level = mayPass.has(problem.code) && isYoung ? 'warning' : 'critical';
    return { level, job: job.name, message: about(problem) };
  });
  // Where a daemon runs, its schedule sees to it, and stale_after to the rest.
  if (!daemon.isRunning && job.lastRun === null && job.type !== 'source') {
    troubles.push({ level: 'warning', job: job.name, message: 'has never run' });
  }
  return troubles;
}

function about({ code, dataset, identity, message }: Problem): string {
  const subject = [identity, dataset].filter((part) => part !== null).join(': ');
  return `${subject === '' ? '' : `${subject}: `}${message} (${code})`;
}

function weight({ level, job }: Trouble): number {
  return (level === 'critical' ? 2 : 0) + (job === null ? 1 : 0);
}

function described(troubles: readonly Trouble[], worst: Trouble): string {
  const first = `${worst.job === null ? '' : `${worst.job}: `}${worst.message}`;
  return troubles.length === 1 ? first : `${first}, and ${troubles.length - 1} more`;
}

function allIsWell({ jobs, nowMs }: SeenStatus): string {
  const successes = jobs.flatMap(({ lastSuccessMs }) => (lastSuccessMs === null ? [] : [lastSuccessMs]));
  const count = formatCount(jobs.length, 'job');
  if (successes.length === 0) return `${count}, none has run yet`;
  const oldest = Math.max(0, nowMs - Math.min(...successes));
  const all = jobs.length === 1 ? '1 job, its' : `${count}, the oldest`;
  return `${all} last success ${formatDuration(oldest)} ago`;
}

import type { DatasetStatus, JobStatus, Problem, RunStatus } from '../daemon/daemon-status.ts';
import { formatBytes, formatCount, formatDuration, printable } from './format.ts';
import { describeTransfer } from './progress-display.ts';
import type { StatusLine, Style } from './status-lines.ts';
import type { SeenStatus } from './status-source.ts';

/** What may be chosen about {@link renderStatus}. */
export interface RenderStatusOptions {
  /** Every dataset, also those of which there is nothing to say. */
  readonly isDetailed: boolean;
}

/** A status for people. Pure. */
export function renderStatus(status: SeenStatus, options: RenderStatusOptions): StatusLine[] {
  const lines: StatusLine[] = [...headLines(status), []];
  for (const job of status.jobs) lines.push(...jobLines(job, status, options), []);
  lines.push(summary(status));
  return lines;
}

function headLines(status: SeenStatus): StatusLine[] {
  const { nowMs, beganMs, pid, configuration, daemon } = status;
  const lines: StatusLine[] = [];
  if (daemon.isRunning) {
    const up = beganMs === null ? '' : `, up ${formatDuration(Math.max(0, nowMs - beganMs))}`;
    const which = `snapferry ${printable(status.version)}, process ${pid ?? 'unknown'}${up}`;
    lines.push([which, [`  ${printable(configuration.file)}`, 'dim']]);
  } else {
    lines.push([['no daemon answers', 'bad'], ': what follows is what the history remembers of earlier runs']);
    lines.push([[`  ${printable(daemon.reason ?? '')}`, 'dim']]);
    lines.push(['  start it: systemctl start snapferry']);
  }
  if (configuration.reloadError !== null) {
    const [first = ''] = configuration.reloadError.split('\n', 1);
    lines.push([
      ['an older configuration is at work', 'warning'],
      `: the last reload was refused: ${printable(first)}`,
    ]);
    lines.push(['  see what is wrong: snapferry configcheck; then: snapferry reload']);
  }
  for (const notice of status.notices) lines.push([['note', 'warning'], `: ${printable(notice)}`]);
  return lines;
}

function jobLines(job: JobStatus, status: SeenStatus, options: RenderStatusOptions): StatusLine[] {
  const { nowMs } = status;
  const state = stateOf(job, status);
  const lines: StatusLine[] = [
    [[printable(job.name), 'bold'], [`  ${job.type} ${job.backend}  `, 'dim'], state, `  ${timesOf(job, status)}`],
  ];
  for (const run of job.runs) lines.push(...runLines(run, job, nowMs));
  const shown = job.datasets.filter((dataset) => options.isDetailed || isAtWork(dataset));
  for (const dataset of shown) lines.push(...datasetLines(dataset, nowMs));
  for (const session of job.sessions) {
    const asked = session.request === null ? '' : `, last: ${printable(session.request)}`;
    const from = `${printable(session.identity)} from ${printable(session.address)}`;
    lines.push([`  client ${from} for ${since(session.sinceMs, nowMs)}, ${formatBytes(session.bytes)}${asked}`]);
  }
  for (const problem of job.problems) lines.push(...problemLines(problem, nowMs));
  return lines;
}

function isAtWork({ state }: DatasetStatus): boolean {
  return state === 'running' || state === 'waiting';
}

function stateOf(job: JobStatus, { daemon }: SeenStatus): readonly [string, Style] {
  const trouble = job.problems.length > 0;
  switch (job.state) {
    case 'running':
      return ['running', trouble ? 'warning' : 'good'];
    case 'stopping':
      return ['stopping', 'warning'];
    case 'serving':
      return [`serving ${formatCount(job.sessions.length, 'client')}`, trouble ? 'bad' : 'good'];
    case 'idle':
      if (trouble) return ['in trouble', 'bad'];
      return daemon.isRunning ? ['ok', 'good'] : ['not running', 'warning'];
  }
}

function timesOf({ lastSuccessMs, nextRunMs, datasets, type }: JobStatus, { nowMs }: SeenStatus): string {
  const parts = [formatCount(datasets.length, 'dataset')];
  if (lastSuccessMs !== null) parts.push(`last success ${since(lastSuccessMs, nowMs)} ago`);
  else if (type !== 'source') parts.push('no success yet');
  if (nextRunMs !== null) parts.push(nextRunMs <= nowMs ? 'next run now' : `next run in ${since(nowMs, nextRunMs)}`);
  return parts.join(', ');
}

function runLines(run: RunStatus, { datasets }: JobStatus, nowMs: number): StatusLine[] {
  const done =
    run.datasetsTotal === null ? '' : `, ${run.datasetsDone} of ${formatCount(run.datasetsTotal, 'dataset')} done`;
  const whose = run.identity === null ? '' : ` of ${printable(run.identity)}`;
  const retries = run.retries === 0 ? '' : `, ${formatCount(run.retries, 'retry', 'retries')}`;
  const lines: StatusLine[] = [[`  run${whose} for ${since(run.beganMs, nowMs)}${done}${retries}`]];
  // Of a single dataset, the total says nothing that its own line does not say.
  const isSingle = datasets.filter(isAtWork).length === 1 && run.datasetsTotal === 1;
  if (run.total !== null && !isSingle) lines.push([`  in all ${describeTransfer(run.total)}`]);
  if (run.waiting !== null) lines.push(waitingLine(run.waiting, nowMs));
  return lines;
}

function waitingLine({ error, untilMs }: NonNullable<RunStatus['waiting']>, nowMs: number): StatusLine {
  const again = untilMs <= nowMs ? 'again now' : `again in ${since(nowMs, untilMs)}`;
  return [['  waiting', 'warning'], ` to try ${again}: ${firstLine(error.message)} (${printable(error.code)})`];
}

function datasetLines(dataset: DatasetStatus, nowMs: number): StatusLine[] {
  const name = `${dataset.identity === null ? '' : `${printable(dataset.identity)}: `}${printable(dataset.dataset)}`;
  const { step, newest, newestAtMs } = dataset;
  const line: (string | readonly [string, Style])[] = [`  ${name}  `, [dataset.state, styleOf(dataset.state)]];
  if (newest !== null) {
    line.push(`  newest ${printable(newest.name)}${newestAtMs === null ? '' : `, ${since(newestAtMs, nowMs)} ago`}`);
  }
  if (dataset.target !== null) line.push([`  -> ${printable(dataset.target)}`, 'dim']);
  if (step === null) return [line];
  const what = step.from === null ? printable(step.to) : `${printable(step.from)} to ${printable(step.to)}`;
  const progress = step.progress === null ? '' : `: ${describeTransfer(step.progress)}`;
  return [line, [`    step ${step.stepIndex + 1} of ${step.stepCount}, ${what}${progress}`]];
}

function styleOf(state: DatasetStatus['state']): Style {
  if (state === 'failed' || state === 'stale') return 'bad';
  return state === 'waiting' ? 'warning' : 'good';
}

function problemLines({ code, dataset, identity, message, advice, sinceMs }: Problem, nowMs: number): StatusLine[] {
  const about = [identity, dataset].filter((part) => part !== null).map(printable);
  const subject = about.length === 0 ? '' : ` ${about.join(': ')}`;
  return [
    [[`  ${printable(code)}`, 'bad'], `${subject}: ${firstLine(message)}`, [`  for ${since(sinceMs, nowMs)}`, 'dim']],
    [`    what to do: ${firstLine(advice)}`],
  ];
}

function summary({ jobs, daemon }: SeenStatus): StatusLine {
  const troubled = jobs.filter(({ problems }) => problems.length > 0);
  const count = formatCount(jobs.length, 'job');
  if (troubled.length > 0) {
    const names = troubled.map(({ name }) => printable(name)).join(', ');
    return [[`${troubled.length} of ${count} in trouble`, 'bad'], `: ${names}`];
  }
  if (!daemon.isRunning) return [[`${count}, none of which runs`, 'warning'], ': no daemon answers'];
  return [[`${count}, all is well`, 'good']];
}

function since(fromMs: number, toMs: number): string {
  return formatDuration(Math.max(0, toMs - fromMs));
}

function firstLine(text: string): string {
  return printable(text.split('\n', 1)[0] ?? '');
}

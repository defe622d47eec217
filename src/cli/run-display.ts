import type { JobEvent } from '../jobs/job-events.ts';
import type { DatasetResult, RunResult } from '../jobs/run-result.ts';
import { exitCodeOf, exitCodes } from './exit-code.ts';
import type { ExitCode } from './exit-code.ts';
import { formatBytes, formatCount, formatDuration, printable } from './format.ts';
import { renderError } from './program-error.ts';
import { describeStep } from './pull.ts';
import type { Terminal } from './terminal.ts';

/** Shows what a run tells while it goes on. */
export function showJobEvent(terminal: Terminal, event: JobEvent): void {
  switch (event.kind) {
    case 'snapshotTaken':
      terminal.note(printable(`took snapshot ${event.dataset}@${event.snapshot}`));
      return;
    case 'planned': {
      const steps = event.datasets.reduce((sum, dataset) => sum + dataset.steps, 0);
      if (steps === 0) return;
      const size = event.estimatedBytes === null ? 'size unknown' : `about ${formatBytes(event.estimatedBytes)}`;
      const datasets = event.datasets.filter((dataset) => dataset.steps > 0).length;
      terminal.note(
        `${formatCount(steps, 'snapshot')} of ${formatCount(datasets, 'dataset')} to be transferred, ${size}`,
      );
      return;
    }
    case 'stepBegan': {
      const { estimatedBytes, resumed, dataset, from, to } = event;
      const step = { from: from === null ? null : snapshotNamed(from), to: snapshotNamed(to) };
      terminal.note(describeStep('transferring', step, { estimatedBytes, resumed, of: dataset }));
      return;
    }
    case 'bytes':
      terminal.progress.transfer('transferring', event.total);
      return;
    case 'stepDone':
      terminal.note(printable(`arrived ${event.dataset}@${event.to.name}: ${formatBytes(event.bytes)}`));
      return;
    case 'retrying':
      terminal.note(
        printable(
          `${event.dataset ?? 'the run'}: ${event.error.message}; trying again in ${formatDuration(event.waitMs)}`,
        ),
      );
      return;
    case 'pruned':
      terminal.note(
        printable(`pruned ${event.dataset} (${event.side}): ${event.destroyed} destroyed, ${event.kept} kept`),
      );
      return;
    default:
  }
}

function snapshotNamed(name: string) {
  return { type: 'snapshot', name };
}

/** Tells what a run has come to: the result on stdout, its problems on stderr. Returns the exit code. */
export function tellRunResult(terminal: Terminal, result: RunResult, dryRun: boolean): ExitCode {
  const { job, datasets, error } = result;
  for (const { dataset, notices } of datasets) {
    for (const notice of notices) terminal.note(printable(`${dataset}: ${notice}`));
  }
  terminal.print(`${summaryOf(result, dryRun)}\n`);
  const doing = `run ${job}`;
  const told = { advice: null, retryable: false };
  for (const { dataset, error: failure } of datasets) {
    if (failure === null) continue;
    const of = failure.message.startsWith(dataset) ? '' : `${dataset}: `;
    terminal.writeError(renderError({ ...failure, message: printable(of + failure.message), ...told }, doing));
  }
  if (error !== null) terminal.writeError(renderError({ ...error, ...told }, doing));
  const code = exitCodeOfRun(result);
  terminal.printJSON({ command: 'run', ok: code === exitCodes.done, dryRun, ...result });
  return code;
}

/** `incomplete` where something was done although not all of it went well; else the code of the first failure. */
export function exitCodeOfRun({ datasets, error }: Pick<RunResult, 'datasets' | 'error'>): ExitCode {
  const first = error ?? datasets.find((result) => result.error !== null)?.error ?? null;
  if (first === null) return exitCodes.done;
  return datasets.some(hasDoneSomething) ? exitCodes.incomplete : exitCodeOf(first);
}

function hasDoneSomething({ error, steps, snapshot, pruned }: DatasetResult): boolean {
  return error === null || steps > 0 || snapshot !== null || pruned > 0;
}

function summaryOf({ job, datasets, bytes, durationMs, outcome }: RunResult, dryRun: boolean): string {
  if (dryRun) return `${job}: a dry run; nothing was changed`;
  const taken = datasets.filter(({ snapshot }) => snapshot !== null).length;
  const steps = datasets.reduce((sum, result) => sum + result.steps, 0);
  const pruned = datasets.reduce((sum, result) => sum + result.pruned, 0);
  const failed = datasets.filter(({ error }) => error !== null).length;
  const parts = [
    ...(taken > 0 ? [`took ${formatCount(taken, 'snapshot')}`] : []),
    ...(steps > 0 ? [`transferred ${formatCount(steps, 'snapshot')}, ${formatBytes(bytes)}`] : []),
    ...(pruned > 0 ? [`pruned ${formatCount(pruned, 'snapshot')}`] : []),
    ...(failed > 0 ? [`${failed} of ${formatCount(datasets.length, 'dataset')} failed`] : []),
  ];
  const did = parts.length === 0 ? 'nothing to do' : parts.join('; ');
  return `${job}: ${outcome === 'failed' && parts.length === 0 ? 'nothing was done' : did}, in ${formatDuration(durationMs)}`;
}

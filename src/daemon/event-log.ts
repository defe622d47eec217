import type { JobEvent } from '../jobs/job-events.ts';
import type { RunError } from '../jobs/run-result.ts';
import { spellDuration } from '../duration.ts';
import type { Logger } from '../rpc/interfaces.ts';

type Level = 'error' | 'warn' | 'info' | 'debug' | 'trace';

/** A line of the log. */
export interface EventLine {
  readonly level: Level;
  /** For machines: what it is about, and figures. */
  readonly fields: Readonly<Record<string, unknown>>;
  /** For people. */
  readonly text: string;
}

/** Writes one line for an event of a job. */
export function logEvent(logger: Logger, event: JobEvent): void {
  const { level, fields, text } = lineOf(event);
  logger[level](fields, text);
}

/** The line for an event. Pure. */
export function lineOf(event: JobEvent): EventLine {
  const about =
    'run' in event ? { job: event.job, event: event.kind, run: event.run } : { job: event.job, event: event.kind };
  const line = (level: Level, text: string, fields: Record<string, unknown> = {}): EventLine => ({
    level,
    fields: { ...about, ...fields },
    text,
  });
  switch (event.kind) {
    case 'runBegan': {
      const { cause, identity } = event;
      return line('info', `run began: ${cause}${identity === null ? '' : ` ${identity}`}`, { cause, identity });
    }
    case 'snapshotTaken':
      return line('info', `took ${event.snapshot}`, { dataset: event.dataset, snapshot: event.snapshot });
    case 'planned': {
      const { datasets, estimatedBytes } = event;
      const steps = datasets.reduce((sum, dataset) => sum + dataset.steps, 0);
      const text = `planned ${steps} steps for ${datasets.length} datasets`;
      return line('info', text, { datasets: datasets.length, steps, estimatedBytes });
    }
    case 'datasetBegan':
      return line('debug', 'dataset began', { dataset: event.dataset });
    case 'stepBegan': {
      const { dataset, from, to, stepIndex, stepCount, estimatedBytes, resumed } = event;
      const step = `${from ?? 'nothing'} to ${to}`;
      const text = `${resumed ? 'going on with' : 'began'} step ${stepIndex + 1} of ${stepCount}: ${step}`;
      return line('info', text, { dataset, step, stepIndex, stepCount, estimatedBytes, resumed });
    }
    case 'bytes':
      return line('trace', 'bytes', { dataset: event.dataset, bytes: event.step.bytes });
    case 'stepDone': {
      const { dataset, to, bytes, notices } = event;
      const text = [`${to.name} arrived, ${bytes} bytes`, ...notices].join('; ');
      return line(notices.length > 0 ? 'warn' : 'info', text, { dataset, step: to.name, bytes, notices });
    }
    case 'retrying': {
      const { dataset, error, waitMs } = event;
      return line('warn', `trying again in ${wait(waitMs)}: ${error.message}`, { dataset, ...failure(error), waitMs });
    }
    case 'pruned': {
      const { dataset, side, destroyed, kept, errors } = event;
      const texts = [`removed ${destroyed} snapshots, ${kept} are left`, ...errors.map(({ message }) => message)];
      return line(errors.length > 0 ? 'error' : 'info', texts.join('; '), { dataset, side, destroyed, kept, errors });
    }
    case 'datasetDone': {
      const { dataset, target, error, steps, bytes, notices } = event.result;
      const fields = { dataset, target, steps, bytes, ...failure(error) };
      if (error !== null) return line(error.code === 'CANCELLED' ? 'warn' : 'error', error.message, fields);
      const text = [`dataset done: ${steps} steps`, ...notices].join('; ');
      return line(notices.length > 0 ? 'warn' : 'debug', text, fields);
    }
    case 'runEnded': {
      const { outcome, error, durationMs, bytes, retries, datasets } = event.result;
      const failed = datasets.filter((dataset) => dataset.error !== null).length;
      const fields = { outcome, durationMs, bytes, retries, datasets: datasets.length, failed, ...failure(error) };
      const parts = [
        `run ended: ${outcome}, ${datasets.length - failed} of ${datasets.length} datasets, ${bytes} bytes`,
      ];
      if (error !== null) parts.push(error.message);
      return line(outcome === 'ok' ? 'info' : outcome === 'failed' ? 'error' : 'warn', parts.join('; '), fields);
    }
    case 'sessionBegan': {
      const { session, identity, address } = event;
      return line('info', `${identity} connected from ${address}`, { session, identity, address });
    }
    case 'sessionEnded': {
      const { session, identity, durationMs, error } = event;
      const text = error === null ? `${identity} left` : `the session of ${identity} ended: ${error.message}`;
      return line(error === null ? 'info' : 'warn', text, { session, identity, durationMs, ...failure(error) });
    }
    case 'requestDone': {
      const { session, identity, request, bytes, durationMs, error } = event;
      const fields = { session, identity, request, bytes, durationMs, ...failure(error) };
      return error === null ? line('debug', `answered ${request}`, fields) : line('warn', error.message, fields);
    }
    case 'listenFailed':
      return line('error', `cannot be reached: ${event.error.message}`, failure(event.error));
  }
}

function failure(error: RunError | null): Record<string, unknown> {
  return error === null ? {} : { code: error.code };
}

function wait(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)}ms` : spellDuration(Math.round(ms / 1000) * 1000);
}

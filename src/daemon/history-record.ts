import { z } from 'zod';
import type { RunCause, RunResult } from '../jobs/run-result.ts';

/** A run that has begun. Without the result that follows, nobody lived to see its end. */
export interface BegunRun {
  readonly run: string;
  readonly job: string;
  readonly cause: RunCause;
  readonly identity: string | null;
  /** Wall clock, ms since 1970. */
  readonly beganMs: number;
}

/** One line of the history. */
export type HistoryRecord = { readonly began: BegunRun } | { readonly ended: RunResult };

const cause = z.enum(['schedule', 'wakeup', 'snapshots', 'once', 'peer']);
const error = z.object({ code: z.string(), message: z.string() }).nullable();
const version = z.object({ name: z.string(), guid: z.string(), creation: z.string() });
const count = z.number().nonnegative();

const dataset = z.object({
  dataset: z.string(),
  target: z.string().nullable(),
  error,
  steps: count,
  bytes: count,
  newest: version.nullable(),
  snapshot: z.string().nullable(),
  pruned: count,
  notices: z.array(z.string()),
});

const run = { run: z.string(), job: z.string(), cause, identity: z.string().nullable(), beganMs: z.number() };

/** A result as it is read from the history, or told by another process. */
export const runResultSchema = z.object({
  ...run,
  endedMs: z.number(),
  durationMs: z.number(),
  outcome: z.enum(['ok', 'failed', 'cancelled']),
  error,
  datasets: z.array(dataset),
  bytes: count,
  retries: count,
}) satisfies z.ZodType<RunResult>;

const record = z.union([
  z.object({ began: z.object(run) }),
  z.object({ ended: runResultSchema }),
]) satisfies z.ZodType<HistoryRecord>;

/** A record as a line of JSON, with its newline. */
export function writeHistoryLine(written: HistoryRecord): string {
  return `${JSON.stringify(written)}\n`;
}

/**
 * Reads a line without its newline. What a later version added is left out.
 * @throws Error that says why it is no record
 */
export function readHistoryLine(line: string): HistoryRecord {
  const value: unknown = JSON.parse(line);
  const read = record.safeParse(value);
  if (read.success) return read.data;
  const issue = read.error.issues[0];
  throw new Error(`it is no record of a run: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`.trim());
}

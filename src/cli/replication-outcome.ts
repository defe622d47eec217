import { SnapferryError } from '../errors.ts';
import type { FilesystemVersion } from '../dataset.ts';
import { formatDatasetPath } from '../dataset.ts';
import { diffEntries } from '../handlers/directory/manifest.ts';
import type { SnapshotResult } from '../handlers/directory/snapshot.ts';
import { openStore } from '../handlers/directory/store.ts';
import type { FilesystemResult, PullReport } from '../rpc/interfaces.ts';
import { exitCodeOfResults, exitCodes } from './exit-code.ts';
import type { ExitCode } from './exit-code.ts';
import { formatBytes, formatCount, formatDuration } from './format.ts';
import { formatLocation } from './location.ts';
import { renderError } from './program-error.ts';
import { describeRequest } from './replication-request.ts';
import type { ReplicationRequest } from './replication-request.ts';
import type { Run } from './run.ts';

/** A transfer that was made. */
export interface MadeStep {
  readonly from: FilesystemVersion | null;
  readonly to: FilesystemVersion;
}

/** What a pull or push has come to. */
export interface ReplicationOutcome {
  /** Null from a peer of version 1, which does not report. */
  readonly report: PullReport | null;
  /** What was taken on this machine first; null when none was asked for, or it was taken elsewhere. */
  readonly snapshot: SnapshotResult | null;
  /** Transfers begun, oldest first. */
  readonly steps: readonly MadeStep[];
  /** A directory on this machine that has the versions of the steps. */
  readonly directory: string;
  readonly durationMs: number;
}

/** Tells the outcome on stdout and its problems on stderr; returns the exit code. */
export async function tellOutcome(
  run: Run,
  request: ReplicationRequest,
  outcome: ReplicationOutcome,
): Promise<ExitCode> {
  const results = outcome.report?.filesystems ?? [];
  const problems = results.flatMap((result) => problemOf(result) ?? []);
  for (const { notices } of results) for (const notice of notices) run.terminal.note(notice);
  run.terminal.print(`${await summary(request, outcome)}\n`);
  for (const problem of problems)
    run.terminal.writeError(renderError({ ...problem, advice: null }, describeRequest(request)));
  const code = exitCodeOf(outcome, results);
  run.terminal.printJSON(asJSON(request, outcome, code));
  return code;
}

function exitCodeOf({ report, snapshot }: ReplicationOutcome, results: readonly FilesystemResult[]): ExitCode {
  // A version-1 peer that finished without breaking the connection has received everything it asked for.
  if (report === null) return exitCodes.done;
  if (results.some(isEmpty)) return exitCodes.failed;
  const code = exitCodeOfResults(results);
  return code === exitCodes.done && (snapshot?.missing.length ?? 0) > 0 ? exitCodes.incomplete : code;
}

/** The source had no snapshot, so there is no backup, which nobody should take for a success. */
function isEmpty(result: FilesystemResult): boolean {
  return result.ok && result.steps === 0 && result.message !== '';
}

function problemOf(result: FilesystemResult): { code: string; message: string; retryable: boolean } | null {
  if (isEmpty(result)) {
    return { code: 'VERSION_NOT_FOUND', message: `${result.message}; leave out --no-snapshot`, retryable: false };
  }
  return result.ok ? null : { code: result.code ?? 'INTERNAL', message: result.message, retryable: false };
}

async function summary({ direction, target }: ReplicationRequest, outcome: ReplicationOutcome): Promise<string> {
  const { report, steps, durationMs } = outcome;
  const did = `${direction}ed`;
  if (report === null) return `${did} to a peer that does not report, in ${formatDuration(durationMs)}`;
  const committed = report.filesystems.reduce((sum, result) => sum + result.steps, 0);
  const bytes = report.filesystems.reduce((sum, result) => sum + result.bytes, 0);
  if (committed === 0) {
    const isInSync = report.filesystems.every((result) => result.ok && !isEmpty(result));
    return isInSync ? `nothing to ${direction}: ${formatLocation(target)} is up to date` : `nothing was ${did}`;
  }
  const files = await changedFiles(outcome.directory, steps.slice(0, committed));
  const parts = [
    formatCount(committed, 'snapshot'),
    ...(files === null ? [] : [formatCount(files, 'file') + (steps[0]?.from === null ? '' : ' changed')]),
    `${formatBytes(bytes)} sent in ${formatDuration(durationMs)}`,
  ];
  return `${did} ${parts.join(', ')}`;
}

/** Comparing two manifests takes 7 µs an entry; above this the figure is not worth the wait. */
const comparedEntriesMax = 100_000;

/** Files (and links, fifos) that the steps added, changed or removed all together; null when that cannot be told. */
async function changedFiles(directory: string, steps: readonly MadeStep[]): Promise<number | null> {
  const [first, last] = [steps[0], steps.at(-1)];
  if (first === undefined || last === undefined) return null;
  try {
    const store = await openStore(directory);
    if ((await store.headerOf(last.to)).entries > comparedEntriesMax) return null;
    const before = first.from === null ? null : await store.entriesOf(first.from);
    const after = await store.entriesOf(last.to);
    const { put, removed } = diffEntries(before, after);
    const directories = new Set(before?.filter((entry) => entry.type === 'directory').map((entry) => entry.path));
    return (
      put.filter((entry) => entry.type !== 'directory').length + removed.filter((path) => !directories.has(path)).length
    );
  } catch (error) {
    // It is a figure in passing: a version that is gone again must not turn a success into a failure.
    if (error instanceof SnapferryError) return null;
    throw error;
  }
}

function asJSON(request: ReplicationRequest, { report, snapshot, durationMs }: ReplicationOutcome, code: ExitCode) {
  return {
    command: request.direction,
    source: formatLocation(request.source),
    target: formatLocation(request.target),
    ok: code === exitCodes.done,
    durationMs: Math.round(durationMs),
    snapshot: snapshot && {
      version: snapshot.version,
      ...snapshot.delta,
      notices: snapshot.notices,
      missing: snapshot.missing,
    },
    filesystems:
      report?.filesystems.map((result) => ({ ...result, filesystem: formatDatasetPath(result.filesystem) })) ?? null,
  };
}

import { SnapferryError } from '../errors.ts';
import type { FilesystemVersion } from '../dataset.ts';
import { formatDatasetPath } from '../dataset.ts';
import { diffEntries } from '../handlers/directory/manifest.ts';
import { openStore } from '../handlers/directory/store.ts';
import type { FilesystemResult, PullReport } from '../rpc/interfaces.ts';
import { conflictCode } from '../replication/replication.ts';
import { exitCodeOfResults, exitCodes } from './exit-code.ts';
import type { ExitCode } from './exit-code.ts';
import { formatBytes, formatCount, formatDuration, printable } from './format.ts';
import { formatLocation } from './location.ts';
import { renderError } from './program-error.ts';
import { describeRequest } from './replication-request.ts';
import type { ReplicationRequest } from './replication-request.ts';
import type { Run } from './run.ts';
import type { Site, TakenSnapshot } from './site.ts';

/** A transfer that was made. */
export interface MadeStep {
  readonly from: FilesystemVersion | null;
  readonly to: FilesystemVersion;
}

/** What a pull or push has come to. */
export interface ReplicationOutcome {
  /** Null from a peer of version 1, which does not report. */
  readonly report: PullReport | null;
  /** What was taken on this machine first; empty when none was asked for, or it was taken elsewhere. */
  readonly snapshots: readonly TakenSnapshot[];
  /** Transfers begun, oldest first. */
  readonly steps: readonly MadeStep[];
  /** The end on this machine, which has the versions of the steps. */
  readonly site: Site;
  readonly durationMs: number;
}

/** Tells the outcome on stdout and its problems on stderr; returns the exit code. */
export async function tellOutcome(
  run: Run,
  request: ReplicationRequest,
  outcome: ReplicationOutcome,
): Promise<ExitCode> {
  const results = outcome.report?.filesystems ?? [];
  const problems = results.flatMap((result) => problemOf(result, request, outcome.site) ?? []);
  for (const { notices } of results) for (const notice of notices) run.terminal.note(notice);
  run.terminal.print(`${await summary(request, outcome)}\n`);
  for (const problem of problems)
    run.terminal.writeError(renderError({ ...problem, advice: null }, describeRequest(request)));
  const code = exitCodeOf(outcome, results);
  run.terminal.printJSON(asJSON(request, outcome, code));
  return code;
}

function exitCodeOf({ report, snapshots }: ReplicationOutcome, results: readonly FilesystemResult[]): ExitCode {
  // A version-1 peer that finished without breaking the connection has received everything it asked for.
  if (report === null) return exitCodes.done;
  if (results.every(isEmpty)) return exitCodes.failed;
  // Among several datasets, one without a snapshot is one that is not backed up.
  const code = exitCodeOfResults(results.map((result) => (isEmpty(result) ? { ...result, ok: false } : result)));
  const isIncomplete = snapshots.some(({ missing }) => missing.length > 0);
  return code === exitCodes.done && isIncomplete ? exitCodes.incomplete : code;
}

/** The source had no snapshot, so there is no backup, which nobody should take for a success. */
function isEmpty(result: FilesystemResult): boolean {
  return result.ok && result.steps === 0 && result.message !== '';
}

interface Problem {
  readonly code: string;
  readonly message: string;
  readonly retryable: boolean;
}

function problemOf(result: FilesystemResult, request: ReplicationRequest, { formatName }: Site): Problem | null {
  // A conflict begins with the name anyway.
  const isNamed = request.recursive && result.code !== conflictCode;
  const of = isNamed ? `${printable(formatName(result.filesystem))}: ` : '';
  if (isEmpty(result)) {
    const prefix = request.receive.fromSnapshots;
    const advice = prefix === null ? 'leave out --no-snapshot' : `none begins with "${prefix}"`;
    return { code: 'VERSION_NOT_FOUND', message: `${of}${result.message}; ${advice}`, retryable: false };
  }
  return result.ok ? null : { code: result.code ?? 'INTERNAL', message: of + result.message, retryable: false };
}

async function summary(request: ReplicationRequest, outcome: ReplicationOutcome): Promise<string> {
  const { direction, target, recursive } = request;
  const { report, steps, durationMs } = outcome;
  const did = `${direction}ed`;
  if (report === null) return `${did} to a peer that does not report, in ${formatDuration(durationMs)}`;
  const committed = report.filesystems.reduce((sum, result) => sum + result.steps, 0);
  const bytes = report.filesystems.reduce((sum, result) => sum + result.bytes, 0);
  if (committed === 0) {
    const isInSync = report.filesystems.every((result) => result.ok && !isEmpty(result));
    return isInSync ? `nothing to ${direction}: ${formatLocation(target)} is up to date` : `nothing was ${did}`;
  }
  const files = await changedFiles(outcome.site, steps.slice(0, committed));
  const datasets = report.filesystems.filter((result) => result.steps > 0).length;
  const failed = report.filesystems.filter((result) => !result.ok || isEmpty(result)).length;
  const parts = [
    formatCount(committed, 'snapshot') + (recursive ? ` of ${formatCount(datasets, 'dataset')}` : ''),
    ...(files === null ? [] : [formatCount(files, 'file') + (steps[0]?.from === null ? '' : ' changed')]),
    `${formatBytes(bytes)} sent in ${formatDuration(durationMs)}`,
    ...(recursive && failed > 0 ? [`${formatCount(failed, 'dataset')} failed`] : []),
  ];
  return `${did} ${parts.join(', ')}`;
}

/** Comparing two manifests takes 7 µs an entry; above this the figure is not worth the wait. */
const comparedEntriesMax = 100_000;

/** Files (and links, fifos) that the steps added, changed or removed all together; null when that cannot be told. */
async function changedFiles(site: Site, steps: readonly MadeStep[]): Promise<number | null> {
  const [first, last] = [steps[0], steps.at(-1)];
  if (first === undefined || last === undefined || site.backend !== 'directory') return null;
  try {
    const store = await openStore(site.formatName(site.dataset));
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

function asJSON(request: ReplicationRequest, { report, snapshots, durationMs }: ReplicationOutcome, code: ExitCode) {
  const taken = snapshots.map(({ dataset, version, changes, notices, missing }) => ({
    dataset: formatDatasetPath(dataset),
    version,
    ...changes,
    notices,
    missing,
  }));
  return {
    command: request.direction,
    source: formatLocation(request.source),
    target: formatLocation(request.target),
    ok: code === exitCodes.done,
    durationMs: Math.round(durationMs),
    snapshot: taken[0] ?? null,
    snapshots: taken,
    filesystems:
      report?.filesystems.map((result) => ({ ...result, filesystem: formatDatasetPath(result.filesystem) })) ?? null,
  };
}

import { formatDatasetPath, formatVersion } from '../dataset.ts';
import type { FilesystemVersion } from '../dataset.ts';
import { SnapferryError } from '../errors.ts';
import type { FilesystemResult, Progress, Transfer } from '../rpc/interfaces.ts';
import type { ReceiveResult } from '../sink.ts';
import { failureOf } from './failure.ts';
import { describeConflict } from './plan.ts';
import type { FilesystemPlan, IgnoredVersion } from './plan.ts';
import { createProgressMeter } from './progress.ts';
import { conflictCode } from './replication.ts';
import type { PlannedFilesystem, ReplicateOptions, ReplicationEvent, StepPosition } from './replication.ts';
import { retrying } from './retry.ts';
import type { RunProgress } from './run-progress.ts';
import { runStep } from './run-step.ts';

/** What the datasets of one run share. */
export interface Run {
  readonly options: ReplicateOptions;
  readonly now: () => number;
  readonly progress: RunProgress;
  readonly emit: (event: ReplicationEvent) => void;
  /** What killed the connection to the source, once something has. */
  lost: SnapferryError | null;
}

/** What has become of one dataset so far. */
interface Tally {
  readonly notices: string[];
  readonly missing: string[];
  bytes: number;
  /** Committed. */
  steps: number;
  /** Committed or tried. */
  stepsBegun: number;
}

const bytesEventMs = 200;
/** Entries of a list in a result: a report goes over the wire and onto a screen. */
const listedMax = 100;
const namedMax = 5;

/** Carries out the plan of one dataset. Never rejects: the result says what went wrong. */
export async function runFilesystem(run: Run, planned: PlannedFilesystem): Promise<FilesystemResult> {
  const { filesystem, plan } = planned;
  const tally: Tally = { notices: [], missing: [], bytes: 0, steps: 0, stepsBegun: 0 };
  run.emit({ kind: 'filesystemStarted', planned });
  let outcome: Pick<FilesystemResult, 'ok' | 'code' | 'message'>;
  try {
    if (plan.kind === 'failed') throw plan.error;
    run.options.signal?.throwIfAborted();
    addBounded(tally.notices, plan.ignored.flatMap(ignoredNotice));
    outcome = await carryOut(run, planned, plan, tally);
  } catch (error) {
    const failure = failureOf(error, 'replicating', run.options.signal);
    run.options.logger?.warn({ err: failure, filesystem: formatDatasetPath(filesystem) }, 'replication failed');
    outcome = { ok: false, code: failure.code, message: failure.message };
  }
  if (plan.kind === 'steps') for (const step of plan.steps.slice(tally.stepsBegun)) run.progress.settled(step, 0);
  const { notices, missing, bytes, steps } = tally;
  const result: FilesystemResult = { filesystem, ...outcome, notices, missing, bytes, steps };
  run.emit({ kind: 'filesystemDone', result });
  return result;
}

async function carryOut(run: Run, planned: PlannedFilesystem, plan: FilesystemPlan, tally: Tally) {
  const { sink, retry, signal } = run.options;
  if (plan.kind === 'conflict') {
    const name = run.options.formatName?.(plan.filesystem) ?? plan.filesystem;
    return { ok: false, code: conflictCode, message: describeConflict(name, plan.conflict) };
  }
  if (plan.kind === 'empty') return { ok: true, code: null, message: 'the source has no snapshot of it' };
  if (plan.kind === 'steps') assertConnected(run);
  if (plan.discardPartial) {
    await retrying(() => sink.discardPartial(planned.target), { ...patience(run, planned), policy: retry, signal });
  }
  if (plan.kind === 'in_sync') {
    // Repeated although the last run said so too: had that been lost, the source would keep an ever older cursor.
    await tellCompleted(run, planned, plan.version, tally);
    await settle(run, planned, plan.version, tally);
    addBounded(tally.missing, (await sink.missing?.(planned.target, plan.version)) ?? []);
    return whole(tally);
  }
  if (plan.steps[0].from === null) await sink.createParents(planned.target);
  for (const [stepIndex, step] of plan.steps.entries()) {
    signal?.throwIfAborted();
    assertConnected(run);
    const position = { ...planned, step, stepIndex, stepCount: plan.steps.length };
    await carryOutStep(run, position, tally).catch(async (error: unknown) => {
      await carryOutAnew(run, position, tally, error);
    });
  }
  return whole(tally);
}

/**
 * A source that refuses the token of a receive will never continue it: the snapshot was made anew, the dataset renamed, or the
 * token is not its own. What has arrived is given up, and the step begins anew; without that, no run would ever get past it.
 */
async function carryOutAnew(run: Run, position: StepPosition & PlannedFilesystem, tally: Tally, error: unknown) {
  const { step, target } = position;
  const isRefused = error instanceof SnapferryError && error.code === 'RESUME_TOKEN_INVALID';
  if (!isRefused || step.resumeToken === null || run.options.signal?.aborted === true) throw error;
  const { sink, retry, signal } = run.options;
  await retrying(() => sink.discardPartial(target), { ...patience(run, position), policy: retry, signal });
  addBounded(tally.notices, [`the interrupted transfer could not be continued and began anew: ${error.message}`]);
  tally.stepsBegun -= 1;
  await carryOutStep(run, { ...position, step: { ...step, resumeToken: null, estimatedBytes: null } }, tally);
}

/** What is committed counts as a success only if nothing is missing in it. */
function whole({ missing }: Tally): Pick<FilesystemResult, 'ok' | 'code' | 'message'> {
  if (missing.length === 0) return { ok: true, code: null, message: '' };
  const message = `committed, but without what the source could not read: ${nameSome(missing)}`;
  return { ok: false, code: 'SOURCE_FAILED', message };
}

async function carryOutStep(run: Run, position: StepPosition & PlannedFilesystem, tally: Tally): Promise<void> {
  const { step } = position;
  const bytesBefore = tally.bytes;
  let attemptBytes = 0;
  tally.stepsBegun += 1;
  const result = await retrying(
    async () => {
      attemptBytes = 0;
      return runStep({
        ...run.options,
        ...stepHooks(run, position, (count) => {
          attemptBytes += count;
          tally.bytes += count;
        }),
        filesystem: position.filesystem,
        target: position.target,
        step,
        signal: run.options.signal,
      });
    },
    {
      ...patience(run, position),
      policy: run.options.retry,
      signal: run.options.signal,
      // What an attempt has received may have changed what can be resumed, and only a new plan knows.
      unless: () => attemptBytes > 0,
    },
  ).finally(() => run.progress.settled(step, tally.bytes - bytesBefore));
  tally.steps += 1;
  const bytes = tally.bytes - bytesBefore;
  addResult(tally, result);
  const { filesystem, target, stepIndex, stepCount } = position;
  run.emit({ kind: 'stepDone', filesystem, target, step, stepIndex, stepCount, bytes, ...result });
  await tellCompleted(run, position, step.to, tally);
}

/** What a step reports while it runs, as events. */
function stepHooks(run: Run, position: StepPosition, count: (bytes: number) => void) {
  const { filesystem, target, step, stepIndex, stepCount } = position;
  const meter = createProgressMeter({ estimatedBytes: step.estimatedBytes, now: run.now });
  let emittedMs = -Infinity;
  return {
    onStarted({ format, resumed, estimatedBytes }: Transfer) {
      if (estimatedBytes !== null) meter.expect(estimatedBytes);
      run.progress.announced(step, estimatedBytes);
      run.emit({ kind: 'stepStarted', filesystem, target, step, stepIndex, stepCount, format, resumed });
    },
    onBytes(bytes: number) {
      count(bytes);
      meter.add(bytes);
      run.progress.add(bytes);
      const nowMs = run.now();
      if (nowMs - emittedMs < bytesEventMs) return;
      emittedMs = nowMs;
      run.emit({ kind: 'bytes', filesystem, step: meter.read(), total: run.progress.read() });
    },
    onProgress: (progress: Progress) => run.emit({ kind: 'sourceProgress', filesystem, progress }),
    onConnectionLost(error: SnapferryError) {
      run.lost ??= error;
    },
  };
}

/** Tells the source that it is safe; failing to is a fact worth a notice, and the next run repeats it. */
async function tellCompleted(run: Run, planned: PlannedFilesystem, version: FilesystemVersion, tally: Tally) {
  const { client, jobId, signal, logger } = run.options;
  const { filesystem } = planned;
  try {
    await client.transferCompleted({ filesystem, version, jobId }, signal === undefined ? {} : { signal });
  } catch (error) {
    const failure = failureOf(error, 'telling the source', signal);
    if (failure.connectionDead) run.lost ??= failure;
    logger?.warn({ err: failure, filesystem: formatDatasetPath(filesystem) }, 'transferCompleted failed');
    const notice = `the source was not told that ${formatVersion(version)} has arrived (${failure.message}); the next run will`;
    addBounded(tally.notices, [notice]);
  }
}

/** Has the sink finish what a crash may have cut off behind the commit; failing to is a fact worth a notice. */
async function settle(run: Run, planned: PlannedFilesystem, version: FilesystemVersion, tally: Tally) {
  const { sink, signal, logger } = run.options;
  try {
    addBounded(tally.notices, (await sink.settle?.(planned.target, version)) ?? []);
  } catch (error) {
    const failure = failureOf(error, 'looking after an earlier receive', signal);
    logger?.warn({ err: failure, filesystem: formatDatasetPath(planned.filesystem) }, 'settling failed');
    addBounded(tally.notices, [`${formatVersion(version)} is complete, but ${failure.message}`]);
  }
}

function assertConnected({ lost }: Run): void {
  if (lost === null) return;
  throw new SnapferryError(lost.code, `not attempted, since the connection to the source is gone: ${lost.message}`, {
    cause: lost,
    retryable: lost.retryable,
  });
}

function patience(run: Run, { filesystem }: Pick<PlannedFilesystem, 'filesystem'>) {
  return { onRetry: (error: SnapferryError) => run.emit({ kind: 'retrying', filesystem, error }) };
}

function addResult(tally: Tally, { notices, missing }: ReceiveResult): void {
  addBounded(tally.notices, notices);
  const known = new Set(tally.missing);
  addBounded(
    tally.missing,
    missing.filter((name) => !known.has(name)),
  );
}

function addBounded(list: string[], additions: readonly string[]): void {
  for (const addition of additions) {
    if (list.length < listedMax) list.push(addition);
    else if (list.length === listedMax) list.push(`and more, left out after ${listedMax}`);
  }
}

function nameSome(names: readonly string[]): string {
  const rest = names.length - namedMax;
  return (
    names
      .slice(0, namedMax)
      .map((name) => JSON.stringify(name))
      .join(', ') + (rest > 0 ? ` and ${rest} more` : '')
  );
}

/** A snapshot left out is worth knowing; a bookmark, or a kind of version we do not know, is not. */
function ignoredNotice({ version, reason }: IgnoredVersion): string[] {
  if (version.type !== 'snapshot') return [];
  const why = reason === 'guid' ? 'it has no guid' : 'an older snapshot has the same guid';
  return [`${formatVersion(version)} at the source was left out: ${why}`];
}

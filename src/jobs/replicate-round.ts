import pLimit from 'p-limit';
import type { ReplicationSettings } from '../config/transfer-settings.ts';
import { formatDatasetPath } from '../dataset.ts';
import type { DatasetPath, FilesystemVersion } from '../dataset.ts';
import { SnapferryError } from '../errors.ts';
import { planWith } from '../replication/plan-replication.ts';
import { conflictCode } from '../replication/replication.ts';
import type { PlannedFilesystem, PlanReplicationOptions, ReplicationEvent } from '../replication/replication.ts';
import { runFilesystem } from '../replication/run-filesystem.ts';
import type { Run } from '../replication/run-filesystem.ts';
import { createRunProgress } from '../replication/run-progress.ts';
import type { FilesystemResult, RPCRequester } from '../rpc/interfaces.ts';
import type { Clock } from './clock.ts';
import type { EndTurn } from './dataset-turns.ts';
import { delegatingRequester } from './delegating-requester.ts';
import { isRetryableCode } from './run-error.ts';
import type { RunError } from './run-result.ts';

/** What a round of replication needs. */
export interface RoundOptions extends Omit<PlanReplicationOptions, 'client' | 'signal' | 'policy' | 'roots' | 'retry'> {
  /** Makes another connection to the source, which the round closes. */
  readonly connect: (signal: AbortSignal) => Promise<RPCRequester>;
  readonly initialReplication: 'most_recent' | 'all' | 'fail';
  readonly jobId: string;
  readonly concurrency: ReplicationSettings['concurrency'];
  readonly clock: Clock;
  /** For nobody else to change the target meanwhile; null: somebody does. */
  readonly takeTurn: (target: DatasetPath) => EndTurn | null;
  readonly onEvent: (event: ReplicationEvent) => void;
  /** Something has moved. */
  readonly onMove: () => void;
}

/** What became of one dataset in a round. */
export interface RoundResult {
  readonly planned: PlannedFilesystem;
  readonly result: FilesystemResult;
  /** Whether the same may work a little later. */
  readonly retryable: boolean;
}

/**
 * Plans once, and carries the plan out over as many connections as may be. What fails is in the results, and stops nothing else but what
 * needs its connection.
 * @param signal a linked one
 * @throws SnapferryError when there is no connection, or the datasets cannot be listed
 */
export async function replicateRound(options: RoundOptions, signal: AbortSignal): Promise<RoundResult[]> {
  const client = watched(await options.connect(signal), options);
  try {
    const plan = await planWith(
      { ...options, client, policy: options.initialReplication === 'all' ? 'all' : 'most_recent', signal, retry: once },
      () => undefined,
    );
    const now = () => options.clock.monotonicMs();
    const progress = createRunProgress(now);
    progress.planned(plan);
    options.onEvent({ kind: 'planned', plan });
    const workload = new Workload(options, plan.filesystems, { now, progress, signal });
    await workload.carryOut(client);
    return workload.results;
  } finally {
    await leave(client, signal);
  }
}

/** What is busy is tried again in another round, which waits by the clock of the jobs. */
const once = { attemptsMax: 1 };

type Shared = Pick<Run, 'now' | 'progress'> & { readonly signal: AbortSignal };

/** The datasets of a plan, taken one by one by whichever connection is free. */
class Workload {
  readonly results: RoundResult[] = [];
  readonly #options: RoundOptions;
  readonly #shared: Shared;
  readonly #waiting: PlannedFilesystem[];

  constructor(options: RoundOptions, planned: readonly PlannedFilesystem[], shared: Shared) {
    this.#options = options;
    this.#shared = shared;
    this.#waiting = [...planned];
  }

  async carryOut(first: RPCRequester): Promise<void> {
    const busy = this.#waiting.filter(({ plan }) => plan.kind === 'steps').length;
    const others = Math.max(0, Math.min(this.#options.concurrency.steps, busy) - 1);
    await Promise.all([this.#work(first), ...Array.from({ length: others }, () => this.#workOverAnother())]);
    // The last connection has gone; what is left fails with what killed it.
    const run = this.#runOver(first);
    run.lost = this.#lost;
    for (const planned of this.#waiting.splice(0)) await this.#runOne(run, planned);
  }

  #lost: SnapferryError | null = null;

  async #workOverAnother(): Promise<void> {
    const { signal } = this.#shared;
    let client: RPCRequester;
    try {
      client = watched(await this.#options.connect(signal), this.#options);
    } catch (error) {
      // The first connection does it all then, only later.
      this.#options.logger?.warn({ err: error }, 'another connection for more datasets at once did not come about');
      return;
    }
    try {
      await this.#work(client);
    } finally {
      await leave(client, signal);
    }
  }

  async #work(client: RPCRequester): Promise<void> {
    const run = this.#runOver(client);
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      await this.#runOne(run, next);
      if (run.lost === null) continue;
      this.#lost = run.lost;
      return;
    }
  }

  #runOver(client: RPCRequester): Run {
    const { onEvent, ...options } = this.#options;
    const { signal, ...shared } = this.#shared;
    return {
      options: { ...options, client, signal, retry: once, concurrency: 1 },
      ...shared,
      emit: onEvent,
      lost: null,
    };
  }

  async #runOne(run: Run, planned: PlannedFilesystem): Promise<void> {
    const refusal = refusalOf(planned, this.#options);
    const endTurn = refusal === null ? this.#options.takeTurn(planned.target) : null;
    try {
      if (refusal !== null) this.#settle(planned, refused(planned, refusal));
      else if (endTurn === null) this.#settle(planned, refused(planned, busyError(planned)));
      else this.#settle(planned, await runFilesystem(run, planned));
    } finally {
      endTurn?.();
    }
  }

  #settle(planned: PlannedFilesystem, result: FilesystemResult): void {
    const { plan } = planned;
    // What was cancelled, and not by us, was so by a source that is being stopped.
    const isTheirs = result.code === 'CANCELLED' && !this.#shared.signal.aborted;
    const retryable = isTheirs || (plan.kind === 'failed' ? plan.error.retryable : isRetryableCode(result.code));
    this.results.push({ planned, result, retryable: !result.ok && retryable });
  }
}

/** Why a plan is not carried out although it could be; null: it is. */
export function refusalOf(
  { filesystem, plan }: PlannedFilesystem,
  options: Pick<RoundOptions, 'formatName' | 'initialReplication'>,
): RunError | null {
  const name = options.formatName?.(filesystem) ?? formatDatasetPath(filesystem);
  if (plan.kind === 'empty') {
    return { code: 'VERSION_NOT_FOUND', message: `the source has no snapshot of ${name} that could be sent; take one` };
  }
  const isInitial = plan.kind === 'steps' && plan.steps[0].from === null && plan.steps[0].resumeToken === null;
  if (options.initialReplication !== 'fail' || !isInitial) return null;
  return { code: conflictCode, message: initialRefusal(name) };
}

/** What `initial_replication: fail` says about a dataset that the target has nothing of. */
export function initialRefusal(name: string): string {
  return (
    `${name}: the target has nothing of it, and "initial_replication: fail" leaves it to a person to decide; if all of it is to be ` +
    'sent, set "most_recent" or "all" for one run'
  );
}

function busyError({ target }: PlannedFilesystem): RunError {
  const message = `${formatDatasetPath(target)} is being replicated or pruned by somebody else; it is tried again later`;
  return { code: 'BUSY', message };
}

function refused({ filesystem }: PlannedFilesystem, refusal: RunError): FilesystemResult {
  return { filesystem, ok: false, ...refusal, notices: [], missing: [], bytes: 0, steps: 0 };
}

/** Tells of every answer that something has moved, and asks for no more estimates at once than may be. */
function watched(client: RPCRequester, { onMove, concurrency }: RoundOptions): RPCRequester {
  const limit = pLimit(concurrency.sizeEstimates);
  const moving = async <T>(answer: Promise<T>): Promise<T> => {
    const value = await answer;
    onMove();
    return value;
  };
  return delegatingRequester(client, {
    filesystems: (request, options) => moving(client.filesystems(request, options)),
    filesystemVersions: (request, options) => moving(client.filesystemVersions(request, options)),
    transferEstimate: (request, options) => limit(() => moving(client.transferEstimate(request, options))),
    transferCompleted: (request, options) => moving(client.transferCompleted(request, options)),
  });
}

/** A connection that ended badly has told so where it mattered. A peer that stands still is not asked for a goodbye. */
async function leave(client: RPCRequester, signal: AbortSignal): Promise<void> {
  if (isStall(signal.reason)) client.forceClose();
  await client.close().catch(() => undefined);
}

/** The newest version that both sides have after a round; null when unknown or none. */
export function newestCommon({ planned: { plan }, result }: RoundResult): FilesystemVersion | null {
  if (plan.kind === 'in_sync') return plan.version;
  if (plan.kind === 'conflict') return plan.conflict.kind === 'diverged' ? plan.conflict.common : null;
  if (plan.kind !== 'steps') return null;
  return result.steps === 0 ? plan.steps[0].from : (plan.steps[result.steps - 1]?.to ?? null);
}

/** Whether a signal was aborted because nothing moved any more. */
export function isStall(reason: unknown): reason is SnapferryError {
  return reason instanceof SnapferryError && reason.code === 'TIMEOUT';
}
